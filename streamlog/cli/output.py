"""Tables: by rich on a terminal, tab-separated when piped, JSON when asked for.

Data goes to stdout, words to stderr, so that a pipe gets data alone. JSON has the column names in
snake_case, and real numbers and nulls, where text has a dash.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table as RichTable

Cell = str | int | float | bool | None | list[str]


@dataclass(slots=True)
class Table:
    """Rows under column names; numbers are set to the right."""

    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    title: str | None = None

    def records(self) -> list[dict[str, Cell]]:
        """Returns the rows as JSON objects.

        >>> Table(["LOG-END", "RECORDS/S"], [[3, 4]]).records()
        [{'log_end': 3, 'records_per_s': 4}]
        """
        names = [
            column.lower().replace("/", " per ").replace("-", "_").replace(" ", "_")
            for column in self.columns
        ]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def text_of(cell: Cell) -> str:
    """Returns a cell as text."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.2f}"
    if isinstance(cell, list):
        return ",".join(cell) or "-"
    return cell if isinstance(cell, str) else str(cell)


def write_json(value: object) -> None:
    """Writes one JSON document, indented for people on a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False))


def write_table(table: Table, *, as_json: bool) -> None:
    """Writes a table to stdout."""
    if as_json:
        write_json(table.records())
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(rich_table(table))
    else:
        lines = [table.columns, *([text_of(cell) for cell in row] for row in table.rows)]
        click.echo("\n".join("\t".join(line) for line in lines))


def rich_table(table: Table) -> RichTable:
    """Returns a table for rich to draw."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table as RichTable

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, title=table.title, title_justify="left")
    for position, column in enumerate(table.columns):
        cells = [row[position] for row in table.rows]
        is_number = all(isinstance(cell, int | float | None) for cell in cells) and cells
        drawn.add_column(column, justify="right" if is_number else "left")
    for row in table.rows:
        drawn.add_row(*(escape(text_of(cell)) for cell in row))
    return drawn


def note(text: str) -> None:
    """Says something to the person at the terminal: on stderr, never among the data."""
    click.echo(text, err=True)
