"""Where in the user's code a step was written: every message and every `repr` names the line."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ENGINE = str(Path(__file__).parent)
_CALLS_MAX = 50
"""Frames of the engine between a verb and the user's call; far fewer in truth."""


@dataclass(frozen=True, slots=True)
class Location:
    """A line of the user's code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def caller_location() -> Location:
    """Returns the innermost line on the stack that is not the engine's own."""
    frame = inspect.currentframe()
    assert frame is not None
    for _ in range(_CALLS_MAX):
        if not frame.f_code.co_filename.startswith(_ENGINE) or frame.f_back is None:
            break
        frame = frame.f_back
    return Location(_short(frame.f_code.co_filename), frame.f_lineno)


def caller_names() -> dict[str, Any]:
    """Returns the names that the user's code around the call can see: inner ones hide outer ones.

    Types that are defined inside a function, as tests do, are found by them.
    """
    names: dict[str, Any] = {}
    frame = inspect.currentframe()
    for _ in range(_CALLS_MAX):
        if frame is None:
            break
        if not frame.f_code.co_filename.startswith(_ENGINE):
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def function_location(function: object) -> Location | None:
    """Returns where a Python function begins, if it is one."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    return Location(_short(code.co_filename), code.co_firstlineno)


def _short(file: str) -> str:
    """The path from the current folder, if it is below it."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file
