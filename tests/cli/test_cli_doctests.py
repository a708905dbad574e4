"""The examples in the docstrings of the command and of its settings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import streamlog.cli

MODULES = [
    "streamlog.config",
    *(found.name for found in pkgutil.walk_packages(streamlog.cli.__path__, "streamlog.cli.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
