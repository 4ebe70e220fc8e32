"""What one pass tells Prometheus, which cannot ask a process that ends: by a file, or by a Pushgateway."""

import asyncio
from http.client import HTTPException

from prometheus_client import CollectorRegistry, push_to_gateway, write_to_textfile

from cli.pass_report import PassOptions
from runtime.log import Log
from services.ingest.drift import DRIFT, LAST_RECONCILE, LISTED

JOB = "sightline-reconcile"
TIMEOUT_SECONDS = 10.0


async def tell_metrics(
    options: PassOptions, registry: CollectorRegistry, log: Log, *, bucket: str, prefix: str = ""
) -> None:
    """Write the file and push to the gateway, where they are named.

    Each source has one group in the gateway (its bucket, and its prefix if it has one), so that a pass replaces what
    the pass before it pushed. Only what a pass found is pushed: a gateway would show any other gauge for ever. A
    gateway that does not take it is a warning, since the pass has done its work. Raises `OSError` when the file cannot
    be written.
    """
    if options.metrics_file is not None:
        write_to_textfile(str(options.metrics_file), registry)
    if not options.pushgateway:
        return
    group = {"bucket": bucket} | ({"prefix": prefix} if prefix else {})
    try:
        await asyncio.to_thread(
            push_to_gateway,
            options.pushgateway,
            job=JOB,
            registry=registry.restricted_registry([DRIFT.name, LISTED.name, LAST_RECONCILE.name]),
            grouping_key=group,
            timeout=TIMEOUT_SECONDS,
        )
    except (OSError, HTTPException) as error:
        log.warning(
            "push_failed",
            f"the Pushgateway at {options.pushgateway} did not take the counts of {bucket} ({error}); the pass is "
            "complete, but Prometheus does not know of it. Look at the gateway and at SIGHTLINE_RECONCILE__PUSHGATEWAY",
            bucket=bucket,
        )
