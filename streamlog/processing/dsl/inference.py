"""What can be known of a function when the program runs: a name for it, a type for its result.

Type checkers see more than this. Here a type is known from a `def`'s return annotation, or from a
lambda which is nothing but a call of a class; everything else is unknown, never guessed.
"""

from __future__ import annotations

import ast
import linecache
import re
import typing
from collections.abc import AsyncIterable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from streamlog.processing.dsl.nodes import RuntimeType

_ITERABLES = (Iterable, Iterator, Generator, Sequence, list, tuple, set, frozenset)


def derived_name(function: Callable[..., object]) -> str:
    """Returns a name from what a function is called or looks at; empty if there is nothing.

    >>> derived_name(lambda f: f.carrier), derived_name(lambda f: (f.origin, f.hour))
    ('carrier', 'origin-hour')
    """
    name = getattr(function, "__name__", "") or type(function).__name__
    if name == "<lambda>":
        code: CodeType = function.__code__
        name = "-".join(dict.fromkeys(code.co_names))
    return slug(name)


def slug(name: str) -> str:
    """Returns a name in the form that topics may have, words joined by hyphens.

    >>> slug("DelaysPerCarrier"), slug("by_carrier"), slug("Pair[int, str]")
    ('delays-per-carrier', 'by-carrier', 'pair-int-str')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    return re.sub(r"[^A-Za-z0-9.]+", "-", spaced).strip("-.").lower()


def result_type(function: Callable[..., object]) -> RuntimeType:
    """Returns the type that a function returns, or `None` if it is not known."""
    if isinstance(function, type):
        return function
    if getattr(function, "__name__", "") == "<lambda>":
        return _constructed_class(function)
    try:
        found = typing.get_type_hints(function, include_extras=True).get("return")
    except (NameError, TypeError):
        return None
    return None if found is Any or isinstance(found, typing.TypeVar) else found


def item_type(function: Callable[..., object]) -> RuntimeType:
    """Returns the type of the items of what a function returns, or `None` if it is not known."""
    found = result_type(function)
    arguments = typing.get_args(found)
    origin = typing.get_origin(found)
    if origin is None or not arguments or issubclass(origin, AsyncIterable):
        return None
    if origin is tuple:
        return arguments[0] if len(arguments) == 2 and arguments[1] is Ellipsis else None
    return arguments[0] if origin in _ITERABLES else None


def field_types(value_type: type[object]) -> dict[str, RuntimeType]:
    """Returns the types of a class's fields, as far as its annotations can be resolved."""
    try:
        found = typing.get_type_hints(value_type)
    except (NameError, TypeError):
        return {}
    return {
        name: None if each is Any or isinstance(each, typing.TypeVar) else each
        for name, each in found.items()
    }


def _constructed_class(function: Callable[..., object]) -> RuntimeType:
    """The class that a lambda's body calls, if its body is such a call: `lambda f: Delay(f.x)`."""
    body = _body(function.__code__)
    if not isinstance(body, ast.Call):
        return None
    found = _resolve(body.func, function)
    return found if isinstance(found, type) else None


def _body(code: CodeType) -> ast.expr | None:
    """A lambda's body, parsed from the place in its source which the compiler noted.

    The instruction that returns bears the span of the whole expression.
    """
    spans = {p for p in code.co_positions() if None not in p and p[2] != p[3]}
    if not spans:
        return None
    start = min((p[0], p[2]) for p in spans)
    end = max((p[1], p[3]) for p in spans)
    lines = linecache.getlines(code.co_filename)
    if start[0] is None or end[0] is None or end[0] > len(lines):
        return None
    # Columns count bytes, not characters.
    taken = [line.encode() for line in lines[start[0] - 1 : end[0]]]
    taken[-1] = taken[-1][: end[1]]
    taken[0] = taken[0][start[1] :]
    try:
        # The first instruction of a lambda points at its head in some versions of Python.
        parsed = ast.parse(b"(" + b"".join(taken) + b")", mode="eval").body
    except SyntaxError:
        return None
    return parsed.body if isinstance(parsed, ast.Lambda) else parsed


def _resolve(name: ast.expr, function: Callable[..., object]) -> object:
    """The object that a dotted name means inside a function."""
    if isinstance(name, ast.Attribute):
        return getattr(_resolve(name.value, function), name.attr, None)
    if not isinstance(name, ast.Name):
        return None
    code: CodeType = function.__code__
    if name.id in code.co_varnames:
        return None
    if name.id in code.co_freevars:
        cells: tuple[Any, ...] = function.__closure__ or ()
        try:
            return cells[code.co_freevars.index(name.id)].cell_contents
        except ValueError:
            return None
    found = function.__globals__.get(name.id)
    if found is None:
        builtins = function.__globals__.get("__builtins__", {})
        space = builtins if isinstance(builtins, dict) else vars(builtins)
        found = space.get(name.id)
    return found
