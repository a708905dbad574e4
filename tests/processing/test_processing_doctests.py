"""The examples in the engine's docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import streamlog

ROOT = Path(streamlog.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for folder in ("processing", "testing")
    for path in (ROOT / folder).rglob("*.py")
    if ">>> " in path.read_text()
)


def test_there_are_examples() -> None:
    assert "streamlog.processing.dsl.inference" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    # A compiled module hides its functions' examples from doctest; the pure one shows them.
    assert results.failed == 0
