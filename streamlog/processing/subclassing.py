"""Says of a compiled class that classes which are not compiled may be derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**_):  # noqa: ANN003, ANN201 (what counts is what the compiler reads)
        """Does nothing: the compiler reads it, and does not run it."""
        return lambda decorated: decorated
