import asyncio
import io
import random
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.batches import BatchQueue, ImageBatch, ImageRequest, TextBatch, TextRequest
from encoders.encoder import OutOfMemory, Vectors
from encoders.engine import BadImage, BatchReport, EncoderEngine, EngineClosed
from encoders.hashing import HashingEncoder
from encoders.parts import BATCHES_UNTIL_GROWTH
from imaging.room import PixelRoom
from schemas.dead_letter import RejectReason
from tests.unit.encoders.recording import RecordingEncoder


def colour(number: int) -> tuple[int, int, int]:
    return number % 256, number // 256 % 256, 7


def one_colour(number: int, size: tuple[int, int] = (16, 16)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour(number)).save(buffer, "PNG")
    return buffer.getvalue()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not happen within ten seconds")


# Results reach those who asked


async def test_every_caller_gets_the_vector_of_its_own_image() -> None:
    async with EncoderEngine(RecordingEncoder(), batch_size=8) as engine:
        answers = await asyncio.gather(*(engine.embed_image(one_colour(n)) for n in range(300)))
    assert [tuple(answer.vector) for answer in answers] == [colour(n) for n in range(300)]
    assert answers[0].image.format == "png"


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    batch_size=st.integers(1, 9),
    threads=st.integers(1, 4),
    fits=st.integers(1, 9),
    kinds=st.lists(st.sampled_from(["good", "bad", "cancelled", "text", "urgent"]), min_size=1, max_size=40),
)
def test_delays_failures_and_cancellation_never_mix_up_results(
    seed: int, batch_size: int, threads: int, fits: int, kinds: list[str]
) -> None:
    chance = random.Random(seed)
    encoder = RecordingEncoder(fits=fits, before_forward=lambda images: time.sleep(chance.random() * 0.002))
    encoder.before_prepare = lambda image: time.sleep(chance.random() * 0.002)

    async def scenario() -> None:
        async with EncoderEngine(
            encoder, batch_size=batch_size, decode_threads=threads, max_wait_seconds=0.002
        ) as engine:

            async def ask(number: int, kind: str) -> None:
                await asyncio.sleep(chance.random() * 0.005)
                if kind == "bad":
                    with pytest.raises(BadImage):
                        await engine.embed_image(b"<html>")
                elif kind == "text":
                    vectors = await engine.embed_texts(["x" * number, "y"])
                    assert vectors[:, 0].tolist() == [number, 1]
                elif kind == "cancelled":
                    task = asyncio.ensure_future(engine.embed_image(one_colour(number)))
                    await asyncio.sleep(chance.random() * 0.004)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                else:
                    answer = await engine.embed_image(one_colour(number), urgent=kind == "urgent")
                    assert tuple(answer.vector) == colour(number)

            await asyncio.wait_for(asyncio.gather(*(ask(n, kind) for n, kind in enumerate(kinds))), 20)

    asyncio.run(scenario())


async def test_a_bad_image_is_refused_alone_among_good_ones() -> None:
    async with EncoderEngine(RecordingEncoder(), batch_size=16) as engine:
        files = [one_colour(n) for n in range(20)]
        files[3], files[11] = b"", files[11][:60]
        answers = await asyncio.gather(*map(engine.embed_image, files), return_exceptions=True)
    bad = {n: answer.reason for n, answer in enumerate(answers) if isinstance(answer, BadImage)}
    assert bad == {3: RejectReason.EMPTY, 11: RejectReason.DECODE_FAILED}
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 18


@pytest.mark.parametrize("error", [MemoryError(), ValueError("height and width must be > 0")], ids=repr)
async def test_an_image_that_cannot_be_made_into_the_models_input_is_refused_alone(error: Exception) -> None:
    def fail(image: Image.Image) -> None:
        if image.size == (40, 2):
            raise error

    encoder = RecordingEncoder()
    async with EncoderEngine(encoder, batch_size=8) as engine:
        encoder.before_prepare = fail
        files = [one_colour(n, (40, 2) if n == 5 else (16, 16)) for n in range(12)]
        answers = await asyncio.gather(*map(engine.embed_image, files), return_exceptions=True)
    refused = answers.pop(5)
    assert isinstance(refused, BadImage)
    assert refused.reason is RejectReason.DECODE_FAILED
    assert "png of 40 x 2 pixels" in str(refused)
    assert (str(error) or "MemoryError") in str(refused)
    vectors = [tuple(answer.vector) for answer in answers if not isinstance(answer, BaseException)]
    assert vectors == [colour(n) for n in range(12) if n != 5]


