"""Records to try: strategies, and columns that have everything that a record may have."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from streamlog.records.batch import HEADER_SIZE, Codec, batch_crc
from streamlog.records.columns import Columns, Headers

CODECS = list(Codec)
TIMESTAMP_MAX = (1 << 62) - 1

payloads = st.none() | st.binary(max_size=40) | st.integers(0, 9000).map(lambda size: b"v" * size)
header_rows: st.SearchStrategy[Headers] = st.lists(
    st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3
).map(tuple)
timestamps = st.integers(-1, TIMESTAMP_MAX) | st.integers(1_700_000_000_000, 1_700_000_100_000)


@st.composite
def columns(draw: st.DrawFn, count_max: int = 12) -> Columns:
    count = draw(st.integers(1, count_max))

    def column(items: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(items, min_size=count, max_size=count))

    rows = draw(st.none() | st.lists(header_rows, min_size=count, max_size=count))
    base = draw(st.integers(0, 1 << 40))
    return Columns(
        list(range(base, base + count)),
        column(timestamps),  # type: ignore[arg-type]
        column(payloads),  # type: ignore[arg-type]
        column(payloads),  # type: ignore[arg-type]
        rows,
    )


def varint(number: int) -> bytes:
    """Zigzag and seven bits a byte, written once more so that it can be compared."""
    rest = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def record(
    offset_delta: int = 0,
    timestamp_delta: int = 0,
    key: bytes | None = None,
    value: bytes | None = b"v",
    tail: bytes = b"\x00",
) -> bytes:
    """One record as bytes; `tail` is its headers."""
    body = b"\x00" + varint(timestamp_delta) + varint(offset_delta)
    for part in (key, value):
        body += varint(-1) if part is None else varint(len(part)) + part
    body += tail
    return varint(len(body)) + body


def batch(
    body: bytes,
    count: int,
    *,
    base_offset: int = 0,
    attributes: int = 0,
    last_offset_delta: int | None = None,
    base_timestamp: int = 1000,
    max_timestamp: int = 1000,
    base_sequence: int = -1,
) -> bytearray:
    """A batch of any body and any lies, with a CRC that is right."""
    delta = count - 1 if last_offset_delta is None else last_offset_delta
    length = HEADER_SIZE - 12 + len(body)
    head = struct.pack(">qiibI", base_offset, length, -1, 2, 0)
    tail = struct.pack(
        ">hiqqqhii", attributes, delta, base_timestamp, max_timestamp, -1, -1, base_sequence, count
    )
    made = bytearray(head + tail + body)
    crc = batch_crc(made, 0, len(made))
    made[17:21] = crc.to_bytes(4, "big")
    return made
