from __future__ import annotations

import dataclasses
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import UsageError
from streamlog.serde.default import serde_for
from streamlog.serde.errors import SerdeError
from streamlog.serde.json import JsonSerde
from streamlog.serde.msgpack import MsgpackSerde
from streamlog.serde.raw import RawSerde
from streamlog.serde.text import TextSerde

T = TypeVar("T")


class Flight(msgspec.Struct):
    carrier: str
    dep_delay: float | None
    tags: set[str] = set()
    counts: dict[str, int] = {}


@dataclasses.dataclass
class Plain:
    at: datetime
    price: Decimal


class Tree(msgspec.Struct):
    children: list[Tree]


class Wrapper(msgspec.Struct, Generic[T]):
    item: T


FLIGHT = Flight("UA", 2.5, {"b", "a", "c"}, {"y": 1, "x": 2})
STRUCTURED = [JsonSerde, MsgpackSerde]
flights = st.builds(
    Flight,
    st.text(),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.sets(st.text()),
    st.dictionaries(st.text(), st.integers(-(1 << 63), (1 << 63) - 1)),
)


@pytest.mark.parametrize("serde_class", STRUCTURED)
@given(values=st.lists(st.none() | flights))
def test_structs_come_back(serde_class: type[JsonSerde[Any]], values: list[Flight | None]) -> None:
    serde = serde_class(cast("type[Any]", Flight | None))
    column = serde.encode_all(values)
    assert column == [serde.encode(value) for value in values]
    assert [data is None for data in column] == [value is None for value in values]
    assert serde.decode_all(column) == values
    assert [serde.decode(data) for data in column] == values


def test_json_is_what_other_tools_read() -> None:
    assert JsonSerde(Flight).encode(FLIGHT) == (
        b'{"carrier":"UA","dep_delay":2.5,"tags":["a","b","c"],"counts":{"x":2,"y":1}}'
    )


@pytest.mark.parametrize("serde_class", STRUCTURED)
def test_equal_values_have_equal_bytes(serde_class: type[JsonSerde[Any]]) -> None:
    serde = serde_class(dict[str, set[str]])
    one = {"a": {"x", "y", "z"}, "b": set[str]()}
    other = {"b": set[str](), "a": {"z", "y", "x"}}
    assert serde.encode(one) == serde.encode(other)


@pytest.mark.parametrize("serde_class", STRUCTURED)
def test_dataclasses_dates_and_decimals(serde_class: type[JsonSerde[Any]]) -> None:
    value = Plain(datetime(2013, 1, 1, 10, tzinfo=UTC), Decimal("1.10"))
    serde = serde_class(Plain)
    assert serde.decode(serde.encode(value)) == value


@pytest.mark.parametrize("serde_class", STRUCTURED)
def test_the_batch_forms_name_the_first_bad_item(serde_class: type[JsonSerde[Any]]) -> None:
    serde = serde_class(Flight)
    good = serde.encode(FLIGHT)
    bad = serde_class(dict[str, str]).encode({"carrier": "UA", "dep_delay": "late"})
    with pytest.raises(SerdeError, match=r"\$\.dep_delay") as caught:
        serde.decode_all([good, good, bad, good, bad])
    assert caught.value.index == 2
    with pytest.raises(SerdeError, match="null") as caught:
        serde.decode_all([good, None])
    assert caught.value.index == 1
    assert "Flight | None" in str(caught.value)
    with pytest.raises(SerdeError, match="object") as caught:
        serde.encode_all([FLIGHT, object()])
    assert caught.value.index == 1


@pytest.mark.parametrize("serde_class", STRUCTURED)
@given(data=st.binary(max_size=60))
def test_arbitrary_bytes_raise_only_serde_errors(
    serde_class: type[JsonSerde[Any]], data: bytes
) -> None:
    for value_type in (Flight, Plain, int, list[Any], dict[str, Any]):
        serde = serde_class(value_type)
        with suppress(SerdeError):
            serde.decode(data)


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(SerdeError):
        JsonSerde(list[Any]).decode(b"[" * 100_000)
    with pytest.raises(SerdeError):
        MsgpackSerde(list[Any]).decode(b"\x91" * 100_000)


@given(text=st.text(alphabet=st.characters(codec="utf-8")))
def test_text_is_utf8(text: str) -> None:
    serde = TextSerde()
    assert serde.encode(text) == text.encode()
    assert serde.decode(text.encode()) == text
    assert serde.decode_all(serde.encode_all([text, text])) == [text, text]


def test_text_that_is_none_is_refused() -> None:
    with pytest.raises(SerdeError, match="byte 1") as caught:
        TextSerde().decode_all([b"good", b"a\xff"])
    assert caught.value.index == 1
    with pytest.raises(SerdeError, match="null"):
        TextSerde().decode(None)
    with pytest.raises(SerdeError, match="UTF-8"):
        TextSerde().encode("\ud800")
    with pytest.raises(SerdeError, match="must be str, this is int"):
        TextSerde().encode(5)  # type: ignore[arg-type]
    assert TextSerde(nullable=True).decode(None) is None
    assert TextSerde().encode(None) is None


def test_raw_bytes_pass() -> None:
    serde = RawSerde()
    column = [b"a", None, b""]
    assert serde.decode_all(column) == serde.encode_all(column) == column
    assert serde.decode_all(column) is not column
    with pytest.raises(SerdeError, match="must be bytes, this is str"):
        serde.encode("text")  # type: ignore[arg-type]
    with pytest.raises(SerdeError) as caught:
        RawSerde(nullable=False).decode_all(column)
    assert caught.value.index == 1


@pytest.mark.parametrize(
    ("value_type", "expected"),
    [
        (bytes, "RawSerde(nullable=False)"),
        (bytes | None, "RawSerde(nullable=True)"),
        (str, "TextSerde(nullable=False)"),
        (str | None, "TextSerde(nullable=True)"),
        (int, "JsonSerde(int)"),
        (Flight, "JsonSerde(Flight)"),
        (list[str], "JsonSerde(list)"),
        (int | str, "JsonSerde(int | str)"),
    ],
)
def test_the_default_for_a_type(value_type: type[object], expected: str) -> None:
    assert repr(serde_for(value_type)) == expected


def test_a_type_without_json_is_refused_at_once() -> None:
    class Opaque:
        pass

    with pytest.raises(UsageError, match="Opaque"):
        serde_for(Opaque | int)  # type: ignore[arg-type]
    for value_type in (Opaque, list[Opaque], dict[str, tuple[int, Opaque]], Wrapper[Opaque]):
        with pytest.raises(UsageError, match="Opaque") as caught:
            serde_for(value_type)
        assert "Struct" in str(caught.value)


def test_a_type_that_contains_itself_is_fine() -> None:
    tree = Tree([Tree([]), Tree([])])
    serde = serde_for(Tree)
    assert serde.decode(serde.encode(tree)) == tree


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(SerdeError) as caught:
        JsonSerde(int).decode(b'"' + b"x" * 10_000 + b'"')
    assert len(str(caught.value)) < 300
