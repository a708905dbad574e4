"""The timers of a processor: for each key and name at most one, in the order in which they are due.

Two tables hold them. One is sorted by time, and holds the key if its name does not tell it, and the
event time at which the timer was set:

    due     8 bytes
    key     as `named_state.key_token` makes it
    name    of the timer, UTF-8

The other one finds a timer by its key and name, and holds when it is due.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from streamlog.processing.operators.named_state import key_token
from streamlog.processing.state.row_table import NAME_SIZE_MAX, key_of, time_name, time_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.processing.state.row_table import RowTable

_encode = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[bytes | None, int]).decode
_TIME_SIZE: Final = 8
_END: Final = b"\xff" * (NAME_SIZE_MAX + 1)


class Due(NamedTuple):
    """A timer whose time has come."""

    at: int
    key: bytes | None
    name: str
    set_at: int
    """The event time at which it was set."""


class Timers:
    """The timers of one kind.

    Args:
        by_time: The table that is sorted by time.
        by_key: The one that finds them.
    """

    def __init__(self, by_time: RowTable, by_key: RowTable) -> None:
        self._by_time = by_time
        self._by_key = by_key
        self._before: list[tuple[bytes, bytes | None, bytes | None]] = []
        self._firing: list[bytes] | None = None
        first = by_time.first()
        self.first = None if first is None else time_of(first[0])
        """A time before which none is due, if there is any."""

    def set(self, key: bytes | None, name: str, at: int, set_at: int) -> None:
        """Sets a timer, in place of an earlier one of the same key and name."""
        token = key_token(key)
        short = token + name.encode()
        kept = key if key_of(token) != key else None
        self._replace(short, time_name(at) + short, _encode((kept, set_at)))

    def cancel(self, key: bytes | None, name: str) -> None:
        """Removes a timer, if there is one."""
        self._replace(key_token(key) + name.encode(), None, None)

    def _replace(self, short: bytes, due: bytes | None, row: bytes | None) -> None:
        old = self._by_key.get(short)
        old_row = None
        if old is not None:
            old_row = self._by_time.get(old + short)
            self._by_time.delete(old + short)
        self._before.append((short, old, old_row))
        self._write(short, due, row)

    def _write(self, short: bytes, due: bytes | None, row: bytes | None) -> None:
        if due is None or row is None:
            self._by_key.delete(short)
            return
        self._by_key.put(short, due[:_TIME_SIZE])
        # Whoever knows what is on disk writes less: see `RowTable.delete`.
        self._by_time.get(due)
        self._by_time.put(due, row)
        at = time_of(due)
        if self.first is None or at < self.first:
            self.first = at
        if self._firing is not None:
            heappush(self._firing, due)

    def call_is_over(self, *, failed: bool) -> None:
        """A call of the user's code is over; takes back what it did if it has failed."""
        if failed:
            for short, due, row in reversed(self._before):
                now = self._by_key.get(short)
                if now is not None:
                    self._by_time.delete(now + short)
                self._write(short, None if due is None else due + short, row)
        self._before.clear()

    def last(self) -> int | None:
        """Returns when the last of them is due."""
        names = [name for name, _ in self._by_time.scan_prefix(b"")]
        return time_of(names[-1]) if names else None

    def fire(self, through: int) -> Iterator[Due]:
        """Removes what is due up to a time, and yields it in order.

        Timers that are set meanwhile, and are due as well, come in their turn.
        """
        if self.first is None or self.first > through:
            return
        end = time_name(through + 1)
        self._firing = [name for name, _ in self._by_time.scan(time_name(self.first), end)]
        heapify(self._firing)
        try:
            while self._firing and self._firing[0] < end:
                due = heappop(self._firing)
                row = self._by_time.get(due)
                if row is None:
                    continue  # It was moved or cancelled meanwhile.
                short = due[_TIME_SIZE:]
                self._by_time.delete(due)
                self._by_key.delete(short)
                kept, set_at = _decode(row)
                key, name = _split(short, kept)
                yield Due(time_of(due), key, name, set_at)
        finally:
            self._firing = None
        # What was fired is passed over: it may still be there, marked as removed.
        found = next(self._by_time.scan(end, _END), None)
        self.first = None if found is None else time_of(found[0])


def _split(short: bytes, kept: bytes | None) -> tuple[bytes | None, str]:
    """The key and name of a timer."""
    if kept is not None:
        return kept, short[len(key_token(kept)) :].decode()
    if short[:1] == b"\x00":
        return None, short[1:].decode()
    size = 3 + int.from_bytes(short[1:3], "big")
    return short[3:size], short[size:].decode()
