"""Rows of a benchmark's report: what, how much, against whom, and the ratio."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Row(NamedTuple):
    """One line of the report."""

    what: str
    unit: str
    ours: float
    peer: str
    theirs: float | None
    spread: str

    @property
    def ratio(self) -> float | None:
        """Ours over theirs."""
        return self.ours / self.theirs if self.theirs else None


def compare(what: str, unit: str, ours: Sequence[float], peer: str, theirs: Sequence[float]) -> Row:
    """Makes a row of the medians of runs that were made in turn; of ours alone without a peer."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True)) if theirs else []
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}" if ratios else ""
    return Row(what, unit, median(ours), peer, median(theirs) if theirs else None, spread)


def table(rows: Sequence[Row]) -> str:
    """Renders the rows as a Markdown table."""
    lines = [
        "| what | ours | peer | theirs | unit | ours / theirs | over the rounds |",
        "|---|--:|---|--:|---|--:|---|",
    ]
    for row in rows:
        theirs = f"{row.theirs:,.1f}" if row.theirs is not None else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        lines.append(
            f"| {row.what} | {row.ours:,.1f} | {row.peer} | {theirs} | {row.unit} "
            f"| {ratio} | {row.spread} |"
        )
    return "\n".join(lines)
