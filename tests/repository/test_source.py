"""Promises about the source itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository.files import ROOT, files, modules

MOST_LINES = 350
"""Most modules hold 50 to 200; past this one there is certainly a second idea."""
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}
# Joined here, so that this file does not hold what it looks for.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("py" + "pi", "org"),
        ("python" + "hosted", "org"),
        ("maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("proxy", "golang", "org"),
        ("goproxy", "io"),
        ("npm" + "js", "org"),
        ("npm" + "js", "com"),
        ("download", "pytorch", "org"),
        ("registry-1", "docker", "io"),
        ("anaconda", "org"),
        ("crates", "io"),
    )
]
INDEX_OPTIONS = ["--" + name for name in ("index-url", "extra-index-url", "find-links", "default-index")]


def public_definitions(tree: ast.Module) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]]:
    """The module, its public functions and classes, and their public methods."""
    yield "module", tree

    def within(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if node.name.startswith("_"):
                continue
            yield f"{prefix}{node.name}", node  # type: ignore[misc]
            if isinstance(node, ast.ClassDef):
                yield from within(node.body, f"{prefix}{node.name}.")

    yield from within(tree.body, "")


@pytest.mark.parametrize("path", modules(), ids=str)
def test_every_public_name_says_what_it_is(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    nameless = [name for name, node in public_definitions(tree) if len((ast.get_docstring(node) or "").split()) < 2]
    assert not nameless, f"{path}: these have no docstring, or a single word"


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_module_is_named_after_one_idea_and_holds_no_more(path: Path) -> None:
    assert path.stem not in VAGUE, f"{path} is named after the sharing, not the idea"
    assert not VAGUE & set(path.parts), f"{path} lies in a folder named after the sharing"
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES, f"{path} has {lines} lines: it holds more than one idea"


SETS_IT_BEFORE_IMPORTS = Path("runtime/sleeping_threads.py")
"""Torch and numpy read their variables themselves, when they are imported."""
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def test_only_the_command_line_reads_the_environment() -> None:
    reading = {path for path in modules() if path.parts[0] != "cli" and ENVIRONMENT & _taken_from_os(path)}
    assert reading == {SETS_IT_BEFORE_IMPORTS}, "let cli hand in what they need, as a Mapping"


def _taken_from_os(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))))
    imported = (node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "os")
    taken = {alias.name for node in imported for alias in node.names}
    return taken | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_no_file_names_a_package_registry() -> None:
    # `--no-emit-index-url`, with which the lock is made, is not the option.
    pattern = re.compile(
        "|".join([*map(re.escape, REGISTRIES), *(rf"(?<!no-emit){re.escape(o)}" for o in INDEX_OPTIONS)])
    )
    named = [f"{path}: {found}" for path in files() for found in pattern.findall(text_of(path))]
    assert not named, "whoever installs chooses the registry"


def test_no_file_holds_a_merge_conflict_or_a_path_of_one_machine() -> None:
    marks = ["<" * 7 + " ", ">" * 7 + " ", "/" + "work/", "/" + "Users/", "/home/" + "ubuntu"]
    found = [f"{path}: {mark}" for path in files() for mark in marks if mark in text_of(path)]
    assert not found


def text_of(path: Path) -> str:
    """The text of a file, empty for binary ones."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
