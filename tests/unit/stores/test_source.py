import os
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from stores.source import FolderSource, S3Source, parse_source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("s3://bucket", S3Source("bucket")),
        ("s3://bucket/", S3Source("bucket")),
        ("s3://bucket/a/b c", S3Source("bucket", "a/b c")),
        ("S3://bucket//odd?#%2B", S3Source("bucket", "/odd?#%2B")),
    ],
)
def test_a_bucket_and_its_prefix_are_taken_as_they_are_written(text: str, source: S3Source) -> None:
    assert parse_source(text) == source


def test_a_folder_is_made_absolute_and_keeps_the_name_of_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("link", "./link/", str(tmp_path / "link"), "~/link", f"{tmp_path}//link"):
        assert parse_source(text) == FolderSource(tmp_path / "link")
    monkeypatch.chdir(tmp_path / "real")
    assert parse_source(".") == FolderSource(tmp_path / "real")
    assert parse_source("../real") == FolderSource(tmp_path / "real")


def test_a_path_with_any_part_that_is_not_utf8_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    (bad / "pictures").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="not UTF-8") as error:
        parse_source(str(bad / "pictures"))
    assert str(error.value).encode(), "the sentence itself can be printed"
    monkeypatch.chdir(bad)
    for text in ("pictures", "pictures/../pictures", "."):
        with pytest.raises(ConfigurationError, match="not UTF-8"):
            parse_source(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://bucket/a\udcff", "not UTF-8"),
        ("s3://b\udcff", "not UTF-8"),
        ("\udcff://bucket", "not UTF-8"),
        ("s3://bucket\n", "cannot be a bucket's name"),
        ("", "empty"),
        ("  ", "empty"),
        ("s3://", "names no bucket"),
        ("s3:///key", "names no bucket"),
        ("s3://b!/x", "cannot be a bucket's name"),
        ("s3://x", "cannot be a bucket's name"),
        ("gs://bucket", "gs:// is no source"),
        ("file:///tmp", "plain path"),
        ("/does/not/exist", "does not exist"),
        ("/etc/passwd", "is a file, not a folder"),
        ("/", "no name"),
    ],
)
def test_what_is_no_source_is_refused_with_what_to_write_instead(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse_source(text)
