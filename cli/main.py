"""`sightline`: one command line for every way to run."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from cli import ask_commands, key_commands
from cli.options import (
    AsJson,
    DataDir,
    Host,
    LogLevel,
    MetricsFile,
    Model,
    Port,
    Pushgateway,
    Source,
    run,
    settings_for,
)
from runtime.lifecycle import ExitCode
from runtime.settings import setting_names
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
app.add_typer(ask_commands.app)
app.add_typer(key_commands.app, name="keys")


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
    pushgateway: Pushgateway = None,
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
        reconcile__pushgateway=pushgateway,
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
        pushgateway=settings.reconcile.pushgateway,
    )
    if settings.kafka.bootstrap_servers:
        from cli.reconcile_on_kafka import reconcile_on_kafka as work
    else:
        from cli.one_pass import one_pass as work
    run(work(settings, source, options))


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
