"""What the documents tell to type can be typed: commands, options, modules, targets and tests exist."""

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import typer

from cli.main import app
from tests.repository.files import ROOT, files

DOCUMENTS = [path for path in files() if path.suffix == ".md" and path.name != "CHANGELOG.md"]
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+(?:\n[^`\n]+)?)`|^ {4,}([^\n]+)$", re.MULTILINE | re.DOTALL)
"""Fenced, in a line, indented."""
BEFORE = re.compile(r"^(?:\$ |[A-Z_]+=\S+ |\.venv/bin/)*")


def typed() -> Iterator[tuple[str, list[str]]]:
    """Document and words of each command; what stands after a comment's sign or after a gap is said of it."""
    for path in DOCUMENTS:
        for found in CODE.finditer((ROOT / path).read_text(encoding="utf-8")):
            fenced, within, indented = found.groups()
            for line in [within.replace("\n", " ")] if within else (fenced or indented).splitlines():
                for one in re.split(r" &(?: |$)", line.strip()):
                    command = BEFORE.sub("", re.split(r" {2,}", one.strip())[0])
                    if re.match(r"(sightline|python|pytest|make) ", command):
                        yield str(path), shlex.split(command, comments=True)


COMMANDS = list(typed())


def test_the_documents_show_commands_of_each_kind() -> None:
    assert {words[0] for _, words in COMMANDS} == {"sightline", "python", "pytest", "make"}
    assert len(COMMANDS) > 150


def test_sightline_has_what_it_is_given() -> None:
    whole: Any = typer.main.get_command(app)
    for path, words in COMMANDS:
        if words[0] == "sightline":
            command, left = whole, words[1:]
            while left and hasattr(command, "commands"):
                name = left.pop(0)
                assert name in command.commands, f"{path}: {shlex.join(words)}"
                command = command.commands[name]
            known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
            given = {word for word in left if word.startswith("-")}
            assert given <= known | {"--help"}, f"{path}: {shlex.join(words)}"


def test_modules_targets_and_tests_that_are_to_be_run_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path, words in COMMANDS:
        match words:
            case ["python", "-m", module, *_] if module != "...":
                assert find_spec(module), f"{path}: {module}"
            case ["make", *given]:
                assert given[0] in targets, f"{path}: {given}"
            case ["pytest", *given]:
                assert all((ROOT / one).exists() for one in given if "/" in one), f"{path}: {given}"
