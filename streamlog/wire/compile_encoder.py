"""Turns a schema and a version into an encode function: straight-line source, compiled once.

For each struct of a message one function `encode_<Struct>(m, w)` is written, where `w` takes the
pieces of bytes in order. Neighbouring fixed-size fields become one `struct.pack`, with the length
of the string behind them where that is possible. Records are passed on as the objects they are, so
that nobody copies them and `fetch_response.py` may put a file's slice in their place.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TypeAlias, cast

from streamlog.wire.primitives import Integers, compact_string, varint
from streamlog.wire.schema import Field, Kind, fields_of, schema_of

Piece: TypeAlias = bytes | bytearray | memoryview
Writer: TypeAlias = Callable[[Piece], None]
Encoder: TypeAlias = Callable[[object, Writer], None]

FIXED = frozenset(
    {Kind.BOOL, Kind.INT8, Kind.INT16, Kind.UINT16, Kind.INT32, Kind.INT64, Kind.UUID}
)
INTEGERS = {kind: Integers(kind.value) for kind in (Kind.INT8, Kind.INT16, Kind.INT32, Kind.INT64)}
_BUFFERS = (bytes, memoryview, bytearray)


def size_of(records: object) -> int:
    """The size of records in bytes; what is no buffer says it itself (a slice of a file)."""
    if isinstance(records, _BUFFERS):
        return len(records)
    return cast("int", records.size)  # type: ignore[attr-defined]


def tagged_section(values: list[tuple[int, Encoder]], message: object) -> bytes:
    """The tagged fields of one struct: their count, then number, size and value of each."""
    parts: list[Piece] = [varint(len(values))]
    for tag, encode in values:
        inside: list[Piece] = []
        encode(message, inside.append)
        value = b"".join(inside)
        parts += (varint(tag), varint(len(value)), value)
    return b"".join(parts)


def encoder_of(cls: type, version: int) -> Encoder:
    """The function that writes a message of this class in this version."""
    is_flexible = version in schema_of(cls).flexible
    source = _Source(version, is_flexible)
    source.add_struct(cls)
    filename = f"<{cls.__name__} version {version}: encoder>"
    exec(compile("\n".join(source.lines), filename, "exec"), source.names)
    return cast("Encoder", source.names[f"encode_{cls.__name__}"])


class _Source:
    """The source of one message's encoder in one version, and the names that it uses."""

    def __init__(self, version: int, is_flexible: bool) -> None:
        self.version = version
        self.is_flexible = is_flexible
        self.lines: list[str] = []
        self.names: dict[str, object] = {
            "varint": varint,
            "compact_string": compact_string,
            "size_of": size_of,
            "tagged_section": tagged_section,
        }
        self.done: set[type] = set()

    def add_struct(self, cls: type) -> None:
        """Write the function of a struct, after those of the structs inside it."""
        if cls in self.done:
            return
        self.done.add(cls)
        fields = [field for field in fields_of(cls) if self.version in field.versions]
        for field in fields:
            if isinstance(field.kind, type):
                self.add_struct(field.kind)
        tagged = [field for field in fields if field.tag is not None]
        for field in tagged:
            body = _Body(self)
            body.field(field, nullable_as_default=True)
            body.flush()
            self.lines += [f"def encode_{cls.__name__}_{field.name}(m, w):", *body.lines]
        body = _Body(self)
        for field in fields:
            if field.tag is None:
                body.field(field)
        if self.is_flexible:
            body.tagged_section(cls, tagged)
        body.flush()
        self.lines += [f"def encode_{cls.__name__}(m, w):", *(body.lines or ["    pass"])]

    def packer(self, formats: str) -> str:
        """The name of the packer of these formats."""
        name = "pack_" + formats.replace("?", "T")
        self.names[name] = Struct(f">{formats}").pack
        return name


