"""A task's changelog: its state on the log, for whoever takes the task over without a local copy.

Three kinds of records, told apart by the first byte of their keys:

* `r` + name: a row's contents, or null if it was removed;
* `m`: the marker, the last record of a checkpoint. Its value is the task's meta, how many records
  the checkpoint has, and the offset at which it begins;
* `f`: a fence, written by an owner before it restores. Its value is the owner's epoch.

The rows before a marker count once the marker is there. They are void, marker and all,

* if an owner with a higher epoch has been seen before: the marker's owner had lost the task;
* if the marker is not as many records behind the checkpoint's beginning as the checkpoint has:
  somebody else wrote in between, be it a fence, a whole checkpoint or a part of one.

The second rule goes by offsets, which compaction keeps, and not by counting the records that are
still there. A checkpoint that counts thus had all offsets from its beginning to its marker to
itself, also if it took several batches.

What is void may still be the newest of its key, and compaction keeps the newest. So the names of
void rows are noted, and the next checkpoint writes their true contents again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamlog.processing.errors import ChangelogError
from streamlog.processing.state.meta import TaskMeta  # noqa: TC001 (msgspec needs it)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.state.rows import Change
    from streamlog.processing.state.store import TaskStore
    from streamlog.records.columns import Columns

APPLIED_AT_ONCE_MAX = 250_000
"""Rows that are gathered before they go into one transaction: each touches most pages of the state
again, so few of them are quick."""
APPLIED_BYTES_MAX = 64 << 20
"""Of the values of these rows."""

_ROW = b"r"
_ROW_BYTE = _ROW[0]
_MARKER = b"m"
_FENCE = b"f"


class Marker(msgspec.Struct, array_like=True, frozen=True):
    """The value of a marker."""

    meta: TaskMeta
    record_count: int
    begins: int


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_MARKER_DECODER = msgspec.msgpack.Decoder(Marker)
_EPOCH_DECODER = msgspec.msgpack.Decoder(int)


def fence_record(epoch: int) -> tuple[bytes, bytes]:
    """Returns the key and value by which an owner makes older owners' later writes void."""
    return _FENCE, _encode(epoch)


def checkpoint_records(
    changes: Sequence[Change], meta: TaskMeta, begins: int
) -> tuple[list[bytes], list[bytes | None]]:
    """Returns the keys and values of a checkpoint, the marker last."""
    keys = [_ROW + name for name, _ in changes]
    values: list[bytes | None] = [value for _, value in changes]
    keys.append(_MARKER)
    values.append(_encode(Marker(meta, len(keys), begins)))
    return keys, values


def checkpoint_ended_by(offset: int, key: bytes | None, value: bytes | None) -> TaskMeta | None:
    """Returns the checkpoint that a record ends, if it is a marker and nobody wrote in between."""
    if key != _MARKER or value is None:
        return None
    try:
        marker = _MARKER_DECODER.decode(value)
    except msgspec.MsgspecError:
        return None
    return marker.meta if marker.begins + marker.record_count == offset + 1 else None


