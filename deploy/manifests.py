"""What the manifests say after the code: `python -m deploy.manifests` writes it, `--check` fails when it is stale.

- deploy/k8s/base/settings.env: below its marker, every setting that is not set above it, as a comment with the default.
- deploy/k8s/base/monitoring/prometheus-rule.yaml: the rule files of deploy/prometheus, for the Prometheus operator.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr

from runtime.settings import Settings, setting_names

FOLDER = Path(__file__).parent
SETTINGS = FOLDER / "k8s" / "base" / "settings.env"
RULES = FOLDER / "k8s" / "base" / "monitoring" / "prometheus-rule.yaml"
RULE_FILES = FOLDER / "prometheus"

MARKER = "# The other settings, with their defaults. This part is written by `make docs`: set what you need above it.\n"


def settings_page(written: str) -> str:
    """The file of settings: what a person wrote, and the defaults of all others."""
    own = written.partition(MARKER)[0]
    given = {line.partition("=")[0] for line in own.splitlines() if not line.startswith("#")}
    secrets = secret_names()
    defaults = Settings().masked()
    rest = [
        f"# {name}={_value(defaults, name)}" for name in setting_names() if name not in given and name not in secrets
    ]
    return own + MARKER + "\n".join(rest) + "\n"


def secret_names(model: type[BaseModel] = Settings, prefix: str = "SIGHTLINE_") -> set[str]:
    """The settings that belong into a Secret."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= secret_names(field.annotation, f"{variable}__")
        elif field.annotation is SecretStr:
            names.add(variable)
    return names


def rules_page(folder: Path = RULE_FILES) -> str:
    """All groups of rules in a folder as one PrometheusRule."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.yml"))]
    groups = [group for document in documents for group in (document or {}).get("groups", [])]
    resource: dict[str, Any] = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        # The label is what the Prometheus of kube-prometheus-stack selects.
        "metadata": {"name": "sightline", "labels": {"release": "kube-prometheus-stack"}},
        "spec": {"groups": groups},
    }
    text = yaml.safe_dump(resource, sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by `make docs` from the rule files in deploy/prometheus; change those.\n{text}"


def stale() -> dict[Path, str]:
    """The files that differ from what they should say, with that."""
    wanted = {SETTINGS: settings_page(SETTINGS.read_text(encoding="utf-8")), RULES: rules_page()}
    return {
        path: text for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    }


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when the files are current (or were written), 1 when `--check` found a stale one."""
    parser = argparse.ArgumentParser(prog="python -m deploy.manifests", description="Writes the generated manifests.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a file is stale")
    check = parser.parse_args(arguments).check
    found = stale()
    for path, text in found.items():
        name = path.relative_to(FOLDER.parent)
        if check:
            print(f"{name} does not say what the code says; run `make docs` and commit it", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if check and found else 0


def _value(values: dict[str, Any], name: str) -> str:
    value: Any = values
    for part in name.removeprefix("SIGHTLINE_").lower().split("__"):
        value = value[part]
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