class _Body:
    """The statements of one function; fixed-size values wait in `pending` to be packed as one."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.lines: list[str] = []
        self.pending: list[tuple[str, str]] = []
        self.indent = "    "

    def add(self, *lines: str) -> None:
        self.lines += [self.indent + line for line in lines]

    def flush(self) -> None:
        """Write what is pending."""
        if not self.pending:
            return
        formats = "".join(code for code, _ in self.pending)
        if formats == "x":
            self.add('w(b"\\0")')
        else:
            arguments = ", ".join(expression for code, expression in self.pending if code != "x")
            self.add(f"w({self.source.packer(formats)}({arguments}))")
        self.pending = []

    def field(self, field: Field, *, nullable_as_default: bool = False) -> None:
        """Write one field of `m`."""
        value = f"m.{field.name}"
        is_nullable = self.source.version in field.nullable
        if nullable_as_default and isinstance(field.kind, type) and not field.is_array:
            is_nullable = False  # a tagged struct is None when it is not there at all
        if field.is_array:
            self.array(field.kind, value, is_nullable)
        elif isinstance(field.kind, type):
            assert not is_nullable, f"{field.name}: a nullable struct is not supported"
            self.flush()
            self.add(f"encode_{field.kind.__name__}({value}, w)")
        else:
            self.scalar(field.kind, value, is_nullable)

    def scalar(self, kind: Kind, value: str, is_nullable: bool) -> None:
        """Write a scalar that is the value of an expression."""
        if kind is Kind.UUID:
            self.pending.append((kind.value, f"{value}.bytes"))
        elif kind in FIXED:
            self.pending.append((kind.value, value))
        elif kind is Kind.STRING and self.source.is_flexible:
            self.flush()
            if is_nullable:
                self.add(f"s = {value}", 'w(b"\\0" if s is None else compact_string(s))')
            else:
                self.add(f"w(compact_string({value}))")
        else:
            self.sized(kind, value, is_nullable)

    def sized(self, kind: Kind, value: str, is_nullable: bool) -> None:
        """Write a length and then the bytes: all but compact strings."""
        if is_nullable:
            self.flush()
            null = {True: "\\0", False: "\\xff" * (2 if kind is Kind.STRING else 4)}
            self.add(
                f"s = {value}",
                "if s is None:",
                f'    w(b"{null[self.source.is_flexible]}")',
                "else:",
            )
            self.indent += "    "
            value = "s"
        size = "len(s)"
        if kind is Kind.STRING:
            self.add(f"s = {value}.encode()")
        else:
            self.add(f"s = {value}")
            if kind is Kind.RECORDS:
                size = "size_of(s)"
        if self.source.is_flexible:
            self.flush()
            self.add(f"w(varint({size} + 1))")
        else:
            self.pending.append(("h" if kind is Kind.STRING else "i", size))
            self.flush()
        self.add("w(s)")
        self.indent = "    "

    def array(self, kind: Kind | type, value: str, is_nullable: bool) -> None:
        """Write the count of elements and then each of them."""
        source = self.source
        self.flush()
        self.add(f"a = {value}")
        if is_nullable:
            null = "\\0" if source.is_flexible else "\\xff\\xff\\xff\\xff"
            self.add("if a is None:", f'    w(b"{null}")', "else:")
            self.indent += "    "
        if isinstance(kind, Kind) and kind in INTEGERS:
            source.names[kind.name] = INTEGERS[kind]
            self.add(f"w({kind.name}.{'compact' if source.is_flexible else 'plain'}(a))")
        else:
            if source.is_flexible:
                self.add("w(varint(len(a) + 1))")
            else:
                self.pending.append(("i", "len(a)"))
                self.flush()
            self.add("for x in a:")
            if isinstance(kind, type):
                self.add(f"    encode_{kind.__name__}(x, w)")
            elif kind is Kind.STRING and source.is_flexible:
                self.add("    w(compact_string(x))")
            else:
                assert kind is Kind.STRING, f"an array of {kind.name} is not supported"
                self.add("    s = x.encode()", f"    w({source.packer('h')}(len(s)))", "    w(s)")
        self.indent = "    "

    def tagged_section(self, cls: type, tagged: list[Field]) -> None:
        """Write the tagged fields that do not hold their default."""
        if not tagged:
            self.pending.append(("x", ""))
            return
        self.flush()
        self.add("t = []")
        for field in sorted(tagged, key=lambda field: field.tag or 0):
            default = f"default_{cls.__name__}_{field.name}"
            absent = f"m.{field.name} is None"
            self.source.names[default] = (
                field.default if field.default_factory is None else field.default_factory()
            )
            if isinstance(field.kind, type) and not field.is_array:
                self.source.names[default] = field.kind()
                condition = f"not ({absent} or m.{field.name} == {default})"
            else:
                condition = f"m.{field.name} != {default}"
            self.add(
                f"if {condition}:",
                f"    t.append(({field.tag}, encode_{cls.__name__}_{field.name}))",
            )
        self.add('w(tagged_section(t, m) if t else b"\\0")')
