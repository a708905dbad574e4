"""How records are printed: kcat's letters and its JSON envelope."""

from __future__ import annotations

import json

import pytest

from streamlog.cli.record_format import LETTERS, compile_format, json_lines
from streamlog.client.values import FetchedChunk
from streamlog.errors import UsageError
from streamlog.records.columns import Columns

CHUNK = FetchedChunk(
    topic="orders",
    partition=3,
    columns=Columns(
        offsets=[7, 9],
        timestamps=[1000, 2000],
        keys=[b"k", None],
        values=[b"v\xff", None],
        headers=[(("a", b"1"), ("b", None)), ()],
    ),
    next_offset=10,
    high_watermark=10,
)


def printed(text: str) -> list[bytes]:
    write = compile_format(text)
    return [write(CHUNK, range(row, row + 1)) for row in range(2)]


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("%t[%p]@%o %T", b"orders[3]@7 1000", b"orders[3]@9 2000"),
        ("%k=%s", b"k=v\xff", b"="),
        ("%K %S", b"1 2", b"-1 -1"),
        ("%R", b"\x00\x00\x00\x02", b"\xff\xff\xff\xff"),
        ("%h", b"a=1,b=NULL", b""),
        (r"\t\n\r\\\x41\x0a", b"\t\n\r\\A\n", b"\t\n\r\\A\n"),
        ("100%%", b"100%", b"100%"),
        (r"\q", rb"\q", rb"\q"),
        ("", b"", b""),
    ],
)
def test_letters_and_escapes(text: str, first: bytes, second: bytes) -> None:
    assert printed(text) == [first, second]


def test_rows_of_a_chunk_are_joined() -> None:
    assert compile_format(r"%o\n")(CHUNK, range(2)) == b"7\n9\n"


@pytest.mark.parametrize("text", ["%z", "%", "\\", "abc%"])
def test_what_is_no_letter_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        compile_format(text)


def test_help_names_every_letter() -> None:
    from streamlog.cli import record_format

    assert all(f"%{letter} " in (record_format.__doc__ or "") for letter in LETTERS)


def test_json_has_the_names_of_kcat() -> None:
    first, second = map(json.loads, json_lines(CHUNK, range(2)).splitlines())
    assert first == {
        "topic": "orders",
        "partition": 3,
        "offset": 7,
        "ts": 1000,
        "headers": ["a", "1", "b", None],
        "key": "k",
        "payload": "v�",
    }
    assert second["key"] is None
    assert second["payload"] is None
    assert "headers" not in second
    assert json_lines(CHUNK, range(0)) == b""
