"""Records that wait in the state for their time, in an order that no mix of writers changes.

The name of a row is

    due         8 bytes   the time that has to pass
    timestamp   8 bytes   of the record
    key                   as `token_of` makes it
    writer      8 bytes

and it holds the key, if it is a long one, and the records for which all these are equal, in the
order in which they came. What one writer wrote comes in its order, so rows in the order of their
names, and the records within them, are in the order of due time, event time, key, writer and
arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from streamlog.processing.state.row_table import (
    RowTable,
    kept_key,
    key_of,
    time_name,
    time_of,
    token_of,
)

if TYPE_CHECKING:
    from streamlog.processing.operators.operator import OperatorContext

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode: Final = msgspec.msgpack.Decoder().decode

_TOKEN_BEGINS: Final = 16
_WRITER_SIZE: Final = 8


class Held(NamedTuple):
    """A record whose time has passed."""

    due: int
    timestamp: int
    key: bytes | None
    item: Any


class HeldRecords(RowTable):
    """The records that wait.

    Args:
        context: Of the operator.
        number: Of the table among those of the operator.
    """

    def __init__(self, context: OperatorContext, number: int = 0) -> None:
        super().__init__(context.store, context.store_id, number)
        self.first_due = self._find_first()
        """The smallest due time, if anything waits."""

    def hold(self, due: int, timestamp: int, key: bytes | None, writer: int, item: object) -> None:
        """Keeps what MessagePack can hold of a record until `due` has passed."""
        token = token_of(key)
        name = time_name(due) + time_name(timestamp) + token + time_name(writer)
        row = self.get(name)
        if row is None:
            self.put(name, _encode((kept_key(key, token), [item])))
        else:
            kept, items = _decode(row)
            self.put(name, _encode((kept, [*items, item])))
        if self.first_due is None or due < self.first_due:
            self.first_due = due

    def release(self, before: int | None) -> list[Held]:
        """Removes what was due before a time, or everything; returns it in order."""
        if self.first_due is None or (before is not None and self.first_due >= before):
            return []
        rows = list(self.scan_prefix(b"") if before is None else self.scan(b"", time_name(before)))
        released: list[Held] = []
        for name, row in rows:
            kept, items = _decode(row)
            due, timestamp = time_of(name), time_of(name, 8)
            key = key_of(name[_TOKEN_BEGINS:-_WRITER_SIZE], kept)
            released += [Held(due, timestamp, key, item) for item in items]
            self.delete(name)
        released.sort(key=_order)
        self.first_due = self._find_first()
        return released

    def _find_first(self) -> int | None:
        found = self.first()
        return None if found is None else time_of(found[0])


def _order(held: Held) -> tuple[int, int, bool, bytes]:
    # By keys and not by tokens, of which long ones come last; no key comes before every key.
    return held.due, held.timestamp, held.key is not None, held.key or b""
