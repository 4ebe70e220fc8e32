"""The commands that ask the index or the model something, from `search` to `embed`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.options import AsJson, Bucket, DataDir, Model, Prefix, Tag, TagScore, run, settings_for

app = typer.Typer()


class Kind(StrEnum):
    """Kinds of duplicates."""

    EXACT = "exact"
    RE_ENCODED = "re-encoded"
    SIMILAR = "similar"


class Format(StrEnum):
    """Formats of exports, which are also the endings of their files."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@app.command()
def search(
    words: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[Path | None, typer.Option(help="Find pictures like this file.")] = None,
    like: Annotated[str | None, typer.Option(help="Find pictures like this indexed key.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    threshold: Annotated[float | None, typer.Option(help="Least score to show.")] = None,
    bucket: Bucket = None,
    prefix: Prefix = None,
    tag: Tag = None,
    tag_score: TagScore = None,
    data_dir: DataDir = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Search by words, by an image file, or by an indexed image."""
    from cli.search import Query
    from cli.search import search as work

    settings = settings_for(data_dir=data_dir, encoder__model=model, quiet="ERROR")
    query = Query(
        words=words,
        image=image,
        like=like,
        limit=limit,
        threshold=threshold,
        bucket=bucket,
        prefix=prefix,
        tag=tag,
        tag_score=tag_score,
    )
    run(work(settings, query, as_json=as_json))


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key as in the bucket, or the path of a file.")],
    bucket: Annotated[str | None, typer.Option(help="The bucket; for a folder, the folder's name.")] = None,
    data_dir: DataDir = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Tell why a photo is found, or not: step by step with times, and what to do."""
    from cli.explain import explain as work

    settings = settings_for(data_dir=data_dir, encoder__model=model, quiet="ERROR")
    run(work(settings, key, bucket=bucket, as_json=as_json))


@app.command()
def tags(
    bucket: Bucket = None,
    prefix: Prefix = None,
    data_dir: DataDir = None,
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help='Print {"tags": [{"tag": ..., "count": ...}]}.')] = False,
) -> None:
    """How many images have each tag, most frequent first; of 1,000 tags at most."""
    from cli.asking import show_tags

    settings = settings_for(data_dir=data_dir, encoder__model=model, quiet="ERROR")
    run(show_tags(settings, bucket=bucket, prefix=prefix, as_json=as_json))


@app.command()
def duplicates(
    kind: Annotated[
        Kind, typer.Option(help="Same bytes; same picture at another size or quality; or a similar one.")
    ] = Kind.EXACT,
    limit: Annotated[int, typer.Option(min=1, help="At most so many groups.")] = 100,
    data_dir: DataDir = None,
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each group as a line of JSON.")] = False,
) -> None:
    """Groups of images that are the same, or nearly."""
    from cli.asking import show_duplicates

    settings = settings_for(data_dir=data_dir, encoder__model=model, quiet="ERROR")
    run(show_duplicates(settings, kind=kind.value, limit=limit, as_json=as_json))


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to; .csv, .jsonl or .parquet tells the format.")],
    words: Annotated[
        str | None, typer.Option("--search", help="Only what is found by these words, best first.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many; with --search 1,000 unless given, and 10,000 at most.")
    ] = None,
    format: Annotated[Format | None, typer.Option(help="Whatever the file is called.")] = None,  # noqa: A002 - the option
    bucket: Bucket = None,
    prefix: Prefix = None,
    tag: Tag = None,
    tag_score: TagScore = None,
    data_dir: DataDir = None,
    model: Model = None,
) -> None:
    """Write what is indexed, with its tags, into a file."""
    from cli.asking import export_to
    from sightline_client import where

    settings = settings_for(data_dir=data_dir, encoder__model=model, quiet="ERROR")
    only = where(bucket=bucket, prefix=prefix, tag=tag, tag_score=tag_score)
    run(export_to(settings, file, form=format and format.value, words=words, limit=limit, only=only))


@app.command()
def embed(
    what: Annotated[str, typer.Argument(metavar="FILE|TEXT", help="An image's file, or a text where there is none.")],
    text: Annotated[bool, typer.Option("--text", help="It is a text, even if a file is called so.")] = False,
    data_dir: DataDir = None,
    model: Model = None,
) -> None:
    """Print the vector of an image or of a text, as JSON."""
    from cli.asking import is_image_file, show_embedding

    settings = settings_for(data_dir=data_dir, encoder__model=model, quiet="ERROR")
    run(show_embedding(settings, Path(what) if not text and is_image_file(what) else what))
