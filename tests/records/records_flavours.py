"""The modules that may be compiled, once as they are imported and once from their plain sources.

Where nothing is compiled both are the same code, and then it is tested once.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType


def is_compiled(module: ModuleType) -> bool:
    return not (module.__file__ or "").endswith(".py")


def load_source(name: str) -> ModuleType:
    """Loads a module from its .py file under another name, beside the imported one."""
    package, _, leaf = name.rpartition(".")
    folder = importlib.import_module(package).__path__[0]
    spec = importlib.util.spec_from_file_location(f"pure_{leaf}", f"{folder}/{leaf}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def flavours(name: str) -> list[Any]:
    """Returns pytest parameters: the imported module, and its plain source if that differs."""
    imported = importlib.import_module(name)
    if not is_compiled(imported):
        return [pytest.param(imported, id="source")]
    return [
        pytest.param(imported, id="compiled"),
        pytest.param(load_source(name), id="source"),
    ]
