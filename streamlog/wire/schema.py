'''How a message is declared: a class with typed fields, each with the versions that carry it.

    @message(versions="0-4", flexible="4+")
    class HeartbeatRequest(Request[HeartbeatResponse]):
        """A member says that it is alive."""

        group_id: String = ""
        generation_id: Int32 = 0
        group_instance_id: String | None = field("3+", default=None)

* The annotation is the wire type: `Int8` ... `Int64`, `Bool`, `Uuid`, `String`, `Bytes` (copied),
  `Records` (a slice of the frame, never copied), `list[...]` of these or of structs, or a struct.
* A plain default means "in every version"; `field("3+", ...)`, `field("0-7", ...)` say otherwise.
* `X | None` is nullable wherever the field exists, unless `nullable="2+"` narrows it.
* `tag=0` makes it a tagged field. One that holds its default is not written: clients exist that
  stumble over tagged fields (librdkafka before 2.2). A tagged struct is `None` when absent.
* A field that a version does not carry is dropped when writing and gets its default when reading.

Names and order are those of Kafka's message definitions, in snake case. The classes have slots, a
keyword-only constructor, `==` and `repr`. This module only describes; `compile_encoder.py` and
`compile_decoder.py` turn a description and a version into a function. The classes are made here and
not by `dataclasses`, whose cost for the 200 of them would be felt at every start. Modules that
declare messages do without `from __future__ import annotations`: the annotations are read.
'''

from __future__ import annotations

import types
from dataclasses import dataclass
from enum import Enum
from inspect import get_annotations
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Generic,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    overload,
)
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
VERSION_MAX = 32767


class Kind(Enum):
    """The wire's scalar types; the value of a fixed-size one is its `struct` format."""

    BOOL = "?"
    INT8 = "b"
    INT16 = "h"
    UINT16 = "H"
    INT32 = "i"
    INT64 = "q"
    UUID = "16s"
    STRING = "string"
    BYTES = "bytes"
    RECORDS = "records"


Bool: TypeAlias = Annotated[bool, Kind.BOOL]
Int8: TypeAlias = Annotated[int, Kind.INT8]
Int16: TypeAlias = Annotated[int, Kind.INT16]
UInt16: TypeAlias = Annotated[int, Kind.UINT16]
Int32: TypeAlias = Annotated[int, Kind.INT32]
Int64: TypeAlias = Annotated[int, Kind.INT64]
Uuid: TypeAlias = Annotated[UUID, Kind.UUID]
String: TypeAlias = Annotated[str, Kind.STRING]
Bytes: TypeAlias = Annotated[bytes, Kind.BYTES]
Records: TypeAlias = Annotated[bytes | bytearray | memoryview, Kind.RECORDS]

UUID_ZERO = UUID(int=0)


class Response:
    """The base of all responses: a name for the type checker."""

    __slots__ = ()


R_co = TypeVar("R_co", bound=Response, covariant=True)


class Request(Generic[R_co]):
    """The base of all requests: tells the type checker which response answers it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class VersionRange:
    """Versions from `first` to `last`, both included; empty if `last` is smaller."""

    first: int
    last: int

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Read Kafka's notation.

        >>> (
        ...     VersionRange.parse("3+").first,
        ...     VersionRange.parse("0-7").last,
        ...     0 in VersionRange.parse("none"),
        ... )
        (3, 7, False)
        """
        if text == "none":
            return cls(0, -1)
        if text.endswith("+"):
            return cls(int(text[:-1]), VERSION_MAX)
        first, _, last = text.partition("-")
        return cls(int(first), int(last or first))


ALWAYS = VersionRange(0, VERSION_MAX)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What `field(...)` was told."""

    versions: VersionRange
    nullable: VersionRange | None
    tag: int | None
    default: object
    default_factory: Callable[[], object] | None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a struct, as the compilers need it."""

    name: str
    kind: Kind | type
    """A scalar, or the class of a struct."""
    is_array: bool
    versions: VersionRange
    nullable: VersionRange
    tag: int | None
    default: object
    default_factory: Callable[[], object] | None


@overload
def field(
    versions: str = ..., *, default: T, nullable: str | None = ..., tag: int | None = ...
) -> T: ...
@overload
def field(
    versions: str = ...,
    *,
    default_factory: Callable[[], T],
    nullable: str | None = ...,
    tag: int | None = ...,
) -> T: ...
def field(
    versions: str = "0+",
    *,
    default: object = None,
    default_factory: Callable[[], object] | None = None,
    nullable: str | None = None,
    tag: int | None = None,
) -> object:
    """Declare a field that not every version carries, that is tagged, or that holds a list."""
    return Declaration(
        versions=VersionRange.parse(versions),
        nullable=None if nullable is None else VersionRange.parse(nullable),
        tag=tag,
        default=default,
        default_factory=default_factory,
    )


