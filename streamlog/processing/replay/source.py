"""A digest of a pipeline's file, to notice that a version goes on with other code than it began."""

from __future__ import annotations

import ast
import inspect
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlog.processing.dsl.pipeline import Pipeline

_DIGEST_CHARACTERS = 16


def source_digest(pipeline: Pipeline[..., object]) -> str:
    """Returns the digest of the file that a pipeline is in; empty if there is no such file."""
    try:
        file = inspect.getsourcefile(pipeline.function)
        return "" if file is None else code_digest(Path(file).read_text())
    except (OSError, TypeError, SyntaxError, ValueError):
        return ""


def code_digest(text: str) -> str:
    r"""Returns the digest of a program, blind to comments, docstrings and layout.

    >>> code_digest("x = 1  # one") == code_digest('"An x."\n\nx = (1)') != code_digest("x = 2")
    True
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
    return sha256(ast.dump(tree).encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _is_text(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
