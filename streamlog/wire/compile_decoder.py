"""Turns a schema and a version into a decode function: straight-line source, compiled once.

For each struct of a message one function `decode_<Struct>(b, p, e, g)` is written: `b` is the
frame, `p` the position, `e` the end, `g` a list with what is left of the budget (`primitives.py`).
It returns the object and the position behind it. Objects are made without their constructor and
their slots set one by one; neighbouring fixed-size fields become one `unpack_from`, together with
the length of what follows.

Reading behind the end raises `struct.error` or `IndexError`, a bad string `UnicodeDecodeError`;
`codec.py` turns them into `DecodeError`. A slice would be cut short silently, so its end is
compared first.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct, calcsize
from typing import TypeAlias, cast
from uuid import UUID

from streamlog.wire.compile_encoder import FIXED, INTEGERS
from streamlog.wire.primitives import (
    STRING_SIZE_MAX,
    null_refused,
    over_budget,
    read_tag,
    skip_tags,
    too_long,
    too_many,
    varint_rest,
    wrong_tag_size,
)
from streamlog.wire.schema import Field, Kind, fields_of, schema_of

Decoder: TypeAlias = Callable[[memoryview, int, int, list[int]], tuple[object, int]]


def decoder_of(cls: type, version: int) -> Decoder:
    """The function that reads a message of this class in this version."""
    source = _Source(version, version in schema_of(cls).flexible)
    source.add_struct(cls)
    filename = f"<{cls.__name__} version {version}: decoder>"
    exec(compile("\n".join(source.lines), filename, "exec"), source.names)
    return cast("Decoder", source.names[f"decode_{cls.__name__}"])


def size_min(kind: Kind | type, version: int, is_flexible: bool) -> int:
    """The fewest bytes that a value takes, to judge a count before believing it."""
    if isinstance(kind, Kind):
        if kind in FIXED:
            return calcsize(">" + kind.value)
        return 1 if is_flexible else 2 if kind is Kind.STRING else 4
    size = 1 if is_flexible else 0
    for field in fields_of(kind):
        if version in field.versions and field.tag is None:
            if field.is_array:
                size += 1 if is_flexible else 4
            else:
                size += size_min(field.kind, version, is_flexible)
    return max(1, size)


class _Source:
    """The source of one message's decoder in one version, and the names that it uses."""

    def __init__(self, version: int, is_flexible: bool) -> None:
        self.version = version
        self.is_flexible = is_flexible
        self.lines: list[str] = []
        self.names: dict[str, object] = {
            "new": object.__new__,
            "UUID": UUID,
            "null_refused": null_refused,
            "over_budget": over_budget,
            "read_tag": read_tag,
            "skip_tags": skip_tags,
            "too_long": too_long,
            "too_many": too_many,
            "varint_rest": varint_rest,
            "wrong_tag_size": wrong_tag_size,
        }
        self.done: set[type] = set()

    def add_struct(self, cls: type) -> None:
        """Write the function of a struct, after those of the structs inside it."""
        if cls in self.done:
            return
        self.done.add(cls)
        self.names[cls.__name__] = cls
        fields = fields_of(cls)
        for field in fields:
            if isinstance(field.kind, type) and self.version in field.versions:
                self.add_struct(field.kind)
        body = _Body(self, cls)
        body.add(f"m = new({cls.__name__})")
        tagged = []
        for field in fields:
            if self.version not in field.versions:
                body.default(field)
            elif field.tag is not None:
                body.default(field)
                tagged.append(field)
            else:
                body.field(field, f"m.{field.name}")
        if self.is_flexible:
            body.tagged_section(tagged)
        body.flush()
        body.add("return m, p")
        self.lines += [f"def decode_{cls.__name__}(b, p, e, g):", *body.lines]

    def unpacker(self, formats: str) -> str:
        """The name of the unpacker of these formats."""
        name = "unpack_" + formats.replace("?", "T")
        self.names[name] = Struct(f">{formats}").unpack_from
        return name


