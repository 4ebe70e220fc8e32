"""What is in the repository: the files that git knows or would add, and the packages that are shipped."""

import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("cli", "services", "runtime", "stores", "encoders", "imaging", "schemas", "sightline_client")


@cache
def files() -> list[Path]:
    """Every file, paths from the root, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted(Path(name) for name in set(filter(None, listed.split("\0"))) if (ROOT / name).is_file())


def modules() -> list[Path]:
    """Every Python module of the shipped packages."""
    return [path for path in files() if path.suffix == ".py" and path.parts[0] in PACKAGES]


@cache
def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
