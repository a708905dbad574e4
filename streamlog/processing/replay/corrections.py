"""From differences to the records that make the live topic say what the version says.

What changed and what is new is written as the version wrote it. What the version does not have is
taken back by a null, but only where readers know what a null means: in a compacted topic, or where
the user asks for it. A null for a window's result bears the window in a header.

A compacted topic keeps one record of a key, the one written last. So where a key has results of
several windows, the one that the version has put out last must be written last again, if an older
one of the same key was corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from streamlog.processing.replay.diff import Part, difference_of
from streamlog.processing.replay.result import window_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamlog.processing.replay.diff import Pair
    from streamlog.processing.replay.result import Result
    from streamlog.records.columns import Headers


class Correction(NamedTuple):
    """A record to write into the live topic."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers


@dataclass(slots=True)
class Corrections:
    """What correcting one topic means.

    Args:
        part: The part of time for which the version has put out all that there is.
        compacted: Whether the topic keeps the newest record of each key only.
        tombstones: Whether nulls are wanted also where it does not.
    """

    part: Part
    compacted: bool
    tombstones: bool
    written: int = 0
    """Results that are written because they changed or are new."""
    removed: int = 0
    """Results that are taken back by a null."""
    left: int = 0
    """Results that the version does not have, and that stay."""

    def of(self, pairs: Iterable[Pair]) -> Iterator[Correction]:
        """Yields the records to write, for pairs in the order of their identities."""
        if not self.compacted:
            for pair in pairs:
                yield from self._of_pair(*pair)
            return
        for _, group in groupby(pairs, key=_key_of):
            yield from self._of_key(group)

    def _of_key(self, pairs: Iterable[Pair]) -> Iterator[Correction]:
        written: Correction | None = None
        newest: Correction | None = None
        for live, version in pairs:
            for correction in self._of_pair(live, version):
                written = correction
                yield correction
            if version is not None:
                newest = _correction(version)
        if written is not None and newest is not None and written != newest:
            yield newest

    def _of_pair(self, live: Result | None, version: Result | None) -> Iterator[Correction]:
        if difference_of((live, version)) is None:
            return
        if version is not None:
            # However far the live side is: the version will not put this out a second time.
            if version.first_ms > self.part.after_ms:
                self.written += 1
                yield _correction(version)
            return
        assert live is not None
        if not self.part.covers(live):
            return
        if not (self.compacted or self.tombstones):
            self.left += 1
            return
        self.removed += 1
        headers = () if live.start_ms is None else window_header(live)
        yield Correction(live.key, None, live.timestamp_ms, headers)


def _key_of(pair: Pair) -> bytes | None:
    result = pair[0] or pair[1]
    assert result is not None
    return result.key


def _correction(result: Result) -> Correction:
    return Correction(result.key, result.value, result.timestamp_ms, ())
