"""Options that several commands share, and what every command does with them."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime import log
from runtime.lifecycle import ExitCode
from runtime.settings import Settings, load_settings

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where index, dead letters and address are kept.")]
Port = Annotated[int | None, typer.Option("--port", help="Port of the HTTP server; 0 picks a free one.")]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.")]
Model = Annotated[str | None, typer.Option("--model", help="Encoder, by a name that `sightline models` lists.")]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, the same that the HTTP API answers.")]
MetricsFile = Annotated[
    Path | None, typer.Option(help="Write the counts there too, for Prometheus' textfile collector.")
]
Pushgateway = Annotated[
    str | None, typer.Option("--pushgateway", help="Push the counts to this Prometheus Pushgateway, by its URL.")
]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, s3://bucket, or s3://bucket/prefix.")]
Bucket = Annotated[str | None, typer.Option("--bucket", help="Only this bucket.")]
Prefix = Annotated[str | None, typer.Option("--prefix", help="Only keys that begin like this.")]
Tag = Annotated[str | None, typer.Option("--tag", help="Only images with this tag.")]
TagScore = Annotated[float | None, typer.Option("--tag-score", min=0, max=1, help="The least score of that tag.")]


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