@dataclass(frozen=True, slots=True)
class Schema:
    """One declared class: its fields in wire order and, for a message, its versions."""

    cls: type
    declarations: dict[str, tuple[object, Declaration]]
    versions: VersionRange
    flexible: VersionRange


_SCHEMAS: dict[type, Schema] = {}
_FIELDS: dict[type, tuple[Field, ...]] = {}


def schema_of(cls: type) -> Schema:
    """The schema of a declared class."""
    return _SCHEMAS[cls]


def fields_of(cls: type) -> tuple[Field, ...]:
    """The fields of a declared class, in wire order."""
    fields = _FIELDS.get(cls)
    if fields is None:
        fields = _FIELDS[cls] = tuple(
            _field_of(name, annotation, declaration)
            for name, (annotation, declaration) in _SCHEMAS[cls].declarations.items()
        )
    return fields


def _field_of(name: str, annotation: object, declared: Declaration) -> Field:
    inner, is_nullable = _without_none(annotation)
    is_array = get_origin(inner) is list
    if is_array:
        (inner,) = get_args(inner)
    kind: Kind | type
    if get_origin(inner) is Annotated:
        kind = next(mark for mark in get_args(inner)[1:] if isinstance(mark, Kind))
    else:
        assert isinstance(inner, type), f"{name}: {annotation!r} is no wire type"
        assert inner in _SCHEMAS, f"{name}: {annotation!r} is no wire type"
        kind = inner
    nullable = declared.nullable or (declared.versions if is_nullable else VersionRange(0, -1))
    return Field(
        name=name,
        kind=kind,
        is_array=is_array,
        versions=declared.versions,
        nullable=nullable,
        tag=declared.tag,
        default=declared.default,
        default_factory=declared.default_factory,
    )


def _without_none(annotation: object) -> tuple[object, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        others = [part for part in get_args(annotation) if part is not type(None)]
        if len(others) == 1:
            return others[0], True
    return annotation, False


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def struct(cls: type[T]) -> type[T]:
    """Declare a struct that is a part of messages; the message's version rules in it."""
    return _declare(cls, ALWAYS, VersionRange(0, -1))


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def message(*, versions: str, flexible: str = "none") -> Callable[[type[T]], type[T]]:
    """Declare a message: which versions exist and which of them are flexible (KIP-482)."""

    def declare(cls: type[T]) -> type[T]:
        return _declare(cls, VersionRange.parse(versions), VersionRange.parse(flexible))

    return declare


def _declare(cls: type[T], versions: VersionRange, flexible: VersionRange) -> type[T]:
    declarations: dict[str, tuple[object, Declaration]] = {}
    namespace = dict(cls.__dict__)
    for name, annotation in get_annotations(cls).items():
        value = namespace.pop(name)
        if not isinstance(value, Declaration):
            value = Declaration(ALWAYS, None, None, value, None)
        declarations[name] = (annotation, value)
    namespace.pop("__dict__", None)
    namespace.pop("__weakref__", None)
    namespace["__slots__"] = tuple(declarations)
    namespace["__init__"] = _constructor({n: d for n, (_, d) in declarations.items()})
    namespace["__eq__"] = _equality(tuple(declarations))
    namespace["__repr__"] = _representation
    namespace["__hash__"] = None
    namespace["__match_args__"] = ()
    # Slots cannot be added to a class that exists, so it is made again.
    metaclass = cast("Callable[[str, tuple[type, ...], dict[str, object]], type[T]]", type(cls))
    declared = metaclass(cls.__name__, cls.__bases__, namespace)
    _SCHEMAS[declared] = Schema(declared, declarations, versions, flexible)
    return declared


def _constructor(declarations: dict[str, Declaration]) -> object:
    absent = object()
    names: dict[str, object] = {"absent": absent}
    parameters, lines = [], ["    pass"]
    for name, declared in declarations.items():
        if declared.default_factory is None:
            names[f"default_{name}"] = declared.default
            parameters.append(f"{name}=default_{name}")
            lines.append(f"    self.{name} = {name}")
        else:
            names[f"new_{name}"] = declared.default_factory
            parameters.append(f"{name}=absent")
            lines.append(f"    self.{name} = new_{name}() if {name} is absent else {name}")
    head = (
        f"def __init__(self, *, {', '.join(parameters)}):"
        if parameters
        else ("def __init__(self):")
    )
    exec("\n".join([head, *lines]), names)
    return names["__init__"]


def _equality(slots: tuple[str, ...]) -> Callable[[object, object], bool]:
    values: Callable[[object], object] = attrgetter(*slots) if slots else (lambda _: ())

    def __eq__(self: object, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return values(self) == values(other)

    return __eq__


def _representation(self: object) -> str:
    slots: tuple[str, ...] = type(self).__slots__  # type: ignore[attr-defined]
    inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in slots)
    return f"{type(self).__name__}({inside})"
