from __future__ import annotations

import pytest

from streamlog.records.columns import Columns
from streamlog.records.control import ControlType, control_key, parse_control_key
from streamlog.records.errors import CorruptRecordError

PLAIN = Columns([1, 2], [10, 20], [b"a", None], [b"x", b"y"])
HEADED = Columns([3], [30], [b"c"], [None], [(("h", b"1"),)])


def copy(columns: Columns) -> Columns:
    return columns.slice(0)


def test_columns_have_a_length_and_an_equality() -> None:
    assert len(PLAIN) == 2
    assert len(Columns.empty()) == 0
    assert copy(PLAIN) == PLAIN
    assert Columns([1, 2], [10, 20], [b"a", None], [b"x", b"y"], [(), ()]) == PLAIN
    assert PLAIN != HEADED
    assert PLAIN != 1


def test_a_slice_is_a_copy_of_some_rows() -> None:
    part = PLAIN.slice(1, 2)
    assert part == Columns([2], [20], [None], [b"y"])
    part.values[0] = b"changed"
    assert PLAIN.values == [b"x", b"y"]
    assert HEADED.slice(0).headers == HEADED.headers


def test_extending_fills_in_missing_headers_on_either_side() -> None:
    first = copy(PLAIN)
    first.extend(HEADED)
    assert first.headers == [(), (), (("h", b"1"),)]
    assert first.offsets == [1, 2, 3]
    second = copy(HEADED)
    second.extend(PLAIN)
    assert second.headers == [(("h", b"1"),), (), ()]
    third = copy(PLAIN)
    third.extend(PLAIN)
    assert third.headers is None
    assert len(third) == 4


def test_rows_and_how_columns_look() -> None:
    assert list(PLAIN.rows()) == [(1, 10, b"a", b"x", ()), (2, 20, None, b"y", ())]
    assert repr(PLAIN) == "Columns(2 records, offsets 1 to 2)"
    assert repr(Columns.empty()) == "Columns(empty)"


@pytest.mark.parametrize("kind", [ControlType.ABORT, ControlType.COMMIT])
def test_control_keys(kind: ControlType) -> None:
    assert parse_control_key(control_key(kind)) is kind


def test_other_control_keys_are_skippable_or_corrupt() -> None:
    assert parse_control_key(b"\x00\x01\x00\x05more") is ControlType.OTHER
    assert control_key(ControlType.COMMIT) == b"\x00\x00\x00\x01"
    for bad in (None, b"", b"\x00\x00\x00", b"\xff\xff\x00\x01"):
        with pytest.raises(CorruptRecordError):
            parse_control_key(bad)
