"""Keys and plain values as bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from msgspec import Struct

from streamlog.processing.operators.event_time import event_times, milliseconds_of
from streamlog.processing.operators.plain import encode_plain


class Pair(Struct):
    a: int
    b: str


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("Zürich", "Zürich".encode()),
        (b"\xff", b"\xff"),
        (None, None),
        (7, b"7"),
        (("a", 1), b'["a",1]'),
        (Pair(1, "x"), b'{"a":1,"b":"x"}'),
        ({"b": 1, "a": 2}, b'{"a":2,"b":1}'),
        (True, b"true"),
    ],
)
def test_bytes_of_a_value(value: object, data: bytes | None) -> None:
    assert encode_plain(value) == data


def test_event_times_are_cut_to_milliseconds_downwards() -> None:
    assert milliseconds_of(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1
    east = timezone(timedelta(hours=2))
    assert milliseconds_of(datetime(1970, 1, 1, 2, tzinfo=east)) == 0


@pytest.mark.parametrize("moment", [datetime(2013, 1, 1), True, 1.5, "2013-01-01", None])  # noqa: DTZ001, RUF100
def test_what_is_no_moment_is_refused(moment: object) -> None:
    found: list[int] = []
    with pytest.raises((TypeError, ValueError), match="event time"):
        event_times(lambda _: moment, [1], [7], found)
    assert found == []


def test_a_null_happened_when_its_record_says() -> None:
    found: list[int] = []
    event_times(lambda value: value, [5, None, 6], [1, 2, 3], found)
    assert found == [5, 2, 6]
