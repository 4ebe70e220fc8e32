"""`sightline`: one command line for every way to run."""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from runtime import log
from runtime.lifecycle import ExitCode
from runtime.settings import Settings, load_settings, setting_names
from schemas.errors import ConfigurationError, SightlineError

app = typer.Typer(
    name="sightline",
    help="Keeps a bucket of images searchable by words, by photo, by tag and by date.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
letters = typer.Typer(help="Records that were rejected, with their reasons.", no_args_is_help=True)
app.add_typer(letters, name="dead-letters")
api_keys = typer.Typer(help="API keys: who may ask this service from elsewhere, and what.", no_args_is_help=True)
app.add_typer(api_keys, name="keys")

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where index, dead letters and address are kept.")]
Port = Annotated[int | None, typer.Option("--port", help="Port of the HTTP server; 0 picks a free one.")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
Model = Annotated[str | None, typer.Option("--model", help="Encoder, by a name that `sightline models` lists.")]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, the same that the HTTP API answers.")]
MetricsFile = Annotated[
    Path | None, typer.Option(help="Write the counts there too, for Prometheus' textfile collector.")
]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, s3://bucket, or s3://bucket/prefix.")]


def settings_for(*, quiet: str = "INFO", log_level: str | None = None, **options: Any) -> Settings:
    """Settings from the environment and the options, with logs configured. Raises `ConfigurationError`.

    `quiet` is the log level of a command that nobody gave one, by option or by environment.
    """
    chosen = os.environ.get("SIGHTLINE_LOG_LEVEL") or os.environ.get("LOG_LEVEL")
    level = log_level.upper() if log_level else None if chosen else quiet
    settings = load_settings(dict(os.environ), log_level=level, **options)
    log.configure(settings.log_level)
    return settings


def run(work: Coroutine[Any, Any, ExitCode | None]) -> None:
    """Run a command's coroutine and exit with its code."""
    raise typer.Exit(int(asyncio.run(work) or ExitCode.CLEAN))


@app.command()
def up(
    source: Source,
    data_dir: DataDir = None,
    port: Port = None,
    host: Host = None,
    model: Model = None,
    interval: Annotated[float | None, typer.Option(help="Seconds between two comparisons with the source.")] = None,
    log_level: LogLevel = None,
) -> None:
    """Keep a folder or a bucket indexed and serve searches, all in one process."""
    from cli.up import up as work

    settings = settings_for(
        data_dir=data_dir,
        port=port,
        host=host,
        encoder__model=model,
        reconcile__interval=interval,
        log_level=log_level,
    )
    run(work(settings, source))


@app.command()
def serve(
    model: Model = None,
    port: Port = None,
    host: Host = None,
    data_dir: DataDir = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the vectors of one model over HTTP, for texts and images, without an index."""
    from cli.serve import serve as work

    settings = settings_for(encoder__model=model, port=port, host=host, data_dir=data_dir, log_level=log_level)
    run(work(settings))


@app.command()
def index(
    source: Source,
    data_dir: DataDir = None,
    model: Model = None,
    allow_mass_delete: Annotated[
        bool, typer.Option("--allow-mass-delete", help="Believe a source that is empty.")
    ] = False,
    as_json: AsJson = False,
    metrics_file: MetricsFile = None,
    log_level: LogLevel = None,
) -> None:
    """Bring the index up to date with a folder or a bucket once, and end."""
    from cli.one_pass import one_pass
    from cli.pass_report import ANYTHING_GOES, PassOptions
    from services.ingest.reconcile import Guard

    settings = settings_for(data_dir=data_dir, encoder__model=model, log_level=log_level, quiet="WARNING")
    guard = ANYTHING_GOES if allow_mass_delete else Guard(only_empty=True)
    run(one_pass(settings, source, PassOptions(guard=guard, as_json=as_json, metrics_file=metrics_file)))


@app.command()
def reconcile(
    source: Source,
    data_dir: DataDir = None,
    model: Model = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the differences and change nothing.")] = False,
    retry_rejected: Annotated[bool, typer.Option("--retry-rejected", help="Look again at what was rejected.")] = False,
    allow_mass_delete: Annotated[
        bool, typer.Option("--allow-mass-delete", help="Turn any number of points to gone.")
    ] = False,
    max_gone: Annotated[int | None, typer.Option(help="Points that may go without a word.")] = None,
    max_gone_share: Annotated[float | None, typer.Option(help="Share of points that may go without a word.")] = None,
    as_json: AsJson = False,
    metrics_file: MetricsFile = None,
    log_level: LogLevel = None,
) -> None:
    """Compare a source with the index, repair the differences, and compare again.

    Embedded, or on Kafka where SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS is set.
    """
    from cli.pass_report import ANYTHING_GOES, PassOptions
    from services.ingest.reconcile import Guard

    settings = settings_for(
        data_dir=data_dir,
        encoder__model=model,
        reconcile__max_gone=max_gone,
        reconcile__max_gone_share=max_gone_share,
        log_level=log_level,
        quiet="WARNING",
    )
    guard = Guard(share=settings.reconcile.max_gone_share, count=settings.reconcile.max_gone)
    options = PassOptions(
        guard=ANYTHING_GOES if allow_mass_delete else guard,
        verify=True,
        dry_run=dry_run,
        retry_rejected=retry_rejected,
        as_json=as_json,
        metrics_file=metrics_file,
    )
    if settings.kafka.bootstrap_servers:
        from cli.reconcile_on_kafka import reconcile_on_kafka as work
    else:
        from cli.one_pass import one_pass as work
    run(work(settings, source, options))


@app.command()
def search(
    words: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[Path | None, typer.Option(help="Find pictures like this file.")] = None,
    like: Annotated[str | None, typer.Option(help="Find pictures like this indexed key.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    threshold: Annotated[float | None, typer.Option(help="Least score to show.")] = None,
    bucket: Annotated[str | None, typer.Option(help="Only this bucket.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Only keys that begin like this.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only images with this tag.")] = None,
    tag_score: Annotated[float | None, typer.Option(min=0, max=1, help="The least score of that tag.")] = None,
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
def retag(
    everything: Annotated[bool, typer.Option("--all", help="Images whose tags are up to date too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, show five changes, and change nothing.")] = False,
    data_dir: DataDir = None,
    model: Model = None,
    as_json: AsJson = False,
    log_level: LogLevel = None,
) -> None:
    """Give all images new tags from their stored vectors, after a change of the vocabulary; reads no image."""
    from cli.retag import RetagOptions
    from cli.retag import retag as work

    settings = settings_for(data_dir=data_dir, encoder__model=model, log_level=log_level, quiet="WARNING")
    run(work(settings, RetagOptions(model=model, everything=everything, dry_run=dry_run, as_json=as_json)))


@app.command("run")
def run_services(
    services: Annotated[list[str], typer.Argument(metavar="SERVICE...", help="ingest, embedder, indexer, search")],
    data_dir: DataDir = None,
    port: Port = None,
    host: Host = None,
    model: Model = None,
    log_level: LogLevel = None,
) -> None:
    """Run any of the services, in one process or several, on Kafka."""
    from cli.distributed import run_services as work

    settings = settings_for(data_dir=data_dir, port=port, host=host, encoder__model=model, log_level=log_level)
    run(work(settings, services))


@app.command()
def status(data_dir: DataDir = None, model: Model = None, as_json: AsJson = False) -> None:
    """What runs, how many images are indexed, rejected and waiting, and since when."""
    from cli.status import status as work

    run(work(settings_for(data_dir=data_dir, encoder__model=model, quiet="ERROR"), as_json=as_json))


@letters.command("list")
def list_letters(
    data_dir: DataDir = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the original record.")] = False,
) -> None:
    """Show what was rejected, with the reason and the object."""
    from cli.dead_letters import list_letters as work

    run(work(settings_for(data_dir=data_dir, quiet="ERROR"), limit=limit, as_json=as_json))


@api_keys.command("new")
def new_key(
    name: Annotated[str, typer.Option("--name", help="What the key is called; for whom or what it is.")],
    scope: Annotated[str, typer.Option("--scope", help="search, embed, ingest, admin; several with commas.")],
    expires: Annotated[str | None, typer.Option("--expires", help="After 90d, 12h, 8w, or at 2030-01-31.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it, this once; what is kept is a hash. Running processes accept it within two seconds."""
    from cli.access import keys_file
    from cli.keys import new_key as work

    raise typer.Exit(int(work(keys_file(settings_for(data_dir=data_dir, quiet="ERROR")), name, scope, expires)))


@api_keys.command("list")
def list_keys(
    data_dir: DataDir = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show the keys by name: what they may do, and until when."""
    from cli.access import keys_file
    from cli.keys import list_keys as work

    raise typer.Exit(int(work(keys_file(settings_for(data_dir=data_dir, quiet="ERROR")), as_json=as_json)))


@api_keys.command("revoke")
def revoke_key(
    name: Annotated[str, typer.Argument(help="The name that the key was given.")], data_dir: DataDir = None
) -> None:
    """Take a key away; running processes refuse it within two seconds."""
    from cli.access import keys_file
    from cli.keys import revoke_key as work

    raise typer.Exit(int(work(keys_file(settings_for(data_dir=data_dir, quiet="ERROR")), name)))


@app.command()
def config(data_dir: DataDir = None, model: Model = None, as_json: AsJson = False) -> None:
    """Show every setting with the value that is in force; secrets are masked."""
    settings = settings_for(data_dir=data_dir, encoder__model=model, quiet="ERROR")
    values = settings.masked()
    if as_json:
        print(json.dumps(values, indent=2))
        return
    for name in setting_names():
        value: Any = values
        for part in name.removeprefix("SIGHTLINE_").lower().split("__"):
            value = value[part]
        print(f"{name}={'' if value is None else value if isinstance(value, str) else json.dumps(value)}")


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Show this one, and the command that gets it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models: what each takes, its size and licence, and whether it is on this machine."""
    from cli.models_table import list_models, show_model

    raise typer.Exit(int(list_models(as_json=as_json) if name is None else show_model(name, as_json=as_json)))


@app.command()
def demo(
    images: Annotated[int, typer.Option(min=20, help="How many sample images to draw.")] = 300,
    model: Model = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with images and index.")] = False,
) -> None:
    """Draw sample images, index them, change some while it runs, and search."""
    from cli.demo import demo as work

    run(work(images, model=model, keep=keep))


def main() -> None:
    """Run the command line; every known error becomes one sentence and an exit code."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except ConfigurationError as error:
        console.print(f"sightline: {error}")
        sys.exit(int(ExitCode.CONFIGURATION))
    except SightlineError as error:
        console.print(f"sightline: {error}")
        sys.exit(int(ExitCode.FAILED))
    except OSError as error:
        console.print(f"sightline: {error}")
        sys.exit(int(ExitCode.FAILED))
    except ExceptionGroup as group:
        known: ExceptionGroup[Exception] | None = group.subgroup(ConfigurationError) or group.subgroup(SightlineError)
        if known is None:
            raise
        inner: BaseException = known
        while isinstance(inner, BaseExceptionGroup):
            inner = inner.exceptions[0]
        console.print(f"sightline: {inner}", markup=False)
        code = ExitCode.CONFIGURATION if isinstance(inner, ConfigurationError) else ExitCode.FAILED
        sys.exit(int(code))


if __name__ == "__main__":
    main()
