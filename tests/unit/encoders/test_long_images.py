import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import Compose  # type: ignore[import-untyped]

from encoders.encoder import LONG
from encoders.preprocessing import Preprocessing
from imaging.samples import draw_scene

MODES = ["shortest", "longest", "squash"]
SIZES: list[int | tuple[int, int]] = [64, (48, 80), (80, 48)]


def straight(config: PreprocessCfg, image: Image.Image) -> NDArray[np.uint8]:
    """What open_clip's own transform resizes and crops, of the whole image."""
    return np.asarray(Compose(image_transform_v2(config, is_train=False).transforms[:-2])(image))


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def config(mode: str, size: int | tuple[int, int] = 64, **options: Any) -> PreprocessCfg:
    return PreprocessCfg(size=size, resize_mode=mode, **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(20 * 9, 9), (9, 20 * 9), (3 * LONG, 3), (7, 7 * LONG), (3000, 150)])
def test_up_to_the_ratio_called_long_every_bit_is_open_clips(
    mode: str, size: int | tuple[int, int], shape: tuple[int, int]
) -> None:
    image = noise(*shape)
    assert np.array_equal(Preprocessing(config(mode, size)).pixels(image), straight(config(mode, size), image))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(333, 10), (400, 7), (2 * LONG + 1, 2), (3001, 90), (6000, 100)])
def test_beyond_it_the_same_part_is_seen_at_the_same_place_and_scale(
    mode: str, size: int | tuple[int, int], interpolation: str, turned: bool, shape: tuple[int, int]
) -> None:
    picture = draw_scene("city", *shape, seed=2)
    rough = Image.blend(picture, noise(*shape), 0.3)
    image = rough.transpose(Image.Transpose.TRANSPOSE) if turned else rough
    # A fill that would show if the picture lay a pixel further to one side.
    asked = config(mode, size, interpolation=interpolation, fill_color=255)
    ours, theirs = (pixels.astype(float) for pixels in (Preprocessing(asked).pixels(image), straight(asked, image)))
    assert ours.shape == theirs.shape
    # Rounding, once or twice: half a pixel's shift of this noise is tens of levels.
    assert np.abs(ours - theirs).max() <= 3
    assert np.abs(ours - theirs).mean() <= 0.5
    assert (ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum()) >= 0.9999


@pytest.mark.parametrize("shape", [(5000, 1), (1, 5000)])
def test_a_line_so_thin_that_open_clip_fails_at_it_is_padded_around_one_line(shape: tuple[int, int]) -> None:
    image = Image.new("RGB", shape, (200, 100, 50))
    pixels = Preprocessing(config("longest")).pixels(image)
    rows = pixels if shape[0] > shape[1] else pixels.transpose(1, 0, 2)
    assert (rows[32] == (200, 100, 50)).all() or (rows[31] == (200, 100, 50)).all()
    assert (rows.reshape(64, -1).max(axis=1) > 0).sum() == 1


MEASURE = """
import resource, sys, time
from open_clip.transform import PreprocessCfg
from PIL import Image
from encoders.preprocessing import Preprocessing

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024

shapes = [(60_000, 1), (1, 60_000), (60_000, 4), (4, 60_000), (1_000_000, 1), (1, 1_000_000), (1_740, 57_000)]
# A failure is to end this process, not the machine.
resource.setrlimit(resource.RLIMIT_AS, (int(status("VmSize") + 2048) << 20,) * 2)
for mode in ("shortest", "longest", "squash"):
    preprocessing = Preprocessing(PreprocessCfg(size=224, resize_mode=mode))
    preprocessing.pixels(Image.new("RGB", (300, 400)))
    for shape in shapes:
        image = Image.new("RGB", shape, (1, 2, 3))
        before, began = status("VmHWM"), time.perf_counter()
        assert preprocessing.pixels(image).shape == (224, 224, 3)
        print(mode, *shape, time.perf_counter() - began, status("VmHWM") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read from Linux's /proc")
def test_no_shape_takes_long_or_much_memory() -> None:
    # In a process of its own, whose peak is not that of the tests before.
    answer = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert len(lines) == 21
    for *shape, seconds, mebibytes in lines:
        assert float(seconds) < 1, shape
        assert float(mebibytes) < 100, shape
