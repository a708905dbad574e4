"""Declaring messages."""

import pytest

from streamlog.wire.codec import decode, encode
from streamlog.wire.schema import (
    UUID_ZERO,
    Bool,
    Bytes,
    Int8,
    Int64,
    Records,
    String,
    UInt16,
    Uuid,
    VersionRange,
    field,
    fields_of,
    message,
    struct,
)


@struct
class Inner:
    """A struct."""

    number: Int64 = 0
    late: Int8 = field("2+", default=-1)


@message(versions="0-3", flexible="3+")
class Outer:
    """A message with something of everything."""

    flag: Bool = False
    port: UInt16 = 0
    identity: Uuid = UUID_ZERO
    name: String | None = field(default=None, nullable="1+")
    data: Bytes = b""
    inner: Inner = field(default_factory=Inner)
    inners: list[Inner] | None = field("1+", default=None)
    names: list[String] = field(default_factory=list)
    shorts: list[Int8] = field(default_factory=list)
    longs: list[Int64] | None = field("2+", default=None, nullable="3+")
    records: Records | None = None
    extra: list[String] = field("3+", default_factory=list, tag=1)
    number: Int64 = field("3+", default=7, tag=0)


def sample() -> Outer:
    return Outer(
        flag=True,
        port=65535,
        name="n",
        data=b"d",
        inner=Inner(number=5, late=6),
        inners=[Inner(number=1), Inner()],
        names=["a", "b"],
        shorts=list(range(-100, 100)),
        longs=[-1, 2**62],
        records=b"records",
        extra=["e"],
        number=8,
    )


@pytest.mark.parametrize("version", range(4))
def test_everything_comes_back_in_every_version(version: int) -> None:
    data = encode(sample(), version)
    read = decode(Outer, version, memoryview(data))
    assert encode(read, version) == data
    for field_ in fields_of(Outer):
        if version in field_.versions and field_.kind is not Inner:
            assert getattr(read, field_.name) == getattr(sample(), field_.name)
        elif version not in field_.versions:
            assert getattr(read, field_.name) == getattr(Outer(), field_.name)
    assert read.inner.late == (6 if version >= 2 else -1)


def test_tags_are_written_in_the_order_of_their_numbers() -> None:
    assert encode(sample(), 3).endswith(b"\2" + b"\0\x08\0\0\0\0\0\0\0\x08" + b"\1\3\2\2e")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [("3+", [3, 99], [2]), ("0-7", [0, 7], [8]), ("2", [2], [1, 3]), ("none", [], [0, 1])],
)
def test_version_ranges(text: str, inside: list[int], outside: list[int]) -> None:
    span = VersionRange.parse(text)
    assert all(version in span for version in inside)
    assert not any(version in span for version in outside)


def test_the_constructor_takes_keywords_only() -> None:
    with pytest.raises(TypeError):
        Inner(5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Inner(numbr=5)  # type: ignore[call-arg]
