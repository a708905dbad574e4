"""Every message in every version against kafka-python: its schemas, and its codec both ways."""

# ruff: noqa: ANN401 - the strangers' classes are made at run time
from __future__ import annotations

import importlib
import re
import warnings
import zlib
from random import Random
from typing import Any

import pytest
from wire_samples import EVERY_VERSION, name_of, plain, random_message

from streamlog.wire.api import API
from streamlog.wire.codec import decode_at, encode
from streamlog.wire.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from streamlog.wire.messages.api_versions import ApiVersionsResponse
from streamlog.wire.schema import (
    UUID_ZERO,
    VERSION_MAX,
    Field,
    Kind,
    VersionRange,
    fields_of,
    schema_of,
)

with warnings.catch_warnings():
    # It reads its schemas, here and below, with a function that Python 3.11 and 3.12 deprecate.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.protocol.schemas import load_json

pytestmark = pytest.mark.filterwarnings("ignore:.*_text is deprecated:DeprecationWarning")

ROUNDS = 4
PACKAGES = ("admin", "consumer", "metadata", "producer")
MESSAGES = [
    *(cls for spec in API.values() for cls in (spec.request, spec.response)),
    ConsumerProtocolSubscription,
    ConsumerProtocolAssignment,
]
TYPES = {
    "bool": Kind.BOOL,
    "int8": Kind.INT8,
    "int16": Kind.INT16,
    "uint16": Kind.UINT16,
    "int32": Kind.INT32,
    "int64": Kind.INT64,
    "uuid": Kind.UUID,
    "string": Kind.STRING,
    "bytes": Kind.BYTES,
    "records": Kind.RECORDS,
}
OUR_DEFAULTS = {
    # Null is what an uncommitted read answers, and that is nearly every one.
    "aborted_transactions": None,
}


def snake(name: str) -> str:
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name).lower()


def versions_of(text: str | None, within: VersionRange) -> set[int]:
    span = VersionRange.parse(text or "none")
    return {v for v in range(within.first, within.last + 1) if v in span}


@pytest.mark.parametrize("cls", MESSAGES, ids=name_of)
def test_the_declaration_is_kafkas(cls: type) -> None:
    schema = schema_of(cls)
    definition = load_json(cls.__name__)
    assert versions_of(definition["flexibleVersions"], schema.versions) == {
        v for v in range(schema.versions.first, schema.versions.last + 1) if v in schema.flexible
    }
    assert schema.versions.last <= VersionRange.parse(definition["validVersions"]).last
    compare_fields(cls, definition["fields"], schema.versions)


def compare_fields(cls: type, definitions: list[dict[str, Any]], within: VersionRange) -> None:
    expected = [item for item in definitions if versions_of(item["versions"], within)]
    assert [field.name for field in fields_of(cls)] == [snake(item["name"]) for item in expected]
    for field, item in zip(fields_of(cls), expected, strict=True):
        compare_field(field, item, within)


def compare_field(field: Field, item: dict[str, Any], within: VersionRange) -> None:
    ours = {v for v in range(within.first, within.last + 1) if v in field.versions}
    assert ours == versions_of(item["versions"], within), field
    assert field.is_array == item["type"].startswith("[]"), field
    assert field.tag == item.get("tag"), field
    kind = item["type"].removeprefix("[]")
    is_tagged_struct = field.tag is not None and kind not in TYPES and not field.is_array
    if kind != "records" and not is_tagged_struct:
        nullable = {v for v in ours if v in field.nullable}
        assert nullable == versions_of(item.get("nullableVersions"), within) & ours, field
    if kind in TYPES:
        assert field.kind is TYPES[kind], field
    else:
        assert isinstance(field.kind, type)
        assert field.kind.__name__ == kind
        compare_fields(field.kind, item["fields"], VersionRange(min(ours), max(ours)))
    if not is_tagged_struct:
        assert default_of(field) == kafka_default(field, item, kind), field


def default_of(field: Field) -> object:
    return field.default if field.default_factory is None else field.default_factory()


def kafka_default(field: Field, item: dict[str, Any], kind: str) -> object:
    text = item.get("default")
    if field.name in OUR_DEFAULTS:
        return OUR_DEFAULTS[field.name]
    if text == "null" or kind == "records":
        return None
    if field.is_array:
        return []
    if kind == "string":
        return text or ""
    if kind == "bytes":
        return b""
    if kind == "bool":
        return str(text).lower() == "true"
    if kind == "uuid":
        return default_of(field)
    return int(str(text or "0"), 0)


def theirs_of(cls: type) -> Any:
    for package in PACKAGES:
        module = importlib.import_module(f"kafka.protocol.{package}")
        if hasattr(module, cls.__name__):
            return getattr(module, cls.__name__)
    raise AssertionError(cls)


def their_plain(value: Any, version: int) -> Any:
    """A value of kafka-python's as plain values, without the bit fields that it makes sets of."""
    if isinstance(value, list):
        return [their_plain(item, version) for item in value]
    if hasattr(value, "_struct"):
        return {
            field.name: their_plain(getattr(value, field.name), version)
            if getattr(value, field.name) is not None or not field.is_struct()
            else {inner.name: inner.default for inner in field.fields.values()}
            for field in value._struct._fields
            if field.for_version_q(version) and not field.name.endswith("authorized_operations")
        }
    return bytes(value) if isinstance(value, memoryview) else value


def our_plain(value: Any) -> Any:
    """Our plain values in the same way: a zero id is none for kafka-python."""
    if isinstance(value, list):
        return [our_plain(item) for item in value]
    if isinstance(value, dict):
        return {
            name: our_plain(item)
            for name, item in value.items()
            if not name.endswith("authorized_operations")
        }
    return None if value == UUID_ZERO else value


@pytest.mark.parametrize(("cls", "version"), EVERY_VERSION, ids=name_of)
def test_both_ways(cls: type, version: int) -> None:
    random = Random(zlib.crc32(f"kafka-python {cls.__name__} {version}".encode()))
    theirs = theirs_of(cls)
    for _ in range(ROUNDS):
        message = random_message(cls, version, random)
        if isinstance(message, ApiVersionsResponse):
            message.error_code = 0  # it takes one with any error for version 0
        data = encode(message, version)
        read = theirs.decode(data, version=version)
        assert their_plain(read, version) == our_plain(plain(message, version))
        read._header = None  # its decoder leaves this unset, and its encoder asks for it
        written = read.encode(version=version)
        assert bytes(written) == data
        again: object
        again, position = decode_at(cls, version, memoryview(bytes(written)), 0)
        assert position == len(data)
        assert plain(again, version) == plain(message, version)


def test_no_version_is_left_open() -> None:
    assert VERSION_MAX not in {schema_of(cls).versions.last for cls in MESSAGES}
