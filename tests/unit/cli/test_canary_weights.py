"""The canary on a real model of open_clip, small and made by the test."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from cli.canary import CanaryCheck, VectorsMoved
from cli.indexes import make_index
from cli.parts import Parts
from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from runtime.settings import load_settings
from tests.unit.encoders.tiny_model import write_tiny_model


async def test_one_changed_weight_behind_an_unchanged_fingerprint_stops_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encoders.clip._digest", lambda *_: "0123456789abcdef")
    folder = write_tiny_model(tmp_path / "tiny")
    settings = load_settings({}, data_dir=tmp_path / "data", encoder__model=str(folder))

    async def start() -> None:
        parts = Parts.make(settings)
        async with (
            make_index(parts) as index,
            EncoderEngine(make_encoder(str(folder), device="cpu"), batch_size=2, decode_threads=1) as engine,
        ):
            await CanaryCheck(index, engine, parts, writes=True).start()

    await start()
    await start()
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.ln_post.weight"][0] += 1.0
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(VectorsMoved, match="tiny no longer makes the vectors that the index in"):
        await start()
