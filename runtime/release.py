"""Which release of Sightline this is."""

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("sightline")
    except PackageNotFoundError:
        return "0+uninstalled"


RELEASE = _installed()
"""Written into verdicts and dead letters, so that a later release may judge again."""
