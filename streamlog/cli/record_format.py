r"""How `consume` writes a record: kcat's `%` letters, or kcat's JSON envelope.

    %t topic          %s value               %k key                %h headers, n=v,n=v
    %p partition      %S value's length      %K key's length       %T timestamp in ms
    %o offset         %R value's length as 4 bytes, big-endian     %% a percent sign
    \n \r \t \\       \xNN any byte

Lengths of what is null are -1, as in kcat; a null itself is written as nothing (%k, %s). `compile`
turns the text into a function once; records then go through it a chunk at a time.
"""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING

from streamlog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.client.values import FetchedChunk
    from streamlog.records.columns import Headers

    Piece = Callable[["FetchedChunk", int], bytes]
    ChunkWriter = Callable[["FetchedChunk", range], bytes]

VALUE_PER_LINE = "%s\\n"
_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\", "0": b"\0", "'": b"'", '"': b'"'}
_TOKEN = re.compile(
    r"%(?P<letter>.) | \\x(?P<hex>[0-9a-fA-F]{1,2}) | \\(?P<escape>.) | (?P<text>[^%\\]+)",
    re.VERBOSE | re.DOTALL,
)


def _length(data: bytes | None) -> int:
    return -1 if data is None else len(data)


def _headers_of(chunk: FetchedChunk, index: int) -> Headers:
    headers = chunk.columns.headers
    return headers[index] if headers is not None else ()


def _header_list(headers: Headers) -> bytes:
    return b",".join(
        name.encode() + b"=" + (b"NULL" if value is None else value) for name, value in headers
    )


LETTERS: dict[str, Piece] = {
    "t": lambda chunk, index: chunk.topic.encode(),
    "p": lambda chunk, index: b"%d" % chunk.partition,
    "o": lambda chunk, index: b"%d" % chunk.columns.offsets[index],
    "T": lambda chunk, index: b"%d" % chunk.columns.timestamps[index],
    "k": lambda chunk, index: chunk.columns.keys[index] or b"",
    "K": lambda chunk, index: b"%d" % _length(chunk.columns.keys[index]),
    "s": lambda chunk, index: chunk.columns.values[index] or b"",
    "S": lambda chunk, index: b"%d" % _length(chunk.columns.values[index]),
    "R": lambda chunk, index: struct.pack(">i", _length(chunk.columns.values[index])),
    "h": lambda chunk, index: _header_list(_headers_of(chunk, index)),
}


def compile_format(text: str) -> ChunkWriter:
    """Returns a function that writes some records of a chunk.

    Raises:
        UsageError: If the text has a letter or an escape that does not exist.
    """
    pieces = _pieces(text)

    def write(chunk: FetchedChunk, indexes: range) -> bytes:
        return b"".join([piece(chunk, index) for index in indexes for piece in pieces])

    return write


def _pieces(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    literal = b""
    position = 0
    for match in _TOKEN.finditer(text):
        if match.start() != position:
            break
        position = match.end()
        letter = match["letter"]
        if letter is None or letter == "%":
            literal += _literal(match)
        elif letter in LETTERS:
            pieces.extend((_constant(literal), LETTERS[letter]) if literal else (LETTERS[letter],))
            literal = b""
        else:
            raise UsageError(
                f"%{letter} in {text!r} is no letter of the record format",
                hint=f"There are %{' %'.join(LETTERS)} and %%. More: streamlog help formats",
            )
    if position != len(text):
        raise UsageError(f"{text!r} ends in the middle of {text[position:]!r}")
    return [*pieces, _constant(literal)] if literal else pieces


def _literal(match: re.Match[str]) -> bytes:
    if match["letter"]:
        return b"%"
    if match["hex"]:
        return bytes([int(match["hex"], 16)])
    if match["escape"]:
        escape = match["escape"]
        return _ESCAPES.get(escape, b"\\" + escape.encode())
    return match["text"].encode()


def _constant(data: bytes) -> Piece:
    return lambda chunk, index: data


def json_lines(chunk: FetchedChunk, indexes: range) -> bytes:
    """Writes one JSON object a line, with the names of kcat's envelope.

    Keys and values are text; bytes that are not UTF-8 become U+FFFD, as jq needs text.
    """
    columns = chunk.columns
    lines = []
    for index in indexes:
        envelope: dict[str, object] = {
            "topic": chunk.topic,
            "partition": chunk.partition,
            "offset": columns.offsets[index],
            "ts": columns.timestamps[index],
        }
        headers = _headers_of(chunk, index)
        if headers:
            envelope["headers"] = [part for name, value in headers for part in (name, _text(value))]
        envelope["key"] = _text(columns.keys[index])
        envelope["payload"] = _text(columns.values[index])
        lines.append(json.dumps(envelope, ensure_ascii=False, separators=(",", ":")))
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")
