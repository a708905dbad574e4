"""Lines into records."""

from __future__ import annotations

import pytest

from streamlog.cli import lines
from streamlog.cli.lines import RecordReader
from streamlog.errors import DataError

TEXT = b"a:1\nb:\n:3\nplain\n\nlast:6"


def read(reader: RecordReader, size: int) -> list[tuple[bytes | None, bytes | None]]:
    records = []
    for start in range(0, len(TEXT), size):
        records += reader.feed(TEXT[start : start + size])
    return records + reader.finish()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_records_do_not_depend_on_how_the_input_is_cut(size: int) -> None:
    assert read(RecordReader(key_delimiter=b":"), size) == [
        (b"a", b"1"),
        (b"b", b""),
        (b"", b"3"),
        (None, b"plain"),
        (None, b""),
        (b"last", b"6"),
    ]


def test_one_key_for_all_lines() -> None:
    assert RecordReader(key=b"k").feed(b"a:1\nb\n") == [(b"k", b"a:1"), (b"k", b"b")]


def test_an_empty_value_can_be_null() -> None:
    reader = RecordReader(key_delimiter=b"=>", empty_is_null=True)
    assert reader.feed(b"gone=>\n") == [(b"gone", None)]


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES_MAX", 10)
    with pytest.raises(DataError, match="a line of more than"):
        RecordReader().feed(b"x" * 11)