class _Body:
    """The statements of one function; fixed-size values wait in `pending` to be unpacked as one."""

    def __init__(self, source: _Source, cls: type) -> None:
        self.source = source
        self.cls = cls
        self.lines: list[str] = []
        self.pending: list[tuple[str, str]] = []
        self.after: list[str] = []
        self.indent = "    "

    def add(self, *lines: str) -> None:
        self.lines += [self.indent + line for line in lines]

    def flush(self) -> None:
        """Read what is pending."""
        if not self.pending:
            return
        formats = "".join(code for code, _ in self.pending)
        targets = ", ".join(target for _, target in self.pending)
        if formats == "B":
            self.add(f"{targets} = b[p]", "p += 1")
        else:
            comma = "," if len(self.pending) == 1 else ""
            self.add(
                f"{targets}{comma} = {self.source.unpacker(formats)}(b, p)",
                f"p += {calcsize('>' + formats)}",
            )
        self.add(*self.after)
        self.pending = []
        self.after = []

    def default(self, field: Field) -> None:
        """Set a field that the version does not carry, or that may come as a tagged field."""
        if field.default_factory is not None:
            name = f"new_{self.cls.__name__}_{field.name}"
            self.source.names[name] = field.default_factory
            self.add(f"m.{field.name} = {name}()")
        else:
            name = f"default_{self.cls.__name__}_{field.name}"
            self.source.names[name] = field.default
            self.add(f"m.{field.name} = {name}")

    def field(self, field: Field, target: str) -> None:
        """Read one field into the target."""
        what = f"{self.cls.__name__}.{field.name}"
        is_nullable = self.source.version in field.nullable
        if field.is_array:
            self.array(field.kind, target, is_nullable, what)
        elif isinstance(field.kind, type):
            self.flush()
            self.add(f"{target}, p = decode_{field.kind.__name__}(b, p, e, g)")
        elif field.kind is Kind.UUID:
            self.pending.append((field.kind.value, "u"))
            self.after.append(f"{target} = UUID(bytes=u)")
            self.flush()
        elif field.kind in FIXED:
            self.pending.append((field.kind.value, target))
        else:
            self.sized(field.kind, target, is_nullable, what)

    def length(self, code: str) -> None:
        """Read a length into `n`: -1 for null in both forms."""
        if self.source.is_flexible:
            self.pending.append(("B", "n"))
            self.flush()
            self.add("if n > 127: n, p = varint_rest(b, p, n)", "n -= 1")
        else:
            self.pending.append((code, "n"))
            self.flush()

    def refuse_null(self, target: str, is_nullable: bool, what: str) -> None:
        """Write what happens when `n` is negative, up to the `else:`."""
        if is_nullable:
            self.add(
                "if n == -1:", f"    {target} = None", f"elif n < 0: raise null_refused({what!r})"
            )
        else:
            self.add(f"if n < 0: raise null_refused({what!r})")
        self.add("else:")
        self.indent += "    "

    def sized(self, kind: Kind, target: str, is_nullable: bool, what: str) -> None:
        """Read a length and then so many bytes."""
        self.length("h" if kind is Kind.STRING else "i")
        self.refuse_null(target, is_nullable, what)
        limit = f" or n > {STRING_SIZE_MAX}" if kind is Kind.STRING else ""
        self.add("q = p + n", f"if q > e{limit}: raise too_long({what!r}, n, e - p)")
        value = {Kind.STRING: 'str(b[p:q], "utf-8")', Kind.BYTES: "bytes(b[p:q])"}
        self.add(f"{target} = {value.get(kind, 'b[p:q]')}", "p = q")
        self.indent = "    "

    def array(self, kind: Kind | type, target: str, is_nullable: bool, what: str) -> None:
        """Read a count, judge it, and then read so many elements."""
        source = self.source
        self.length("i")
        self.refuse_null(target, is_nullable, what)
        smallest = size_min(kind, source.version, source.is_flexible)
        units = 1 + len(fields_of(kind)) if isinstance(kind, type) else 1
        self.add(
            f"if n * {smallest} > e - p: raise too_many({what!r}, n, e - p)",
            f"g[0] -= n * {units}",
            f"if g[0] < 0: raise over_budget({what!r}, n)",
        )
        if isinstance(kind, Kind) and kind in INTEGERS:
            source.names[kind.name] = INTEGERS[kind]
            self.add(f"{target} = {kind.name}.read(b, p, n)", f"p += n * {smallest}")
        elif isinstance(kind, type):
            self.add(
                "a = []",
                "for _ in range(n):",
                f"    x, p = decode_{kind.__name__}(b, p, e, g)",
                "    a.append(x)",
                f"{target} = a",
            )
        else:
            self.strings(target, what)
        self.indent = "    "

    def strings(self, target: str, what: str) -> None:
        """Read the `n` strings of an array."""
        self.add("a = []", "for _ in range(n):")
        outer, self.indent = self.indent, self.indent + "    "
        self.length("h")
        self.add(
            f"if n < 0: raise null_refused({what!r})",
            "q = p + n",
            f"if q > e or n > {STRING_SIZE_MAX}: raise too_long({what!r}, n, e - p)",
            'a.append(str(b[p:q], "utf-8"))',
            "p = q",
        )
        self.indent = outer
        self.add(f"{target} = a")

    def tagged_section(self, tagged: list[Field]) -> None:
        """Read the tagged fields that are known and step over the others."""
        self.pending.append(("B", "n"))
        self.flush()
        self.add("if n:")
        self.indent += "    "
        self.add("if n > 127: n, p = varint_rest(b, p, n)")
        if not tagged:
            self.add("p = skip_tags(b, p, n, e)")
            self.indent = "    "
            return
        self.add("for _ in range(n):", "    k, p, f = read_tag(b, p, e)")
        word = "if"
        for field in tagged:
            what = f"{self.cls.__name__}.{field.name}"
            reader = f"read_{self.cls.__name__}_{field.name}"
            self.source.lines += self.tag_reader(field, reader)
            self.add(
                f"    {word} k == {field.tag}:",
                f"        m.{field.name}, p = {reader}(b, p, f, g)",
                f"        if p != f: raise wrong_tag_size({what!r})",
            )
            word = "elif"
        self.add("    else: p = f")
        self.indent = "    "

    def tag_reader(self, field: Field, name: str) -> list[str]:
        """The function that reads one tagged field's value."""
        body = _Body(self.source, self.cls)
        body.field(field, "v")
        body.flush()
        return [f"def {name}(b, p, e, g):", *body.lines, "    return v, p"]
