"""How one pass of reconcile goes, and what it tells."""

import json
from dataclasses import dataclass
from pathlib import Path

from services.ingest.drift import EXAMPLES, Aside, DriftKind, Report
from services.ingest.reconcile import GRACE, Guard

ANYTHING_GOES = Guard(share=1.0)
"""No share of the points is more than all of them."""


@dataclass(frozen=True, kw_only=True)
class PassOptions:
    """How one pass goes. `verify` compares a second time."""

    guard: Guard
    verify: bool = False
    dry_run: bool = False
    retry_rejected: bool = False
    as_json: bool = False
    metrics_file: Path | None = None
    pushgateway: str = ""


def show_report(
    report: Report,
    options: PassOptions,
    *,
    dry_run: bool,
    counts: dict[str, int] | None = None,
    again: Report | None = None,
) -> None:
    """Print what a pass found and did, as JSON or for a person."""
    if options.as_json:
        print(
            json.dumps(
                {
                    "bucket": report.bucket,
                    "dry_run": dry_run,
                    "listed": report.listed,
                    "unchanged": report.unchanged,
                    "missing": report.missing,
                    "stale": report.stale,
                    "orphaned": report.orphaned,
                    "recent": report.recent,
                    "unreadable": report.unreadable,
                    "retried": report.retried,
                    "refused": report.refused,
                    "remaining": None if again is None else again.drift,
                    "counts": counts,
                }
            )
        )
        return
    did = "would look at" if dry_run else "looked at"
    print(
        f"{report.bucket}: {report.listed} images listed, {report.unchanged} unchanged; {did} "
        f"{report.missing} missing, {report.stale} stale, {report.orphaned} orphaned, {report.recent} that changed "
        f"in the last {GRACE.seconds // 60} minutes, {report.retried} to retry"
    )
    for kind in DriftKind:
        if report.examples[kind] and (dry_run or kind is DriftKind.ORPHANED):
            print(
                f"  {kind.value}: {', '.join(report.examples[kind])}{' …' if getattr(report, kind) > EXAMPLES else ''}"
            )
    if report.unreadable:
        keys = ", ".join(report.examples[Aside.UNREADABLE])
        print(
            f"{report.unreadable} are listed, but nobody can read them (archived, or encrypted with a key that cannot "
            f"be had); they are looked at again every hour: {keys}{' …' if report.unreadable > EXAMPLES else ''}"
        )
    if report.refused:
        print(report.refused)
    if counts is not None:
        print(f"index: {counts['indexed']} indexed, {counts['rejected']} rejected, {counts['gone']} gone")
    if again is not None and again.drift:
        print(f"a second comparison still disagrees on {again.drift} objects:")
        for kind in DriftKind:
            if again.examples[kind]:
                print(f"  {kind.value}: {', '.join(again.examples[kind])}")
    elif again is not None:
        print("a second comparison found no difference")
