"""Fetched bytes of one partition, handed out as columns piece by piece.

They are decoded only when they are asked for, so that what is fetched ahead takes the room that
the bytes take. With read_committed isolation the batches of aborted transactions are left out: the
broker lists which producers' transactions were aborted and where they begin; each ends at its abort
marker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.records.batch import iter_headers, verify_crc
from streamlog.records.codec import decode_batch, decode_batches
from streamlog.records.columns import Columns
from streamlog.records.control import ControlType, parse_control_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamlog.records.batch import BatchHeader, Buffer


class FetchedRecords:
    """What one response holds of one partition.

    Args:
        records: Whole batches, then maybe a part of one.
        offset: Where to begin; the first batch may begin before.
        aborted: Aborted transactions as (first offset, producer id).
        check_crc: Whether to trust nobody.

    Raises:
        CorruptRecordError: the bytes are not record batches.
    """

    __slots__ = (
        "_batches",
        "_check_crc",
        "_next",
        "_records",
        "end_offset",
        "offset",
        "size_bytes",
    )

    def __init__(
        self,
        records: Buffer,
        offset: int,
        aborted: Iterable[tuple[int, int]] = (),
        *,
        check_crc: bool = True,
    ) -> None:
        self.offset = offset
        """The next one to hand out."""
        self.size_bytes = len(records)
        self._records = memoryview(records)
        self._batches: list[tuple[int, BatchHeader]] = []
        for position, header in iter_headers(self._records):
            if header.last_offset >= offset:
                self._batches.append((position, header))
            elif check_crc:
                # A flipped bit must not pass a batch off as one that was read before.
                verify_crc(self._records, position, header)
        self.end_offset = self._batches[-1][1].next_offset if self._batches else offset
        """The next one to fetch."""
        aborted = list(aborted)
        if aborted:
            self._batches = list(without_aborted(self._records, self._batches, aborted))
        self._next = 0
        self._check_crc = check_crc

    @property
    def is_exhausted(self) -> bool:
        """Whether everything was handed out."""
        return self._next >= len(self._batches)

    def take(self, records_max: int) -> tuple[Columns, int]:
        """Hands out whole batches until they hold so many records.

        Returns:
            The columns, and the leader epoch of the last batch.
        """
        first = self._next
        count = 0
        pieces: list[Columns] = []
        while not self.is_exhausted and count < records_max:
            start, header = self._batches[self._next]
            stop = start
            while not self.is_exhausted and self._batches[self._next][0] == stop:
                # Batches that follow one another are decoded together.
                header = self._batches[self._next][1]
                stop += header.size_bytes
                count += header.record_count
                self._next += 1
                if count >= records_max:
                    break
            columns, self.offset = decode_batches(
                self._records[start:stop], fetch_offset=self.offset, check_crc=self._check_crc
            )
            pieces.append(columns)
            if self.offset < header.next_offset:
                # The decoder stops early where records are very much larger than their bytes here.
                while self._batches[self._next - 1][1].last_offset >= self.offset:
                    self._next -= 1
                break
        if self.is_exhausted:
            self.offset = self.end_offset
        epoch = self._batches[self._next - 1][1].leader_epoch if self._next > first else -1
        columns = pieces[0] if pieces else Columns.empty()
        for more in pieces[1:]:
            columns.extend(more)
        return columns, epoch


def without_aborted(
    records: memoryview,
    batches: Iterable[tuple[int, BatchHeader]],
    aborted: list[tuple[int, int]],
) -> Iterator[tuple[int, BatchHeader]]:
    """Leaves out the batches of aborted transactions.

    Args:
        records: The bytes.
        batches: Positions and headers in them.
        aborted: First offset and producer id of each such transaction.
    """
    to_come = sorted(aborted, reverse=True)
    aborting: set[int] = set()
    for position, header in batches:
        while to_come and to_come[-1][0] <= header.last_offset:
            aborting.add(to_come.pop()[1])
        if header.is_transactional and header.producer_id in aborting:
            if not header.is_control:
                continue
            marker = decode_batch(records, position, header)
            if len(marker) and parse_control_key(marker.keys[0]) is ControlType.ABORT:
                aborting.discard(header.producer_id)
        yield position, header
