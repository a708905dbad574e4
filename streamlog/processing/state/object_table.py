"""A table of an operator's rows that are kept as objects while they are used often.

Decoding a row for each record and encoding it again would cost more than what is done with it. So
objects are held in memory, those that were changed until the next checkpoint asks for their bytes,
and a bounded number of others. What is on disk is all that a restored task begins with, as with any
`RowTable`, so an object has to be a function of its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from streamlog.processing.state.row_table import RowTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlog.processing.operators.operator import OperatorContext
    from streamlog.processing.state.rows import Change

V = TypeVar("V")

CLEAN_OBJECTS_MAX: Final = 50_000
"""Unchanged objects that are kept to save reads; beyond it they are forgotten all at once."""


class ObjectTable(RowTable, Generic[V]):
    """A sorted map from names to objects.

    Args:
        context: Of the operator.
        number: Of the table among those of the operator.
        encode: From an object to its row.
        decode: From a row to an object.
    """

    def __init__(
        self,
        context: OperatorContext,
        number: int,
        encode: Callable[[V], bytes],
        decode: Callable[[bytes], V],
    ) -> None:
        super().__init__(context.store, context.store_id, number)
        self._encode = encode
        self._decode = decode
        self._held: dict[bytes, V] = {}
        """Changed since the last checkpoint."""
        self._clean_objects: dict[bytes, V] = {}

    def load(self, name: bytes) -> V | None:
        """Returns an object; whoever changes it has to `hold` it."""
        found = self._held.get(name)
        if found is None:
            found = self._clean_objects.get(name)
        if found is None:
            row = super().get(name)
            if row is not None:
                found = self._decode(row)
                self._keep(name, found)
        return found

    def hold(self, name: bytes, value: V) -> None:
        """Puts an object in its place, or tells that it was changed."""
        self._held[name] = value

    def get(self, name: bytes) -> bytes | None:
        """Returns a row's contents."""
        self._flush()
        return super().get(name)

    def put(self, name: bytes, row: bytes) -> None:
        """Writes a row."""
        self._forget(name)
        super().put(name, row)

    def delete(self, name: bytes) -> None:
        """Removes an object, if it is there."""
        self._forget(name)
        super().delete(name)

    def scan(self, begin: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yields rows, as `RowTable.scan` does."""
        self._flush()
        return super().scan(begin, end)

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        self._flush()
        return super().changes()

    def _remember(self, name: bytes, row: bytes | None) -> None:
        """Nothing: what is used again is kept as an object."""

    def _flush(self) -> None:
        for name, value in self._held.items():
            super().put(name, self._encode(value))
            self._keep(name, value)
        self._held.clear()

    def _forget(self, name: bytes) -> None:
        self._held.pop(name, None)
        self._clean_objects.pop(name, None)

    def _keep(self, name: bytes, value: V) -> None:
        if len(self._clean_objects) >= CLEAN_OBJECTS_MAX:
            self._clean_objects.clear()
        self._clean_objects[name] = value
