"""The README's pictures of the page: a real `sightline up` over an album of drawings, seen in Chromium.

`make screenshots` runs this with SCREENSHOTS naming the folder that they are written to.
"""

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from imaging.sample_scenes import Pictures
from imaging.samples import encode_sample, write_broken
from imaging.scenes import COLOURS, PATTERNS, Background
from tests.end_to_end.browsing import PHONE, Visit, visiting
from tests.end_to_end.running import sightline, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow
"""A model and a browser on two cores: minutes."""

SHOWN = (
    "fox",
    "penguin",
    "owl",
    "koala",
    "octopus",
    "ship",
    "tulip",
    "sunflower",
    "lemon",
    "red apple",
    "guitar",
    "cat",
)
SIZES = ((480, 360), (360, 480), (540, 360), (420, 420))
IMAGES = 180
MOST_BYTES = 300_000


def draw_album(folder: Path) -> None:
    """Draw images that show few things often, as albums do, so that a search has more than one right answer."""
    random = np.random.default_rng(3)
    pictures = Pictures()
    for number in range(IMAGES):
        first, second = random.permutation(len(SHOWN))[:2]
        things = [(SHOWN[first], int(random.integers(1, 4)))]
        if number % 3 == 0:
            things.append((SHOWN[second], 1))
        background = Background(str(random.choice(list(COLOURS))), str(random.choice(PATTERNS)))
        suffix, encode = encode_sample(number)
        path = folder / str(2019 + number % 5) / f"IMG_{1000 + number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = pictures.draw(things, background, SIZES[number % len(SIZES)], seed=number)
        path.write_bytes(encode(drawn))
        if number % 30 == 0:
            drawn.save(path.with_name(f"{path.stem}-edited.webp"), quality=90)


@pytest.mark.timeout(300)
def test_screenshots(browser: "Browser") -> None:
    asked = os.environ.get("SCREENSHOTS")
    if not asked:
        pytest.skip("screenshots are taken by `make screenshots` alone, so that tests change no file")
    into = Path(asked)
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="album-") as place:  # its name is seen in one of them
        take(browser, Path(place), into)
    assert all(path.stat().st_size < MOST_BYTES for path in into.glob("page-*.webp"))


def take(browser: "Browser", place: Path, into: Path) -> None:
    """Draw, index and look."""
    album = place / "Pictures"
    draw_album(album)
    broken = len(write_broken(album))
    settings = {
        "SIGHTLINE_ENCODER__MODEL": "sightline-small",
        "SIGHTLINE_TAGS__VOCABULARY": ",".join(SHOWN),
        "SIGHTLINE_TAGS__DEFAULTS": "false",
        "SIGHTLINE_TAGS__LEAST_SCORE": "0.2",
    }
    with sightline("up", album, "--port", "0", data_dir=place / "data", environment=settings) as running:
        wait_for(lambda: running.status()["waiting"] == 0, "all being looked at")
        wait_for(lambda: running.status()["rejected"] == broken, "the broken files being rejected")
        shoot(browser, running.url + "/", album, into)


def shoot(browser: "Browser", url: str, album: Path, into: Path) -> None:
    """Write page-*.webp: results, one image in the dark, operations, and a phone."""

    def save(visit: Visit, name: str) -> None:
        visit.page.wait_for_timeout(1500)
        with Image.open(io.BytesIO(visit.page.screenshot())) as taken:
            taken.convert("RGB").save(into / f"page-{name}.webp", quality=84, method=6)

    def taking(scheme: Any, **more: Any) -> Any:
        size = {"viewport": {"width": 1280, "height": 800}}
        return visiting(browser, url, color_scheme=scheme, reduced_motion="reduce", **(size | more))

    with taking("light") as visit:
        visit.open("?q=a+fox", ".tile .meter")
        visit.open("?q=a+fox", ".tile .meter")  # as quick as every search but the first
        save(visit, "results")
    with taking("dark") as visit:
        visit.open("?q=penguins", ".tile .meter")
        visit.page.click(".tile .open >> nth=0")
        visit.page.wait_for_selector(".timeline li")
        save(visit, "details")
    with taking("dark", **PHONE) as visit:
        visit.open("", ".film .shown")
        save(visit, "phone")
    with taking("light") as visit:
        visit.open("#operations", "tbody tr")
        for number in range(8):
            for copied in sorted(album.rglob("IMG_*.png"))[: 12 + number * 3 % 10]:
                shutil.copyfile(copied, album / f"{number}-{copied.name}")
            visit.page.wait_for_timeout(2000)
        save(visit, "operations")
