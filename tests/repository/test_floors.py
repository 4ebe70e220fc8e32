"""The floors: every arrow points down, and each large library has one home."""

import subprocess
import sys
from pathlib import Path

from tests.repository.files import PACKAGES, ROOT, project


def test_the_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]


def test_the_contracts_speak_of_every_package() -> None:
    linter = project()["tool"]["importlinter"]
    assert sorted(linter["root_packages"]) == sorted(PACKAGES)
    layers = next(contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers")
    assert layers == ["cli", "services", "runtime | stores", "encoders", "imaging", "schemas"]


def test_a_large_library_is_kept_from_every_module_but_those_that_are_named() -> None:
    contracts = {one["name"]: one for one in project()["tool"]["importlinter"]["contracts"]}
    of_libraries = [one for one in contracts.values() if one.get("allow_indirect_imports")]
    assert len(of_libraries) == 6
    for one in of_libraries:
        homes = {package for package in PACKAGES if package in one["name"].split()[2:]}
        missing = set(PACKAGES) - homes - set(one["source_modules"])
        assert not missing, f"{one['name']}: a new module of {missing} would not be covered"


def test_every_package_is_shipped() -> None:
    assert sorted(project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == sorted(PACKAGES)
