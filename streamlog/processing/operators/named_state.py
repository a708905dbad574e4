"""What a processor keeps for each key: values, maps and lists under names of their own.

All of them are rows of one table. The name of a row is

    key      the record's, as `token_of` makes it, but longer ones than 128 bytes as digests
    state    4 bytes, hash of the state's name
    rest     of a map the key in it, of a list the index

What is kept is encoded when it is set and decoded when it is read: an object that was changed
after it was set, or after it was read, changes nothing here until it is set again.

A key in a map is written so that text, bytes and whole numbers sort as they do in Python; others
sort by their encoding. What a call has changed is taken back if it fails.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, MutableMapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

import msgspec

from streamlog.processing.state.row_table import NAME_SIZE_MAX, token_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.processing.state.row_table import RowTable
    from streamlog.serde.msgpack import MsgpackSerde

T = TypeVar("T")
D = TypeVar("D")
K = TypeVar("K")
V = TypeVar("V")

KEY_SIZE_MAX: Final = 128
"""Leaves room in a row's name for the keys of maps."""
NULL: Final = b"\xc0"

_LONG: Final = b"\x02"
_INDEX: Final = struct.Struct(">Q")
_ENDS: Final = struct.Struct(">QQ")
_SIGN: Final = 1 << 63
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_pair: Final = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode


def key_token(key: bytes | None) -> bytes:
    """Returns what the names of a key's rows begin with."""
    if key is None or len(key) <= KEY_SIZE_MAX:
        return token_of(key)
    return _LONG + blake2b(key, digest_size=32).digest()


