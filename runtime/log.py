"""Structured logs: one JSON object a line, a sentence for people and an `action` for machines.

One line per batch, never per image. Object keys appear only in warnings about one object.
"""

import json
import logging
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from runtime.in_hand import InHand
from runtime.redaction import redacted
from runtime.stage import Outcome, Reject


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, action, message, and the bound fields; no secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "action": getattr(record, "action", "log"),
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redacted(json.dumps(line, ensure_ascii=False, default=str))


class Log:
    """A logger whose every line has an `action`. A thin skin over `logging`, so handlers and levels work as usual."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, action: str, message: str, **fields: object) -> None:
        """Something that an operator may want to see."""
        self._logger.info(message, extra={"action": action, "fields": fields}, stacklevel=2)

    def debug(self, action: str, message: str, **fields: object) -> None:
        """Something that only a developer wants to see."""
        self._logger.debug(message, extra={"action": action, "fields": fields}, stacklevel=2)

    def warning(self, action: str, message: str, **fields: object) -> None:
        """Something that an operator may have to act on."""
        self._logger.warning(message, extra={"action": action, "fields": fields}, stacklevel=2)

    def error(self, action: str, message: str, **fields: object) -> None:
        """Something that stopped, with the exception in hand where there is one."""
        self._logger.error(
            message, extra={"action": action, "fields": fields}, exc_info=sys.exc_info()[0] is not None, stacklevel=2
        )

    def batch(
        self, stage: str, hand: InHand, outcomes: Mapping[str, Outcome], *, seconds: float, sent: int, trace_id: str
    ) -> None:
        """The one line of a finished batch: how many records, what became of them, where its `seconds` went.

        `trace_id` finds the batch's span; without tracing it is that of the first record, the same in every stage.
        """
        records = hand.records
        kinds = Counter(type(outcome).__name__.lower() for outcome in outcomes.values())
        reasons = Counter(o.reason.value for o in outcomes.values() if isinstance(o, Reject))
        self.info(
            "batch_done",
            f"{stage}: {len(records)} records in {seconds:.3f} s",
            stage=stage,
            records=len(records),
            outcomes=dict(kinds),
            rejected=dict(reasons),
            sent=sent,
            seconds=round(seconds, 4),
            phases={phase.value: round(spent, 4) for phase, spent in hand.phases.items()},
            trace_id=trace_id,
        )


def configure(level: str, *, stream: TextIO | None = None) -> None:
    """Send every log of this process to `stream` (stderr) as JSON lines, at `level` (a `logging` level name)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Ten errors a second while a broker is away; our own metrics and lines tell of it once a wait.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # Libraries that log each request or each fetch at INFO.
    for noisy in ("botocore", "boto3", "urllib3", "httpx", "httpcore", "faststream", "watchfiles", "PIL"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
