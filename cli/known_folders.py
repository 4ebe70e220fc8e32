"""Which folders were indexed into a data folder, as `cli.sources` noted them there."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

_CLAIMS = TypeAdapter(dict[str, str])


def known_folders(data_dir: Path) -> dict[str, Path]:
    """The folders that were indexed into a data folder: bucket to root. Empty where nothing can be read."""
    try:
        claimed = _CLAIMS.validate_json((data_dir / "folders.json").read_bytes())
    except (OSError, ValidationError):
        return {}
    return {name: Path(root) for name, root in claimed.items()}