class ChangelogReplay:
    """Applies whole checkpoints of a changelog to a store; begins at `store.changelog_position`.

    State that is built from nothing gets no history, which would double the work. Nor does state
    that is brought up to date over a gap in the offsets: compaction took records out there, so what
    the rows are in between is no checkpoint that ever was, and to go back to it would be wrong.

    Attributes:
        highest_epoch: The highest epoch seen so far in fences and markers.
    """

    def __init__(self, store: TaskStore) -> None:
        self.highest_epoch = store.epoch
        self._store = store
        self._pending: dict[bytes, bytes | None] = {}
        self._staged: dict[bytes, bytes | None] = {}
        self._staged_meta: TaskMeta | None = None
        self._staged_ms = 0
        self._staged_bytes = 0
        self._voided = set(store.rewrites)
        self._with_history = store.sequence > 0
        self._next_offset = store.changelog_position
        self._whole_until = store.changelog_position
        """After the last marker or fence that was read."""

    def feed(self, columns: Columns) -> None:
        """Takes the next records.

        Raises:
            ChangelogError: If a record is none of a changelog.
        """
        offsets, keys, values = columns.offsets, columns.keys, columns.values
        if not offsets:
            return
        if offsets[-1] - self._next_offset + 1 != len(offsets):
            self._with_history = False
        self._next_offset = offsets[-1] + 1
        start = 0
        for index in [i for i, key in enumerate(keys) if not key or key[0] != _ROW_BYTE]:
            self._take_rows(keys[start:index], values[start:index])
            start = index + 1
            offset = offsets[index]
            try:
                self._take_other(keys[index], values[index], offset, columns.timestamps[index])
            except msgspec.MsgspecError as error:
                raise ChangelogError(
                    f"the changelog of {self._store.folder} has a record at offset {offset} which "
                    f"no checkpoint writes: {error}",
                    hint="Does another program write to this topic?",
                ) from error
            self._whole_until = offset + 1
            if len(self._staged) >= APPLIED_AT_ONCE_MAX or self._staged_bytes >= APPLIED_BYTES_MAX:
                self._apply(offset + 1)
        self._take_rows(keys[start:], values[start:])

    def _take_rows(self, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> None:
        """Rows wait for their marker."""
        if keys:
            self._pending.update(zip([key[1:] for key in keys], values, strict=True))  # type: ignore[index]

    def _take_other(
        self, key: bytes | None, value: bytes | None, offset: int, time_ms: int
    ) -> None:
        if key == _MARKER:
            self._take_marker(_MARKER_DECODER.decode(value or b""), offset, time_ms)
        elif key == _FENCE:
            self.highest_epoch = max(self.highest_epoch, _EPOCH_DECODER.decode(value or b""))
            self._void_pending()
        else:
            raise msgspec.DecodeError(f"unknown key {key!r}")

    def begin_history(self) -> None:
        """Applies what is whole, and from here on keeps what undoes each step.

        For whoever has read to the end of the changelog: what the rows are there is true.
        """
        if not self._pending:
            self.settle()
            self._with_history = self._store.sequence > 0

    def settle(self) -> bool:
        """Applies the checkpoints that are whole, and says whether there were any.

        What came after the last of them stays in memory, and is read again after a restart.
        """
        if self._whole_until <= self._store.changelog_position:
            return False
        self._apply(self._whole_until)
        return True

    def finish(self, next_offset: int, epoch: int = 0) -> None:
        """Ends: the changelog was read up to `next_offset`, where the owner's next write begins.

        Args:
            next_offset: The offset after the owner's fence.
            epoch: The owner's, if its fence was not among the records.
        """
        self.highest_epoch = max(self.highest_epoch, epoch)
        self._void_pending()
        self._apply(next_offset)

    def _take_marker(self, marker: Marker, offset: int, time_ms: int) -> None:
        valid = (
            marker.meta.epoch >= self.highest_epoch
            and marker.begins + marker.record_count == offset + 1
        )
        self.highest_epoch = max(self.highest_epoch, marker.meta.epoch)
        if not valid:
            self._void_pending()
            return
        self._staged_bytes += sum(map(len, filter(None, self._pending.values())))
        if self._staged:
            self._staged.update(self._pending)
        else:
            self._staged = self._pending
        self._staged_meta, self._staged_ms = marker.meta, time_ms
        if self._voided:
            self._voided.difference_update(self._pending)
        self._pending = {}

    def _void_pending(self) -> None:
        self._voided.update(self._pending)
        self._pending = {}

    def _apply(self, changelog_position: int) -> None:
        self._store.apply(
            list(self._staged.items()),
            self._staged_meta,
            changelog_position,
            self._voided,
            self.highest_epoch,
            self._staged_ms,
            with_history=self._with_history,
        )
        self._staged_bytes = 0
        self._staged = {}
        self._staged_meta = None
