"""Rows of a task's state as somebody can read them: which step, which key, which window, what.

A plain window's row is understood whole (see `keys`). What other steps keep is named by tokens of
keys and by times (see `row_table`), in an order of their own, and its contents are MessagePack as a
rule: it is shown as far as it tells itself, and as hexadecimal digits beyond that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from streamlog.processing.operators.accumulators import Mean, Sum
from streamlog.processing.operators.event_time import TIMESTAMP_MAX_MS, TIMESTAMP_MIN_MS
from streamlog.processing.state.keys import (
    DECISIONS_ID,
    STORE_ID_SIZE,
    end_of,
    split_row,
    store_id,
)
from streamlog.processing.state.row_table import time_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamlog.processing.state.stored_rows import StoredRows

DECISIONS: Final = "(decisions)"
UNKNOWN: Final = "(unknown)"

_PLAIN_WINDOW = re.compile(r"tumbling\((\d+) ms\) (.*)")
_TIME_SIZE: Final = 8
_DIGEST_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Store:
    """The rows of one step in one task."""

    name: str
    identity: bytes
    layout: str

    @property
    def window_ms(self) -> int | None:
        """The size of its windows, if they are plain ones."""
        match = _PLAIN_WINDOW.fullmatch(self.layout)
        return int(match[1]) if match and " emit=" not in self.layout else None

    @property
    def fields(self) -> dict[str, str]:
        """The kinds of a plain window's aggregates, by name."""
        match = _PLAIN_WINDOW.fullmatch(self.layout)
        pairs = [each.split("=", 1) for each in match[2].split()] if match else []
        return {pair[0]: pair[-1] for pair in pairs}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadableRow:
    """A row."""

    store: str
    key: str | None = None
    """As text, or as digits behind 0x; nothing if it has none, or only a digest of it."""
    start_ms: int | None = None
    """Of a plain window."""
    end_ms: int | None = None
    times_ms: list[int] = field(default_factory=list)
    """Other times in its name."""
    rest: str = ""
    """Of its name, as hexadecimal digits."""
    value: Any = None


def stores_of(layout: Mapping[str, str]) -> list[Store]:
    """Returns the stores of a task, by its layout; the input's line in it is none."""
    named = [Store(name, store_id(name), shape) for name, shape in layout.items()]
    stores = [each for each in named if not each.name.endswith(" (input)")]
    return [*stores, Store(DECISIONS, DECISIONS_ID, "what was decided by the wall clock")]


def read_store(rows: StoredRows, store: Store) -> Iterator[ReadableRow]:
    """Yields the rows of one store, in the order of their names."""
    end = store.identity + b"\xff" * 512
    for name, value in rows.scan_range(store.identity, end):
        yield readable(store, name, value)


def readable(store: Store, name: bytes, value: bytes) -> ReadableRow:
    """Returns one row as somebody can read it."""
    size_ms = store.window_ms
    if size_ms is not None:
        key, contents = split_row(name, value)
        end_ms = end_of(name)
        return ReadableRow(
            store=store.name,
            key=text_of(key),
            start_ms=end_ms - size_ms,
            end_ms=end_ms,
            value=_results(store.fields, _decoded(contents)),
        )
    key, times, rest = _parsed(name[STORE_ID_SIZE + 1 :])
    return ReadableRow(
        store=store.name, key=text_of(key), times_ms=times, rest=rest.hex(), value=_contents(value)
    )


def text_of(data: bytes | None) -> str | None:
    """Returns bytes as text, or as digits behind 0x where they are none.

    >>> text_of(b"UA"), text_of(bytes([255, 0])), text_of(None)
    ('UA', '0xff00', None)
    """
    if data is None:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"0x{data.hex()}"
    return text if text.isprintable() else f"0x{data.hex()}"


def _parsed(name: bytes) -> tuple[bytes | None, list[int], bytes]:
    """Takes a name apart: the first key in it, the times, and what tells nothing."""
    key: bytes | None = None
    times: list[int] = []
    position = 0
    while position < len(name):
        kind = name[position]
        if kind == 1 and position + 3 <= len(name):
            end = position + 3 + int.from_bytes(name[position + 1 : position + 3], "big")
            if end <= len(name):
                key = name[position + 3 : end] if key is None else key
                position = end
                continue
        if kind == 2 and position + 1 + _DIGEST_SIZE <= len(name):
            position += 1 + _DIGEST_SIZE
            continue
        if position + _TIME_SIZE <= len(name):
            moment = time_of(name, position)
            if TIMESTAMP_MIN_MS <= moment <= TIMESTAMP_MAX_MS:
                times.append(moment)
                position += _TIME_SIZE
                continue
        if kind == 0:
            position += 1
            continue
        return key, times, name[position:]
    return key, times, b""


def _contents(data: bytes) -> object:
    return _plain(_decoded(data))


def _decoded(data: bytes) -> object:
    if not data:
        return None
    try:
        return msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError):
        return text_of(data)


def _plain(value: Any) -> object:  # noqa: ANN401 (whatever was encoded)
    """The value with bytes as text, so that it can be written as JSON."""
    if isinstance(value, bytes):
        return text_of(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(_plain(name)): _plain(each) for name, each in value.items()}
    if isinstance(value, msgspec.msgpack.Ext):
        return text_of(bytes(value.data))
    return value


def _results(kinds: dict[str, str], contents: object) -> object:
    """What the aggregates of a row have come to, by field; what is no row stays as it is."""
    if not isinstance(contents, list) or len(contents) != len(kinds):
        return contents
    return {
        field: _result(kind, state)
        for (field, kind), state in zip(kinds.items(), contents, strict=True)
    }


def _result(kind: str, state: Any) -> object:  # noqa: ANN401 (as `Accumulator.state` has it)
    """What one aggregate has come to; of a kind that is not known here, its state."""
    try:
        if kind in ("sum", "mean"):
            accumulator = Sum() if kind == "sum" else Mean()
            accumulator.restore(state)
            return accumulator.result()
        if kind in ("min", "max"):
            return None if state is None else _kept(state)
        if kind in ("first", "last"):
            return None if state is None else _kept(state[2])
    except (TypeError, ValueError, IndexError, msgspec.MsgspecError):
        pass
    return _plain(state)


def _kept(dumped: Any) -> object:  # noqa: ANN401 (as `ValueCodec.dump` has it)
    tag, value = dumped
    if tag == 1:
        return _plain(msgspec.msgpack.decode(value))
    return int(value, 16) if tag == 2 else _plain(value)
