import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.patterns import IMAGE_EXTENSIONS, KeyPatterns


@pytest.mark.parametrize("extension", sorted(IMAGE_EXTENSIONS))
def test_every_image_extension_is_wanted_in_any_case(extension: str) -> None:
    assert KeyPatterns().wants(f"a/b.{extension}")
    assert KeyPatterns().wants(f"a/b.{extension.upper()}")


@pytest.mark.parametrize(
    "key",
    [
        "IMG_0001",
        "2024/IMG_0001",
        "v1.2/scan",
        "a//b",
        "/leading",
        "trailing.",
        "ca\N{LATIN SMALL LETTER E WITH ACUTE}.jpg",
    ],
)
def test_names_without_an_extension_and_odd_paths_are_judged_by_their_bytes(key: str) -> None:
    assert KeyPatterns().wants(key)


@pytest.mark.parametrize(
    "key",
    [
        "notes.txt",
        "movie.mp4",
        "a.jpg.txt",
        "folder/",
        ".hidden.jpg",
        ".git/objects/ab/cdef",
        "a/.thumbnails/b.jpg",
        "photo.jpg~",
        "~$photo.jpg",
        "photo.jpg.tmp",
        "photo.part",
        "photo.jpg.partial",
        "photo.jpg.crdownload",
        "photo.download",
        "photo.download/photo.jpg",
        ".photo.jpg.swp",
        "Thumbs.db",
        "desktop.ini",
        "__MACOSX/._photo.jpg",
        "__macosx/photo.jpg",
        "a/@eaDir/photo.jpg",
        "$RECYCLE.BIN/photo.jpg",
        "System Volume Information/photo",
        "lost+found/12345",
    ],
)
def test_what_is_no_image_by_name_is_not_wanted(key: str) -> None:
    assert not KeyPatterns().wants(key)


@pytest.mark.parametrize("key", [".hidden.jpg", "photo.jpg.part", "a/@eaDir/b.jpg", "Thumbs.db", "folder/"])
def test_no_include_brings_back_what_is_excluded_by_default(key: str) -> None:
    assert not KeyPatterns(include=["*"]).wants(key)


def test_given_includes_replace_the_default_ones() -> None:
    patterns = KeyPatterns(include=["Press/*.jpg", "*.dng"])
    assert patterns.wants("press/2024/a.JPG")
    assert patterns.wants("a.dng")
    assert not patterns.wants("other/a.jpg")
    assert not patterns.wants("without-extension")


def test_given_excludes_add_to_the_default_ones() -> None:
    patterns = KeyPatterns(exclude=["Private/*", "*-draft.*"])
    assert not patterns.wants("private/a/b.jpg")
    assert not patterns.wants("a-draft.png")
    assert not patterns.wants(".hidden.jpg")
    assert patterns.wants("public/private/a.jpg")


def test_composed_and_decomposed_accents_are_one() -> None:
    glob = unicodedata.normalize("NFC", "caf\N{LATIN SMALL LETTER E WITH ACUTE}/*")
    assert not KeyPatterns(exclude=[glob]).wants(unicodedata.normalize("NFD", glob.replace("*", "a.jpg")))


def test_folders_below_which_nothing_can_be_wanted_are_pruned() -> None:
    patterns = KeyPatterns(exclude=["private/*", "a/*.jpg"])
    assert patterns.prunes(".git/")
    assert patterns.prunes("a/@eaDir/b/")
    assert patterns.prunes("Private/")
    assert patterns.prunes("private/deep/")
    assert not patterns.prunes("a/")
    assert not patterns.prunes("")


_name = st.text("aB.~-_ é", min_size=1, max_size=6)
_key = st.lists(_name, min_size=1, max_size=4).map("/".join)
_glob = st.text("aB.*?/", min_size=1, max_size=5)


@given(key=_key, exclude=st.lists(_glob, max_size=3), include=st.lists(_glob, max_size=2))
def test_nothing_below_a_pruned_folder_is_wanted(key: str, exclude: list[str], include: list[str]) -> None:
    patterns = KeyPatterns(include, exclude)
    folders = [key[: at + 1] for at, letter in enumerate(key) if letter == "/"]
    if any(map(patterns.prunes, folders)):
        assert not patterns.wants(key)
