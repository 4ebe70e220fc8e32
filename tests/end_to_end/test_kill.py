"""kill -9 at any moment, start again, and after it settles the index equals the folder."""

import hashlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from imaging.samples import draw_samples
from tests.end_to_end.running import Running, log_actions, sightline, wait_for

ROUNDS = 20


def equals(running: Running, photos: Path) -> bool:
    on_disk = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in photos.iterdir()}
    indexed = {key: image["payload"]["sha256"] for key, image in running.images().items()}
    return on_disk == indexed and running.images("rejected") == {}


def change(photos: Path, pictures: list[Path], chance: random.Random) -> None:
    """One random change: more puts than overwrites, more overwrites than deletions."""
    present = sorted(photos.iterdir())
    what = chance.random()
    if what < 0.5 or not present:
        shutil.copyfile(chance.choice(pictures), photos / f"{chance.randrange(10**9)}.png")
    elif what < 0.8:
        shutil.copyfile(chance.choice(pictures), chance.choice(present))
    else:
        chance.choice(present).unlink()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_index_equals_the_folder_after_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    pictures = draw_samples(tmp_path / "pictures", 40, seed=3, sizes=((160, 120),))
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(150):
        shutil.copyfile(pictures[number % len(pictures)], photos / f"{number}.png")
    for _ in range(ROUNDS):
        with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data", wait=chance.random() < 0.8) as running:
            end = time.monotonic() + chance.uniform(0.0, 2.5)
            while time.monotonic() < end:
                change(photos, pictures, chance)
                time.sleep(chance.uniform(0, 0.02))
            running.kill()
        for _ in range(5):
            change(photos, pictures, chance)
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data") as running:
        wait_for(
            lambda: equals(running, photos), f"index and folder being equal (seed {seed})", patience=120, every=0.5
        )
        assert running.stop() == 0


def test_one_kill_in_the_middle_of_indexing_loses_nothing(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_samples(photos, 200, seed=4, sizes=((160, 120),))
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data") as running:
        wait_for(lambda: running.status()["indexed"] >= 20, "some progress", every=0.005)
        running.kill()
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data") as running:
        wait_for(lambda: equals(running, photos), "index and folder being equal", every=0.2)
        assert running.metric("sightline_forward_images_sum") <= 190, "what was answered before the kill was kept"


def tell_children(running: Running, signal_number: int) -> None:
    """Send a signal to the processes that hold the shards."""
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    assert children
    for child in children:
        os.kill(int(child), signal_number)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_index_that_is_away_for_a_minute_is_waited_for(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    first, second = draw_samples(tmp_path / "pictures", 2, seed=6, sizes=((160, 120),))
    with sightline("up", photos, "--port", "0", data_dir=tmp_path / "data") as running:
        shutil.copyfile(first, photos / "first.jpg")
        wait_for(lambda: "first.jpg" in running.images(), "the first image")
        tell_children(running, signal.SIGSTOP)
        try:
            shutil.copyfile(second, photos / "second.jpg")
            wait_for(lambda: "dependency_unavailable" in log_actions(running.log), "the log saying so", patience=40)
            assert running.metric("sightline_waiting_for_dependency", stage="indexer", dependency="edge") == 1
            time.sleep(60)
        finally:
            tell_children(running, signal.SIGCONT)
        wait_for(lambda: "second.jpg" in running.images(), "the image that waited")
        assert running.metric("sightline_waiting_for_dependency") == 0
        assert not (running.data_dir / "dead-letters").exists()
        assert running.stop() == 0
