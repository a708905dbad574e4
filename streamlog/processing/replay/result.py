"""Results as a comparison sees them: which of two records in a topic are about the same thing.

A topic's *kind* says what its records are, and so which of them is the newest of its like:

* WINDOWS: a key's result for one window. A `Windowed` value says itself which window it is of;
  where the pipeline has made something else of it, the record's timestamp does, being the end of
  the window less one millisecond.
* ROWS: a table's changes; the newest of a key holds, a null ends the row.
* EVENTS: every record is a thing of its own; two are the same if key, time and value are. A record
  that came twice, because outputs are at-least-once, counts once.

A correction that takes a window's result back has a null value, and so needs a header to say which
window that is; see `WINDOW_HEADER`.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.records.columns import Columns, Headers

WINDOW_HEADER: Final = "streamlog.window"
"""Of a null that takes a window's result back: its start and end in milliseconds, big-endian."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_SPAN: Final = struct.Struct(">qq")
_UNSIGNED_SPAN: Final = struct.Struct(">QQ")
_SIGN: Final = 1 << 63
_DIGEST_SIZE: Final = 16
_KEY_SIZE_MAX: Final = 400
"""Of a key in an identity; LMDB's keys have at most 511 bytes."""


class Kind(Enum):
    """What the records of a topic are."""

    WINDOWS = "windows"
    ROWS = "rows"
    EVENTS = "events"


class Result(NamedTuple):
    """One record, as far as it matters."""

    key: bytes | None
    start_ms: int | None
    """Of its window; `None` if it is of none, or of one whose size is not known."""
    end_ms: int | None
    timestamp_ms: int
    value: bytes | None

    @property
    def first_ms(self) -> int:
        """The earliest moment that it is about."""
        return self.timestamp_ms if self.start_ms is None else self.start_ms

    @property
    def last_ms(self) -> int:
        """The moment through which what it is about goes."""
        return self.timestamp_ms if self.end_ms is None else self.end_ms


class _Window(msgspec.Struct):
    """The JSON or MessagePack of a `Windowed`, its value unread."""

    start: datetime
    end: datetime
    value: msgspec.Raw
    replaces: tuple[tuple[datetime, datetime], ...] = ()


_json_window = msgspec.json.Decoder(_Window).decode
_msgpack_window = msgspec.msgpack.Decoder(_Window).decode


def results_of(
    columns: Columns, kind: Kind, window_ms: int | None
) -> Iterator[tuple[bytes, Result]]:
    """Yields what records of an output topic say, with the identity of what they are about.

    Args:
        columns: The records, in the order of the log.
        kind: Of the topic.
        window_ms: Size of the windows, for results that do not say it themselves.
    """
    headers = columns.headers
    for index, value in enumerate(columns.values):
        key, timestamp_ms = columns.keys[index], columns.timestamps[index]
        if kind is Kind.ROWS:
            yield identity(key), Result(key, None, None, timestamp_ms, value)
            continue
        if value is None:
            span = None if headers is None else _span_in(headers[index])
            if span is not None:
                yield identity(key, *span), Result(key, *span, timestamp_ms, None)
            # Any other null is no result: nothing that a pipeline of windows or events writes.
            continue
        window = _window_in(value)
        if window is not None:
            for start, end in window.replaces:
                gone = _milliseconds(start), _milliseconds(end)
                yield identity(key, *gone), Result(key, *gone, timestamp_ms, None)
            span = _milliseconds(window.start), _milliseconds(window.end)
            yield identity(key, *span), Result(key, *span, timestamp_ms, value)
        elif kind is Kind.WINDOWS:
            end_ms = timestamp_ms + 1
            span = end_ms - (window_ms or 0), end_ms
            yield identity(key, *span), Result(key, *span, timestamp_ms, value)
        else:
            digest = blake2b(value, digest_size=_DIGEST_SIZE).digest()
            name = identity(key, timestamp_ms, timestamp_ms) + digest
            yield name, Result(key, None, None, timestamp_ms, value)


def identity(key: bytes | None, start_ms: int | None = None, end_ms: int | None = None) -> bytes:
    """Returns a name of what a result is about, the same for all that are about it.

    Names order by key, then by time.

    >>> identity(b"AA", 0, 10) < identity(b"AA", 10, 20) < identity(b"AAA", 0, 10)
    True
    """
    if key is None:
        head = b"\x00"
    elif len(key) <= _KEY_SIZE_MAX:
        head = b"\x01" + key + b"\x00"
    else:
        head = b"\x02" + key[:_DIGEST_SIZE] + blake2b(key, digest_size=2 * _DIGEST_SIZE).digest()
    if start_ms is None or end_ms is None:
        return head
    return head + _UNSIGNED_SPAN.pack(start_ms + _SIGN, end_ms + _SIGN)


def window_header(result: Result) -> Headers:
    """Returns the headers of a null that takes a window's result back."""
    assert result.start_ms is not None
    assert result.end_ms is not None
    return ((WINDOW_HEADER, _SPAN.pack(result.start_ms, result.end_ms)),)


def equal_values(one: bytes | None, other: bytes | None) -> bool:
    """Says whether two values mean the same: equal bytes, or JSON that reads the same.

    >>> equal_values(b'{"a": 1, "b": 2}', b'{"b":2,"a":1}')
    True
    """
    if one == other:
        return True
    if one is None or other is None or one[:1] not in b"{[" or other[:1] not in b"{[":
        return False
    try:
        return bool(msgspec.json.decode(one) == msgspec.json.decode(other))
    except msgspec.MsgspecError:
        return False


def _span_in(headers: Headers) -> tuple[int, int] | None:
    for name, data in headers:
        if name == WINDOW_HEADER and data is not None and len(data) == _SPAN.size:
            start_ms, end_ms = _SPAN.unpack(data)
            return start_ms, end_ms
    return None


def _window_in(value: bytes) -> _Window | None:
    """The window that a value says it is of; `None` if it says none."""
    decode = _json_window if value[:1] == b"{" else _msgpack_window
    try:
        window = decode(value)
    except (msgspec.MsgspecError, ValueError):
        return None
    return window if window.start.tzinfo and window.end.tzinfo else None


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND
