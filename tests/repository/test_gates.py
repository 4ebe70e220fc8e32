"""No process serves anything but through the gate."""

import ast
from pathlib import Path

from tests.repository.files import ROOT, modules


def servers(path: Path) -> list[ast.Call]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "HttpServer"
    ]


def gates(path: Path) -> set[str]:
    """The names that hold what `guarded` made."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "guarded"
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def test_every_http_server_is_given_a_gate() -> None:
    found = [(path, call) for path in modules() for call in servers(path)]
    assert len(found) >= 2
    ungated = [
        f"{path}:{call.lineno}"
        for path, call in found
        if not (isinstance(call.args[0], ast.Name) and call.args[0].id in gates(path))
    ]
    assert not ungated, "cli.access.guarded makes the gate that asks for API keys"