class Place:
    """Where the states of a processor look: the table, and the key that it works on.

    Args:
        table: Of the states.
    """

    def __init__(self, table: RowTable) -> None:
        self._table = table
        self._token: bytes | None = None
        self._before: list[tuple[bytes, bytes | None]] = []

    def enter(self, token: bytes) -> None:
        """A call for a key begins."""
        self._token = token

    def leave(self, *, failed: bool) -> None:
        """The call is over; takes back what it did if it has failed."""
        self._token = None
        if failed:
            for name, row in reversed(self._before):
                if row is None:
                    self._table.delete(name)
                else:
                    self._table.put(name, row)
        self._before.clear()

    def prefix(self, state: bytes) -> bytes:
        """Returns what the names of a state's rows begin with."""
        if self._token is None:
            raise RuntimeError(
                "a processor's state belongs to the key of a record: use it while process or "
                "on_timer runs, and not before or after"
            )
        return self._token + state

    def get(self, name: bytes) -> bytes | None:
        """Returns a row."""
        return self._table.get(name)

    def put(self, name: bytes, row: bytes) -> None:
        """Writes a row."""
        self._before.append((name, self._table.get(name)))
        self._table.put(name, row)

    def delete(self, name: bytes) -> None:
        """Removes a row."""
        before = self._table.get(name)
        if before is not None:
            self._before.append((name, before))
            self._table.delete(name)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yields the rows whose names begin with `prefix`."""
        return self._table.scan_prefix(prefix)


class _State:
    """What all kinds of state have."""

    def __init__(self, place: Place, name: str, *serdes: MsgpackSerde[Any]) -> None:
        self._place = place
        self._name = name
        self._id = blake2b(name.encode(), digest_size=4).digest()
        self._serdes = serdes

    @property
    def _prefix(self) -> bytes:
        return self._place.prefix(self._id)

    def _dump(self, value: object) -> bytes:
        data = self._serdes[-1].encode(value)
        return NULL if data is None else data

    def _load(self, row: bytes) -> Any:  # noqa: ANN401 (of the state's type)
        return self._serdes[-1].decode(None if row == NULL else row)


class Value(_State, Generic[T]):
    """One value for each key; declared as `last: Value[float]`."""

    @overload
    def get(self) -> T | None: ...

    @overload
    def get(self, default: D) -> T | D: ...

    def get(self, default: Any = None) -> Any:
        """Returns the value, or `default` if none was set."""
        row = self._place.get(self._prefix)
        return default if row is None else self._load(row)

    def set(self, value: T) -> None:
        """Sets the value."""
        self._place.put(self._prefix, self._dump(value))

    def clear(self) -> None:
        """Removes the value."""
        self._place.delete(self._prefix)

    def __repr__(self) -> str:
        return f"<Value {self._name}>"


class Map(_State, MutableMapping[K, V]):
    """A dictionary for each key; declared as `seen: Map[str, int]`.

    Text, bytes and whole numbers come in their order, unlike in a dictionary.
    """

    def __getitem__(self, key: K) -> V:
        row = self._place.get(self._row_name(key))
        if row is None:
            raise KeyError(key)
        value: V = self._load(_decode_pair(row)[1])
        return value

    def __setitem__(self, key: K, value: V) -> None:
        name = self._row_name(key)
        self._place.put(name, _encode((self._dump_key(key), self._dump(value))))

    def __delitem__(self, key: K) -> None:
        name = self._row_name(key)
        if self._place.get(name) is None:
            raise KeyError(key)
        self._place.delete(name)

    def __contains__(self, key: object) -> bool:
        return self._place.get(self._row_name(key)) is not None

    def __iter__(self) -> Iterator[K]:
        return iter([self._load_key(_decode_pair(row)[0]) for _, row in self._rows()])

    def __len__(self) -> int:
        return len(self._rows())

    def __bool__(self) -> bool:
        return next(self._place.scan(self._prefix), None) is not None

    def clear(self) -> None:
        """Removes everything."""
        for name, _ in self._rows():
            self._place.delete(name)

    def _rows(self) -> list[tuple[bytes, bytes]]:
        return list(self._place.scan(self._prefix))

    def _row_name(self, key: object) -> bytes:
        prefix = self._prefix
        sortable = self._sortable(key)
        if len(prefix) + len(sortable) > NAME_SIZE_MAX:
            return prefix + b"z" + blake2b(sortable, digest_size=32).digest()
        return prefix + sortable

    def _sortable(self, key: object) -> bytes:
        if key.__class__ is str:
            return b"s" + key.encode()
        if key.__class__ is bytes:
            return b"b" + key
        if key.__class__ is int and -_SIGN <= key < _SIGN:
            return b"i" + _INDEX.pack(key + _SIGN)
        return b"m" + self._dump_key(key)

    def _dump_key(self, key: object) -> bytes:
        data = self._serdes[0].encode(key)
        return NULL if data is None else data

    def _load_key(self, data: bytes) -> K:
        key: K = self._serdes[0].decode(None if data == NULL else data)
        return key

    def __repr__(self) -> str:
        return f"<Map {self._name}>"


class List(_State, Sequence[T]):
    """A list for each key; declared as `recent: List[Reading]`.

    It grows at its end, and shrinks at both.
    """

    def append(self, value: T) -> None:
        """Adds a value at the end."""
        begin, end = self._ends()
        self._place.put(self._prefix + _INDEX.pack(end), self._dump(value))
        self._set_ends(begin, end + 1)

    def extend(self, values: Iterable[T]) -> None:
        """Adds values at the end."""
        for value in values:
            self.append(value)

    def pop(self) -> T:
        """Removes the last value and returns it."""
        begin, end = self._ends()
        value = self[-1]
        self._place.delete(self._prefix + _INDEX.pack(end - 1))
        self._set_ends(begin, end - 1)
        return value

    def popleft(self) -> T:
        """Removes the first value and returns it."""
        begin, end = self._ends()
        value = self[0]
        self._place.delete(self._prefix + _INDEX.pack(begin))
        self._set_ends(begin + 1, end)
        return value

    def clear(self) -> None:
        """Removes everything."""
        for name, _ in list(self._place.scan(self._prefix)):
            self._place.delete(name)

    def __len__(self) -> int:
        begin, end = self._ends()
        return end - begin

    def __iter__(self) -> Iterator[T]:
        begin, end = self._ends()
        prefix = self._prefix
        rows = [self._place.get(prefix + _INDEX.pack(index)) for index in range(begin, end)]
        return iter([self._load(row) for row in rows if row is not None])

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> Any:
        begin, end = self._ends()
        found = range(begin, end)[index]
        prefix = self._prefix
        if isinstance(found, int):
            row = self._place.get(prefix + _INDEX.pack(found))
            assert row is not None
            return self._load(row)
        rows = [self._place.get(prefix + _INDEX.pack(each)) for each in found]
        return [self._load(row) for row in rows if row is not None]

    def _ends(self) -> tuple[int, int]:
        row = self._place.get(self._prefix)
        if row is None:
            return 0, 0
        begin, end = _ENDS.unpack(row)
        return begin, end

    def _set_ends(self, begin: int, end: int) -> None:
        if begin == end:
            self._place.delete(self._prefix)
        else:
            self._place.put(self._prefix, _ENDS.pack(begin, end))

    def __repr__(self) -> str:
        return f"<List {self._name}>"
