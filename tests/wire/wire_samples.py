"""Random messages for the tests of streamlog.wire, and views of them that can be compared."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING
from uuid import UUID

from streamlog.wire.api import API
from streamlog.wire.schema import UUID_ZERO, Field, Kind, fields_of

if TYPE_CHECKING:
    from random import Random

RANGES = {
    Kind.INT8: (-(2**7), 2**7 - 1),
    Kind.INT16: (-(2**15), 2**15 - 1),
    Kind.UINT16: (0, 2**16 - 1),
    Kind.INT32: (-(2**31), 2**31 - 1),
    Kind.INT64: (-(2**63), 2**63 - 1),
}
ALPHABET = string.ascii_letters + "-_. äß日本😀"

EVERY_VERSION = [
    (cls, version)
    for spec in API.values()
    for cls in (spec.request, spec.response)
    for version in range(spec.versions.first, spec.versions.last + 1)
]
"""Each message's class with each of its versions."""


def name_of(value: object) -> str:
    """A test's id."""
    return value.__name__ if isinstance(value, type) else f"v{value}"


def random_message(cls: type, version: int, random: Random) -> object:
    """A message whose every field of this version has a random value."""
    values = {
        field.name: random_value(field, version, random)
        for field in fields_of(cls)
        if version in field.versions
    }
    return cls(**values)


def random_value(field: Field, version: int, random: Random) -> object:
    if field.tag is not None and random.random() < 0.4:
        return field.default if field.default_factory is None else field.default_factory()
    if version in field.nullable and field.tag is None and random.random() < 0.3:
        return None
    if field.is_array:
        count = (
            random.choice((0, 1, 2, 3, 70)) if isinstance(field.kind, Kind) else random.randrange(4)
        )
        return [random_one(field, version, random) for _ in range(count)]
    return random_one(field, version, random)


def random_one(field: Field, version: int, random: Random) -> object:
    kind = field.kind
    if isinstance(kind, type):
        return random_message(kind, version, random)
    if field.name == "error_code":
        return random.randrange(-1, 120)
    if field.name.endswith("_ms"):
        # kio makes durations and moments of these, which neither may be negative nor very large.
        return random.randrange(0, 2**31)
    if kind in RANGES:
        low, high = RANGES[kind]
        return random.choice((low, high, 0, random.randint(low, high)))
    if kind is Kind.BOOL:
        return random.random() < 0.5
    if kind is Kind.UUID:
        return random.choice((UUID_ZERO, UUID(int=random.getrandbits(128) | 1)))
    size = random.choice((0, 1, 5, 126, 127, 128, 300))
    if kind is Kind.STRING:
        return "".join(random.choices(ALPHABET, k=size))
    return random.randbytes(size)


def plain(message: object, version: int) -> dict[str, object]:
    """The fields of this version as plain values, by name."""
    return {
        field.name: plain_value(getattr(message, field.name), field, version)
        for field in fields_of(type(message))
        if version in field.versions
    }


def plain_value(value: object, field: Field, version: int) -> object:
    if isinstance(value, list):
        return [plain_value(item, field, version) for item in value]
    if isinstance(field.kind, type):
        if value is None and not field.is_array and field.tag is not None:
            value = field.kind()
        return None if value is None else plain(value, version)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value
