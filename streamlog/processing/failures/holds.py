"""Keys that are held: a record of theirs failed, and no later one may overtake it.

The records of a held key follow the failed one into the dead letters. When they come back they pass
in their order: the `head` first, then the others up to `last`, which ends the hold. A head that
fails again is the head again, and what comes behind it goes back to the dead letters. Offsets are
those at which records first stood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamlog.processing.state.row_table import token_of

if TYPE_CHECKING:
    from streamlog.processing.state.row_table import RowTable


class Hold(msgspec.Struct, array_like=True):
    """Why a key is held: offsets at which records first stood."""

    head: int | None
    """Which has to pass first; `None` if it has, and the others are on their way."""
    last: int


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Hold).decode


class Holds:
    """The held keys of one task: all in memory, and in a table of its state."""

    def __init__(self, table: RowTable) -> None:
        self._table = table
        self._held = {token: _decode(row) for token, row in table.scan_prefix(b"")}

    def __len__(self) -> int:
        return len(self._held)

    def of(self, key: bytes | None) -> Hold | None:
        """Returns why a key is held, if it is; records without a key never are."""
        return self._held.get(token_of(key)) if self._held and key is not None else None

    def begin(self, key: bytes, offset: int) -> None:
        """A record failed: it is the head, unless one before it is."""
        hold = self.of(key)
        if hold is None:
            self._put(key, Hold(offset, offset))
        else:
            head = offset if hold.head is None else hold.head
            self._put(key, Hold(head, max(offset, hold.last)))

    def follow(self, key: bytes, offset: int) -> None:
        """A record follows the failed one into the dead letters."""
        hold = self.of(key)
        assert hold is not None
        self._put(key, Hold(hold.head, max(hold.last, offset)))

    def passed(self, key: bytes | None, offset: int) -> None:
        """A record that came back has passed, or was given up."""
        hold = self.of(key)
        if hold is None or key is None:
            return
        if hold.head not in (None, offset):
            # One in the middle was given up; the hold ends with its head if it was the last.
            self._put(key, Hold(hold.head, hold.head if offset >= hold.last else hold.last))
        elif offset >= hold.last:
            token = token_of(key)
            del self._held[token]
            self._table.delete(token)
        else:
            self._put(key, Hold(None, hold.last))

    def _put(self, key: bytes, hold: Hold) -> None:
        token = token_of(key)
        self._held[token] = hold
        self._table.put(token, _encode(hold))
