import io
from pathlib import Path

import pytest
from PIL import Image

from imaging.decode import BadImage, decode
from imaging.samples import SCENES, draw_samples, photograph, write_broken
from schemas.dead_letter import RejectReason


def test_samples_are_the_same_for_the_same_seed_and_others_for_another(tmp_path: Path) -> None:
    first, again, other = (
        [path.read_bytes() for path in draw_samples(tmp_path / name, 24, seed)]
        for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    assert first == again
    assert not set(first) & set(other)
    assert len(set(first)) == 24


def test_samples_are_jpegs_and_pngs_of_several_sizes_with_dates_cameras_and_orientation(tmp_path: Path) -> None:
    paths = draw_samples(tmp_path, 60, seed=3)
    facts = [decode(path.read_bytes(), max_pixels=10**7).facts for path in paths]
    assert [path.suffix[1:] for path in paths] == [one.format.replace("jpeg", "jpg") for one in facts]
    assert {one.format for one in facts} == {"jpeg", "png"}
    assert len({(one.width, one.height) for one in facts}) >= 4
    dated = [one for one in facts if one.taken_at is not None]
    assert 10 <= len(dated) < 40
    assert len({one.taken_at for one in dated}) == len(dated)
    assert all(one.camera for one in dated)
    turned = [path for path in paths if path.suffix == ".jpg" and Image.open(path).getexif().get(274) == 6]
    assert turned
    assert all(kind in {path.stem.split("-")[1] for path in paths} for kind in SCENES)


def test_broken_samples_are_refused_each_for_its_reason(tmp_path: Path) -> None:
    reasons = []
    for path in write_broken(tmp_path):
        with pytest.raises(BadImage) as caught:
            decode(path.read_bytes(), max_pixels=10**7)
        reasons.append(caught.value.reason)
    assert reasons == [RejectReason.DECODE_FAILED, RejectReason.NOT_AN_IMAGE]


def test_a_photograph_has_the_size_and_weight_of_one_and_is_reproducible() -> None:
    data = photograph(1024, 768, seed=5)
    assert Image.open(io.BytesIO(data)).size == (1024, 768)
    assert 1.2 < 8 * len(data) / (1024 * 768) < 4
    assert photograph(1024, 768, seed=5) == data
    assert photograph(1024, 768, seed=6) != data
