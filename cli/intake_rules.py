"""What a process takes in, for explanations: its source or buckets, the patterns, and the dead letters."""

from collections.abc import Callable, Sequence

from cli.patterns import key_patterns
from runtime.dead_letters import FileDeadLetters
from runtime.settings import Settings
from schemas.dead_letter import DeadLetter
from services.search.one_image.circumstances import Verdict

_PATTERNS = "Rename it, or change SIGHTLINE_INGEST__INCLUDE and SIGHTLINE_INGEST__EXCLUDE and start again."


class SettingsRules:
    """The rules by the settings. `follows` is (source, bucket, prefix) of a process that keeps one source indexed."""

    def __init__(
        self,
        settings: Settings,
        *,
        follows: tuple[str, str, str] | None = None,
        waiting_for: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        self._patterns = key_patterns(settings)
        self._allowed = () if follows else settings.ingest.buckets
        self._follows = follows
        self._waiting_for = waiting_for
        on_kafka = bool(settings.kafka.bootstrap_servers) and follows is None
        # A topic can only be read from end to end, which is for a command and not for a request.
        self._letters = None if on_kafka else FileDeadLetters(settings.data_dir / "dead-letters")

    def verdict(self, source: str, bucket: str, key: str) -> Verdict:
        """The first rule that leaves the object alone, or that it is wanted."""
        if self._follows is not None:
            own_source, own_bucket, prefix = self._follows
            if (source, bucket) != (own_source, own_bucket):
                return Verdict(
                    False,
                    f"this process follows {own_source}://{own_bucket}/{prefix} and not {source}://{bucket}",
                    "Compare the bucket's name; for a folder it is the folder's name.",
                )
            if not key.startswith(prefix):
                return Verdict(
                    False,
                    f"this process follows only keys that begin with {prefix}",
                    f"Move it below {prefix}, or follow the whole bucket.",
                )
        if source == "s3" and self._allowed and bucket not in self._allowed:
            return Verdict(
                False,
                f"the bucket {bucket} is not among SIGHTLINE_INGEST__BUCKETS",
                f"Add {bucket} to SIGHTLINE_INGEST__BUCKETS and start again.",
            )
        why = self._patterns.why_not(key)
        return Verdict(True) if why is None else Verdict(False, why, _PATTERNS)

    def places(self) -> Sequence[tuple[str, str]]:
        """The one source, or the buckets that are allowed by name."""
        if self._follows is not None:
            return [self._follows[:2]]
        return [("s3", bucket) for bucket in self._allowed]

    async def letters(self, source: str, bucket: str, key: str) -> Sequence[DeadLetter] | None:
        """Those in the data folder; None where they are on Kafka."""
        if self._letters is None:
            return None
        return await self._letters.about(f"{source}://{bucket}/{key}")

    def waiting_for(self) -> Sequence[str]:
        """What the pipeline of this process waits for."""
        return self._waiting_for()
