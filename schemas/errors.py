"""The errors that cross floors, and who acts on each.

- `SightlineError`: the root; its message is a full sentence for the person who runs the process.
    - `ConfigurationError`: settings that cannot work. The command line prints the sentence and exits with 2.
    - `DependencyUnavailable`: something outside is away (S3, Qdrant, Kafka, a remote encoder). The worker
      backs off and tries the whole batch again; nothing is dead-lettered. The start of a service waits likewise.
    - `UndecodableRecord`: one record's bytes are not what the topic promises. The worker dead-letters that record.

Every other exception that leaves a stage is a bug: the process stops and exits non-zero.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.dead_letter import RejectReason


class SightlineError(Exception):
    """The root of the errors that carry a sentence for a person."""


class ConfigurationError(SightlineError):
    """Settings that cannot work; the message says which one and what to change."""


class DependencyUnavailable(SightlineError):
    """A dependency cannot answer now, and the same work should be tried again later.

    `dependency` is a short, bounded label for metrics ("s3", "folder", "qdrant", "edge", "kafka");
    `detail` says what happened to which object; `remedy` says what a person can do about it.
    """

    def __init__(self, dependency: str, detail: str, remedy: str) -> None:
        super().__init__(f"{dependency}: {detail}. {remedy}")
        self.dependency = dependency
        self.detail = detail
        self.remedy = remedy


class UndecodableRecord(SightlineError):
    """A record that cannot be read; it becomes a dead letter with this reason and detail."""

    def __init__(self, reason: "RejectReason", detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
