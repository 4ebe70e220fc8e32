import asyncio
import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from encoders.encoder import OutOfMemory, Prepared, SomeFailed, Vectors
from encoders.engine import BatchReport, EncoderEngine
from imaging.formats import BadImage
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from tests.unit.encoders.recording import RecordingEncoder


def grey(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


class Choosy(RecordingEncoder):
    """Refuses every third level of grey, and cannot reach its service for the one after; not while it warms up."""

    warm = False

    def forward(self, batch: Sequence[Prepared]) -> Vectors:
        vectors = super().forward(batch)
        if not self.warm:
            return vectors
        failures: dict[int, Exception] = {}
        for at, one in enumerate(batch):
            level = int(one[0, 0, 0])
            if level % 3 == 0:
                failures[at] = BadImage(RejectReason.REFUSED_BY_ENCODER, f"level {level}")
            elif level % 3 == 1:
                failures[at] = DependencyUnavailable("service", f"level {level}", "wait")
        if failures:
            raise SomeFailed(vectors, failures)
        return vectors


async def outcome(engine: EncoderEngine, level: int) -> str:
    try:
        vector = (await engine.embed_image(grey(level))).vector
    except BadImage as error:
        return error.detail
    except DependencyUnavailable as error:
        return f"away {error.detail}"
    return f"vector {int(vector[0])}"


def expected(level: int) -> str:
    return (f"level {level}", f"away level {level}", f"vector {level}")[level % 3]


@pytest.mark.parametrize("batch_size", [1, 4, 32])
async def test_each_image_of_a_batch_gets_its_own_vector_or_its_own_failure(batch_size: int) -> None:
    reports: list[BatchReport] = []
    encoder = Choosy(fits=10_000)
    async with EncoderEngine(encoder, batch_size=batch_size, on_batch=reports.append) as engine:
        encoder.warm = True
        answers = await asyncio.gather(*(outcome(engine, level) for level in range(90)))
    assert answers == [expected(level) for level in range(90)]
    assert sum(report.images for report in reports) == 90


async def test_positions_hold_where_a_batch_went_through_in_parts() -> None:
    class ChoosyAndSmall(Choosy):
        def forward(self, batch: Sequence[Prepared]) -> Vectors:
            if self.warm and len(batch) > 3:
                raise OutOfMemory(f"{len(batch)}")
            return super().forward(batch)

    encoder = ChoosyAndSmall()
    async with EncoderEngine(encoder, batch_size=16, max_wait_seconds=0.05) as engine:
        encoder.warm = True
        answers = await asyncio.gather(*(outcome(engine, level) for level in range(40)))
        assert engine.batch_limit <= 3
    assert answers == [expected(level) for level in range(40)]


async def test_a_remote_model_is_not_asked_for_a_warm_up() -> None:
    encoder = RecordingEncoder()
    encoder.device = "remote"
    async with EncoderEngine(encoder) as engine:
        assert encoder.calls == []
        assert engine.warm_up is None
        assert np.array_equal((await engine.embed_image(grey(5))).vector, [5, 5, 5])
