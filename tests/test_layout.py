"""The source root stays a source root."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_operator_is_a_source_root() -> None:
    """`operator/__init__.py` would shadow the standard library's operator and break Python itself."""
    inside = {path.name for path in (ROOT / "operator").iterdir() if path.name != "__pycache__"}
    assert inside == {"ipam_operator"}


def test_handlers_only_take_note() -> None:
    """No function in kube/handlers.py that Kopf calls is longer than 15 lines."""
    tree = ast.parse((ROOT / "operator/ipam_operator/kube/handlers.py").read_text())
    long = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 15
    ]
    assert long == []
