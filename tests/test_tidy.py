"""The style that a machine can check: sizes, module docstrings, banned text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "streamlog").rglob("*.py"))
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
BANNED = {
    "trio.to_thread": {"streamlog/doors.py"},
    "FIXME": set[str](),
    "TODO": set[str](),
    "NotImplementedError": set[str](),
    "import pickle": set[str](),
    "time.sleep": set[str](),
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_small_documented_and_clean(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= FILE_LINES_MAX
    if text.strip():
        assert ast.get_docstring(tree), "open the module with a sentence that says what lives here"
    for banned, allowed in BANNED.items():
        assert banned not in text or name_of(path) in allowed, banned
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"
