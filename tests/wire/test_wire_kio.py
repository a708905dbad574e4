"""Every message in every version against kio's codec, both ways."""

# ruff: noqa: ANN401 - the strangers' classes are made at run time
from __future__ import annotations

import dataclasses
import datetime
import importlib
import io
import re
import zlib
from random import Random
from types import NoneType, UnionType
from typing import Any, get_args, get_origin
from uuid import UUID

import pytest
from kio.schema.errors import ErrorCode as KioErrorCode
from kio.serial import entity_reader, entity_writer
from wire_samples import ALPHABET, EVERY_VERSION, name_of, plain, random_message

from streamlog.wire.codec import decode_at, encode
from streamlog.wire.schema import UUID_ZERO

ROUNDS = 6
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
INTEGERS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


def kio_class(cls: type, version: int) -> Any:
    name, side = re.fullmatch(r"(\w+)(Request|Response)", cls.__name__).groups()  # type: ignore[union-attr]
    package = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    module = importlib.import_module(f"kio.schema.{package}.v{version}.{side.lower()}")
    return getattr(module, cls.__name__)


def seeded(cls: type, version: int) -> Random:
    return Random(zlib.crc32(f"{cls.__name__}{version}".encode()))


def kio_plain(value: Any) -> Any:
    """A value of kio's as the plain value that we use for it; names without their unit."""
    if dataclasses.is_dataclass(value):
        return {f.name: kio_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [kio_plain(item) for item in value]
    if isinstance(value, datetime.datetime):
        return round((value - EPOCH) / datetime.timedelta(milliseconds=1))
    if isinstance(value, datetime.timedelta):
        return round(value / datetime.timedelta(milliseconds=1))
    if isinstance(value, UUID):
        return value
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    return bytes(value) if isinstance(value, bytes) else str(value)


def ours_like_kio(ours: Any, theirs: Any) -> Any:
    """Our plain value with the two differences of kio's model taken out: names and nulls."""
    if isinstance(ours, dict):
        names = {name.removesuffix("_ms"): name for name in theirs}
        return {
            names[name.removesuffix("_ms")]: ours_like_kio(
                value, theirs[names[name.removesuffix("_ms")]]
            )
            for name, value in ours.items()
        }
    if isinstance(ours, list):
        return [ours_like_kio(a, b) for a, b in zip(ours, theirs, strict=True)]
    if theirs is None and ours in (UUID_ZERO, -1):
        return None  # kio reads a zero id and a moment of -1 as none
    return ours


def kio_random(cls: Any, random: Random) -> Any:
    return cls(**{f.name: kio_random_field(f, random) for f in dataclasses.fields(cls)})


def kio_random_field(field: Any, random: Random) -> Any:
    choices = get_args(field.type) if isinstance(field.type, UnionType) else (field.type,)
    is_tagged = "tag" in field.metadata
    if is_tagged and random.random() < 0.4 and field.default is not dataclasses.MISSING:
        return field.default
    if NoneType in choices and not is_tagged and random.random() < 0.3:
        return None
    (inner,) = (choice for choice in choices if choice is not NoneType)
    if get_origin(inner) is tuple:
        element = get_args(inner)[0]
        return tuple(kio_random_one(element, field, random) for _ in range(random.randrange(4)))
    return kio_random_one(inner, field, random)


def kio_random_one(inner: Any, field: Any, random: Random) -> Any:
    if dataclasses.is_dataclass(inner):
        return kio_random(inner, random)
    kind = field.metadata["kafka_type"]
    if kind in INTEGERS:
        limit = 1 << (INTEGERS[kind] - 1)
        return random.choice((-limit, limit - 1, 0, random.randrange(-limit, limit)))
    if kind in ("string", "bytes", "records"):
        size = random.choice((0, 1, 5, 127, 128, 300))
        text = "".join(random.choices(ALPHABET, k=size))
        return text if kind == "string" else text.encode()
    if kind == "uint16":
        return random.randrange(2**16)
    if kind == "bool":
        return random.random() < 0.5
    if kind == "uuid":
        return UUID(int=random.getrandbits(128) | 1)
    if kind == "error_code":
        return KioErrorCode(random.randrange(-1, 120))
    if kind.startswith("timedelta"):
        return datetime.timedelta(milliseconds=random.randrange(2**31))
    if kind.startswith("datetime"):
        return EPOCH + datetime.timedelta(milliseconds=random.randrange(2**40))
    raise AssertionError(kind)


@pytest.mark.parametrize(("cls", "version"), EVERY_VERSION, ids=name_of)
def test_kio_reads_what_we_write(cls: type, version: int) -> None:
    random = seeded(cls, version)
    theirs = kio_class(cls, version)
    read, write = entity_reader(theirs), entity_writer(theirs)
    for _ in range(ROUNDS):
        message = random_message(cls, version, random)
        data = encode(message, version)
        entity, size = read(data, 0)
        assert size == len(data)
        values = kio_plain(entity)
        assert ours_like_kio(plain(message, version), values) == values
        out = io.BytesIO()
        write(out, entity)
        assert out.getvalue() == data


@pytest.mark.parametrize(("cls", "version"), EVERY_VERSION, ids=name_of)
def test_we_read_what_kio_writes(cls: type, version: int) -> None:
    random = seeded(cls, version)
    theirs = kio_class(cls, version)
    write = entity_writer(theirs)
    for _ in range(ROUNDS):
        entity = kio_random(theirs, random)
        out = io.BytesIO()
        write(out, entity)
        data = out.getvalue()
        message: object
        message, position = decode_at(cls, version, memoryview(data), 0)
        assert position == len(data)
        values = kio_plain(entity)
        assert ours_like_kio(plain(message, version), values) == values
        assert encode(message, version) == data