async def test_pixels_beyond_the_limit_are_refused() -> None:
    async with EncoderEngine(RecordingEncoder(), max_pixels=255) as engine:
        with pytest.raises(BadImage) as caught:
            await engine.embed_image(one_colour(1))
    assert caught.value.reason is RejectReason.TOO_MANY_PIXELS


async def test_no_texts_make_no_vectors() -> None:
    async with EncoderEngine(RecordingEncoder()) as engine:
        assert (await engine.embed_texts([])).shape == (0, 3)


async def test_many_texts_go_in_batches_and_come_back_in_order() -> None:
    encoder = RecordingEncoder()
    async with EncoderEngine(encoder, batch_size=4) as engine:
        vectors = await engine.embed_texts(["x" * n for n in range(11)])
    assert vectors[:, 0].tolist() == list(range(11))
    assert [size for kind, size in encoder.calls if kind == "texts"] == [4, 4, 3]


# Batches


class Gate:
    """Holds the forward pass until it is opened, and says when it is reached."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self.armed = False

    def __call__(self, images: int) -> None:
        if self.armed:
            self.reached.set()
            assert self.opened.wait(10)


async def held(engine: EncoderEngine, gate: Gate, *, urgent: bool = False) -> "asyncio.Task[object]":
    """A first image that keeps a thread of the model busy, so that what follows queues up behind it."""
    gate.armed = True
    gate.reached.clear()
    first = asyncio.create_task(engine.embed_image(one_colour(0), urgent=urgent))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    return first


async def queued(engine: EncoderEngine, count: int) -> None:
    """Wait until so many requests stand in the queue."""
    await until(lambda: engine.waiting >= count)


async def test_what_comes_while_the_model_is_busy_goes_together() -> None:
    gate = Gate()
    encoder = RecordingEncoder(before_forward=gate)
    async with EncoderEngine(encoder, batch_size=8) as engine:
        encoder.calls.clear()
        first = await held(engine, gate)
        rest = [asyncio.create_task(engine.embed_image(one_colour(n))) for n in range(1, 13)]
        await queued(engine, 12)
        gate.opened.set()
        await asyncio.gather(first, *rest)
    assert [size for _, size in encoder.calls] == [1, 8, 4]


async def test_a_lone_image_waits_for_no_company() -> None:
    async with EncoderEngine(RecordingEncoder(), batch_size=32, max_wait_seconds=60) as engine:
        await asyncio.wait_for(engine.embed_image(one_colour(1)), 10)


async def test_words_and_urgent_images_wait_for_no_batch() -> None:
    gate, decoding = Gate(), threading.Event()

    def but_the_urgent_one(image: Image.Image) -> None:
        assert image.getpixel((0, 0)) == colour(99) or decoding.wait(10)

    encoder = RecordingEncoder(before_forward=lambda images: gate(images) if images > 1 else None)
    async with EncoderEngine(encoder, batch_size=4, decode_threads=1, max_wait_seconds=10) as engine:
        gate.armed = True
        images = [asyncio.create_task(engine.embed_image(one_colour(n))) for n in range(1, 9)]
        assert await asyncio.to_thread(gate.reached.wait, 10)
        encoder.before_prepare = but_the_urgent_one
        images.append(asyncio.create_task(engine.embed_image(one_colour(9))))
        await until(lambda: encoder.preparing > 0)
        words = await asyncio.wait_for(engine.embed_texts(["boat"]), 10)
        urgent = await asyncio.wait_for(engine.embed_image(one_colour(99), urgent=True), 10)
        assert not any(image.done() for image in images)
        decoding.set()
        gate.opened.set()
        await asyncio.gather(*images)
    assert words[0, 0] == 4
    assert tuple(urgent.vector) == colour(99)


async def test_the_report_of_a_batch_tells_its_size_its_time_and_the_wait_for_decoding() -> None:
    reports: list[BatchReport] = []
    encoder = RecordingEncoder(before_forward=lambda images: time.sleep(0.01))
    decoding = threading.Event()

    def slow(image: Image.Image) -> None:
        assert decoding.wait(10)

    async with EncoderEngine(encoder, on_batch=reports.append) as engine:
        encoder.before_prepare = slow
        asked = asyncio.create_task(engine.embed_image(one_colour(1)))
        await until(lambda: encoder.preparing > 0)
        await asyncio.sleep(0.05)
        decoding.set()
        await asked
    assert [report.images for report in reports] == [1]
    assert reports[0].forward >= 0.01
    assert 0.04 <= reports[0].waited < 5


async def test_idle_time_is_no_wait_for_decoding() -> None:
    reports: list[BatchReport] = []
    async with EncoderEngine(HashingEncoder(), on_batch=reports.append) as engine:
        await asyncio.sleep(0.2)
        await engine.embed_image(one_colour(1))
    assert reports[0].waited < 0.15


# Memory


async def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_the_size_is_remembered() -> None:
    gate = Gate()
    encoder = RecordingEncoder(before_forward=gate)
    async with EncoderEngine(encoder, batch_size=16) as engine:
        encoder.fits = 5
        encoder.calls.clear()
        first = await held(engine, gate)
        rest = [asyncio.create_task(engine.embed_image(one_colour(n))) for n in range(1, 33)]
        await queued(engine, 32)
        gate.opened.set()
        answers = await asyncio.gather(*rest)
        await first
        assert engine.batch_limit == 4
    assert [tuple(answer.vector) for answer in answers] == [colour(n) for n in range(1, 33)]
    assert [size for _, size in encoder.calls] == [1, *[4] * 8]


async def test_the_batch_size_grows_again_when_there_is_room_again() -> None:
    encoder = RecordingEncoder()
    async with EncoderEngine(encoder, batch_size=4, decode_threads=2) as engine:
        encoder.fits = 1
        await asyncio.gather(*(engine.embed_image(one_colour(n)) for n in range(9)))
        assert engine.batch_limit == 1
        encoder.fits = 100
        for _ in range(3 * BATCHES_UNTIL_GROWTH):
            await asyncio.gather(*(engine.embed_image(one_colour(n)) for n in range(8)))
        assert engine.batch_limit == 4


async def test_one_image_that_never_fits_fails_with_the_name_of_the_device() -> None:
    encoder = RecordingEncoder()
    async with EncoderEngine(encoder) as engine:
        encoder.fits = 0
        with pytest.raises(OutOfMemory, match="not even one fits on cpu"):
            await engine.embed_image(one_colour(1))


async def test_the_number_of_images_admitted_is_bounded_however_many_ask() -> None:
    gate = Gate()
    encoder = RecordingEncoder(before_forward=gate)
    async with EncoderEngine(encoder, batch_size=4, decode_threads=2) as engine:
        first = await held(engine, gate)
        rest = [asyncio.create_task(engine.embed_image(one_colour(n))) for n in range(1, 200)]
        await queued(engine, 9)
        await asyncio.sleep(0.05)
        # Two batches and two in the threads, of which the first image is one.
        assert engine.waiting == 9
        assert encoder.most_preparing <= 2
        gate.opened.set()
        await asyncio.gather(first, *rest)


async def test_decoded_pixels_are_bounded_whatever_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encoders.engine.PIXELS_AT_ONCE", 16 * 16 * 2)
    encoder = RecordingEncoder()
    async with EncoderEngine(encoder, decode_threads=6) as engine:
        encoder.before_prepare = lambda image: time.sleep(0.005)
        await asyncio.gather(*(engine.embed_image(one_colour(n)) for n in range(12)))
        assert encoder.most_preparing == 2
        encoder.most_preparing = 0
        await asyncio.gather(*(engine.embed_image(one_colour(n, (300, 300))) for n in range(6)))
        assert encoder.most_preparing == 1


async def test_room_is_reserved_for_what_a_small_long_image_becomes_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    # On the way to 8 x 8 pixels 64 x 1 make 2 x 32 x 64, since 32 is the ratio from which on prepare is bounded.
    monkeypatch.setattr("encoders.engine.PIXELS_AT_ONCE", 3 * 2 * 32 * 64)
    encoder = RecordingEncoder()
    async with EncoderEngine(encoder, decode_threads=6) as engine:
        encoder.before_prepare = lambda image: time.sleep(0.02)
        await asyncio.gather(*(engine.embed_image(one_colour(n, (64, 1))) for n in range(12)))
    assert encoder.most_preparing == 3


async def test_large_jpegs_are_decoded_at_a_reduced_scale_and_keep_their_size_in_the_facts() -> None:
    encoder, sizes = RecordingEncoder(), []
    async with EncoderEngine(encoder) as engine:
        encoder.before_prepare = lambda image: sizes.append(image.size)
        buffer = io.BytesIO()
        Image.new("RGB", (640, 480), "olive").save(buffer, "JPEG")
        answer = await engine.embed_image(buffer.getvalue())
    assert sizes == [(80, 60)]
    assert (answer.image.width, answer.image.height) == (640, 480)


def test_room_for_pixels_is_never_exceeded_and_nobody_is_kept_out() -> None:
    room = PixelRoom(100)
    inside, most, lock = 0, 0, threading.Lock()

    def enter(pixels: int) -> None:
        nonlocal inside, most
        with room.taken(pixels):
            with lock:
                inside += min(pixels, 100)
                most = max(most, inside)
            time.sleep(0.001)
            with lock:
                inside -= min(pixels, 100)

    threads = [threading.Thread(target=enter, args=(pixels,)) for pixels in [30, 90, 5, 500, 60, 40] * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert most <= 100


# Failures


async def test_an_error_in_the_forward_pass_reaches_everybody_in_the_batch_and_the_next_batch_works() -> None:
    broken = True

    def fail(images: int) -> None:
        if broken:
            raise ValueError("no kernel for this")

    encoder = RecordingEncoder()
    async with EncoderEngine(encoder, batch_size=4) as engine:
        encoder.before_forward = fail
        answers = await asyncio.gather(*(engine.embed_image(one_colour(n)) for n in range(10)), return_exceptions=True)
        assert all(isinstance(answer, ValueError) for answer in answers)
        broken = False
        assert tuple((await engine.embed_image(one_colour(5))).vector) == colour(5)


async def test_a_model_that_loses_an_image_is_an_error_and_never_a_shift_of_results() -> None:
    encoder = RecordingEncoder()
    async with EncoderEngine(encoder) as engine:
        honest = encoder.forward
        encoder.forward = lambda batch: honest(batch)[1:]  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="0 vectors of 1 images"):
            await engine.embed_image(one_colour(1))


async def test_closing_fails_those_who_wait_and_those_who_come_later() -> None:
    gate = Gate()
    encoder = RecordingEncoder(before_forward=gate)
    engine = EncoderEngine(encoder, batch_size=2)
    await engine.__aenter__()
    first = await held(engine, gate)
    urgent = await held(engine, gate, urgent=True)
    rest = [asyncio.create_task(engine.embed_image(one_colour(n))) for n in range(1, 20)]
    words = asyncio.create_task(engine.embed_texts(["boat"]))
    await queued(engine, 3)
    closing = asyncio.create_task(engine.__aexit__(None, None, None))
    answers = await asyncio.wait_for(asyncio.gather(*rest, words, return_exceptions=True), 10)
    assert all(isinstance(answer, EngineClosed) for answer in answers)
    gate.opened.set()
    await asyncio.wait_for(closing, 10)
    # What was in the model's hands is finished.
    assert (await first) is not None
    assert (await urgent) is not None
    with pytest.raises(EngineClosed):
        await engine.embed_image(one_colour(1))
    with pytest.raises(EngineClosed):
        await engine.embed_texts(["boat"])


def test_a_model_elsewhere_that_is_still_being_waited_for_keeps_no_process_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_up = threading.Event()
    encoder = RecordingEncoder()
    encoder.device = "remote"

    def load() -> None:
        given_up.wait(20)

    monkeypatch.setattr(encoder, "load", load)

    async def start() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(EncoderEngine(encoder).__aenter__(), 0.05)

    began = time.monotonic()
    asyncio.run(start())
    assert time.monotonic() - began < 10
    given_up.set()


async def test_leaving_does_not_wait_long_for_an_answer_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encoders.engine.LEAVE_SECONDS", 0.05)
    gate = Gate()
    encoder = RecordingEncoder(before_forward=gate)
    encoder.device = "remote"
    engine = await EncoderEngine(encoder, batch_size=2).__aenter__()
    first = await held(engine, gate)
    await asyncio.wait_for(engine.__aexit__(None, None, None), 10)
    gate.opened.set()
    first.cancel()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("urgent", [False, True])
async def test_if_a_thread_of_the_model_dies_nobody_hangs(urgent: bool) -> None:
    def die(images: int) -> None:
        raise SystemExit("killed")

    encoder = RecordingEncoder()
    async with EncoderEngine(encoder, batch_size=2) as engine:
        encoder.before_forward = die
        answers = await asyncio.wait_for(
            asyncio.gather(
                *(engine.embed_image(one_colour(n), urgent=urgent) for n in range(9)), return_exceptions=True
            ),
            10,
        )
        assert all(isinstance(answer, EngineClosed) for answer in answers)
        with pytest.raises(EngineClosed, match="restart the process"):
            await engine.embed_image(one_colour(1))


async def test_a_caller_who_leaves_disturbs_nobody_and_is_not_computed_for() -> None:
    gate = Gate()
    encoder = RecordingEncoder(before_forward=gate)
    async with EncoderEngine(encoder, batch_size=8) as engine:
        encoder.calls.clear()
        first = await held(engine, gate)
        rest = [asyncio.create_task(engine.embed_image(one_colour(n))) for n in range(1, 7)]
        await queued(engine, 6)
        for task in rest[::2]:
            task.cancel()
        await asyncio.gather(*rest[::2], return_exceptions=True)
        gate.opened.set()
        answers = await asyncio.gather(*rest[1::2])
        await first
    assert [tuple(answer.vector) for answer in answers] == [colour(2), colour(4), colour(6)]
    assert encoder.calls == [("images", 1), ("images", 3)]


async def test_the_warm_up_says_where_time_goes() -> None:
    async with EncoderEngine(HashingEncoder(), batch_size=16) as engine:
        assert engine.warm_up is not None
        assert engine.warm_up.images == 16
        assert engine.full_batch_seconds == pytest.approx(engine.warm_up.forward + engine.warm_up.finish)
        assert engine.warm_up.images_per_second > 0
        assert engine.identity == HashingEncoder.identity


# The queue by itself


async def test_the_queue_lets_images_pass_between_texts() -> None:
    loop = asyncio.get_running_loop()
    queue = BatchQueue(max_wait=0)
    prepared = np.zeros((1, 1, 3), dtype=np.uint8)
    for word in ("a", "b"):
        queue.put(TextRequest((word,) * 8, loop.create_future()))
    queue.put(ImageRequest(prepared, loop.create_future()))
    taken = [queue.take(8) for _ in range(3)]
    assert [type(one) for one in taken] == [TextBatch, ImageBatch, TextBatch]


async def test_texts_that_wait_go_together_as_far_as_they_fit_in_a_batch() -> None:
    loop = asyncio.get_running_loop()
    queue = BatchQueue(max_wait=0)
    for words in (("a",), ("b", "c"), ("d", "e", "f"), ("g",) * 9, ("h",)):
        queue.put(TextRequest(words, loop.create_future()))
    taken = [queue.take(4) for _ in range(4)]
    assert all(isinstance(batch, TextBatch) for batch in taken)
    sizes = [[len(request.texts) for request in batch.requests] for batch in taken if isinstance(batch, TextBatch)]
    assert sizes == [[1, 2], [3], [9], [1]]


async def test_callers_of_texts_share_a_batch_and_one_whose_text_fails_fails_alone() -> None:
    class Choosy(RecordingEncoder):
        """Cannot read one word."""

        def encode_text(self, texts: Sequence[str]) -> Vectors:
            if "bad" in texts:
                raise RuntimeError("cannot read that")
            return super().encode_text(texts)

    gate = Gate()
    encoder = Choosy(before_forward=gate)
    async with EncoderEngine(encoder, batch_size=8) as engine:
        encoder.calls.clear()
        first = await held(engine, gate, urgent=True)
        good = [asyncio.create_task(engine.embed_texts(["x" * n, "y"])) for n in range(1, 4)]
        await queued(engine, 3)
        gate.opened.set()
        answered = await asyncio.gather(*good)
        assert [vectors[:, 0].tolist() for vectors in answered] == [[1, 1], [2, 1], [3, 1]]
        assert all(vectors.base is None for vectors in answered), "who keeps some keeps not everybody's"
        await first
        assert encoder.calls == [("images", 1), ("texts", 6)]
        gate = encoder.before_forward = Gate()
        first = await held(engine, gate, urgent=True)
        mixed = [asyncio.create_task(engine.embed_texts([word])) for word in ("xx", "bad", "xxx")]
        await queued(engine, 3)
        gate.opened.set()
        answers = await asyncio.gather(*mixed, return_exceptions=True)
        await first
    assert [type(answer) for answer in answers] == [np.ndarray, RuntimeError, np.ndarray]


async def test_a_batch_waits_for_company_that_is_being_prepared_but_not_for_ever() -> None:
    loop = asyncio.get_running_loop()
    queue = BatchQueue(max_wait=0.05)
    prepared = np.zeros((1, 1, 3), dtype=np.uint8)
    with queue.preparing():
        queue.put(ImageRequest(prepared, loop.create_future()))
        began = time.monotonic()
        batch = await asyncio.to_thread(queue.take, 8)
        assert 0.03 < time.monotonic() - began < 5
    assert isinstance(batch, ImageBatch)


async def test_a_closed_queue_takes_nothing_and_ends_the_taker() -> None:
    queue = BatchQueue(max_wait=1)
    taker = asyncio.create_task(asyncio.to_thread(queue.take, 8))
    assert queue.close() == []
    assert await asyncio.wait_for(taker, 10) is None
    assert not queue.put(TextRequest(("a",), asyncio.get_running_loop().create_future()))
