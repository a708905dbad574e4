"""The leader epochs of a partition: from which offset on each leader wrote.

A pure table of (epoch, first offset), both growing; `leader-epoch-checkpoint` keeps it. Followers
and clients compare epochs to find where two histories part (KIP-101, KIP-279), so an answer always
carries the epoch it is about, not the offset alone.
"""

from __future__ import annotations

from bisect import bisect_right

from streamlog.broker.log.checkpoints import decode_entries, encode_entries
from streamlog.errors import StorageError

UNDEFINED = -1


class LeaderEpochs:
    """(epoch, first offset) in ascending order."""

    __slots__ = ("_epochs", "_starts")

    def __init__(self) -> None:
        self._epochs: list[int] = []
        self._starts: list[int] = []

    def __len__(self) -> int:
        return len(self._epochs)

    @property
    def entries(self) -> list[tuple[int, int]]:
        """All (epoch, first offset)."""
        return list(zip(self._epochs, self._starts, strict=True))

    @property
    def latest(self) -> int:
        """The newest epoch, or -1."""
        return self._epochs[-1] if self._epochs else UNDEFINED

    def assign(self, epoch: int, start_offset: int) -> bool:
        """Notes that an epoch begins at an offset; tells whether that was news.

        Entries that the new one contradicts (a same or later epoch, a same or later start) go.
        """
        assert epoch >= 0
        if epoch == self.latest:
            return False
        while self._epochs and (self._epochs[-1] >= epoch or self._starts[-1] >= start_offset):
            self._epochs.pop()
            self._starts.pop()
        self._epochs.append(epoch)
        self._starts.append(start_offset)
        return True

    def end_offset(self, epoch: int, log_end_offset: int) -> tuple[int, int]:
        """Returns the largest known epoch at or below one that was asked for, and where it ended.

        (-1, -1) if the epoch is above all that are known, or nothing is known.
        """
        if not self._epochs or epoch < 0 or epoch > self._epochs[-1]:
            return UNDEFINED, UNDEFINED
        if epoch == self._epochs[-1]:
            return epoch, log_end_offset
        slot = bisect_right(self._epochs, epoch)
        if slot == 0:
            return epoch, self._starts[0]
        return self._epochs[slot - 1], self._starts[slot]

    def truncate_from_end(self, offset_end: int) -> bool:
        """Forgets epochs that begin at or beyond an offset; tells whether there were any."""
        before = len(self._starts)
        while self._starts and self._starts[-1] >= offset_end:
            self._epochs.pop()
            self._starts.pop()
        return len(self._starts) != before

    def truncate_from_start(self, start_offset: int) -> bool:
        """Forgets epochs that ended before an offset; the one that holds it now begins there."""
        slot = bisect_right(self._starts, start_offset) - 1
        if slot < 0 or (slot == 0 and self._starts[0] == start_offset):
            return False
        del self._epochs[:slot]
        del self._starts[:slot]
        self._starts[0] = start_offset
        return True

    def encode(self) -> bytes:
        """Returns the bytes of `leader-epoch-checkpoint`."""
        return encode_entries(f"{epoch} {start}" for epoch, start in self.entries)

    @classmethod
    def decode(cls, data: bytes, path: str) -> LeaderEpochs:
        """Reads `leader-epoch-checkpoint`.

        Raises:
            StorageError: The file is damaged.
        """
        epochs = cls()
        try:
            pairs = [(int(epoch), int(start)) for epoch, start in decode_entries(data, path)]
        except ValueError as error:
            raise StorageError(f"{path} has a line that is not epoch and offset") from error
        for epoch, start in pairs:
            if epoch <= epochs.latest or (epochs._starts and start < epochs._starts[-1]):
                raise StorageError(f"{path} has epochs that do not grow")
            epochs._epochs.append(epoch)
            epochs._starts.append(start)
        return epochs
