"""Which keys are wanted, by the settings."""

from runtime.settings import Settings
from services.ingest.patterns import KeyPatterns


def key_patterns(settings: Settings) -> KeyPatterns:
    """The include and exclude patterns that the settings name."""
    return KeyPatterns(settings.ingest.include, settings.ingest.exclude)
