"""The tree of nodes inside one LMDB transaction: pure bookkeeping, on whichever thread owns it.

Nodes are laid out as directory entries are. Every node has a number, its entry's key is its
parent's number and its own name, and its entry holds its number, its version and its value:

    nodes:  parent number (8 bytes, big endian) | name   ->  number (8) | version (8) | value
    meta:   "next-number" -> 8 bytes            "format" -> 8 bytes

So a path may be as long as it likes, although LMDB's keys end at 511 bytes; children are one
range, in name order; and a parent is found, or found missing, on the way to the child. The root has
the number 0 and no entry.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, assert_never

from streamlog.broker.coordination.errors import (
    NodeExists,
    NodeMissing,
    NodeNotEmpty,
    StoreDamaged,
    VersionConflict,
)
from streamlog.broker.coordination.store import (
    Check,
    Create,
    Delete,
    DeleteTree,
    Operation,
    Put,
    Set,
    Versioned,
    split_path,
)
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
_NUMBER = struct.Struct(">Q")
_ENTRY = struct.Struct(">QQ")
_ROOT_NUMBER = 0


class LmdbTree:
    """Reads and writes nodes through one open transaction."""

    def __init__(self, transaction: Any, nodes: Any, meta: Any) -> None:  # noqa: ANN401 - lmdb has no types
        self._transaction = transaction
        self._nodes = nodes
        self._meta = meta

    def check_format(self, path: str) -> None:
        """Marks a new store with this layout's number; refuses one of another layout."""
        found = self._transaction.get(b"format", db=self._meta)
        if found is None:
            self._transaction.put(b"format", _NUMBER.pack(FORMAT), db=self._meta)
        elif found != _NUMBER.pack(FORMAT):
            raise StoreDamaged(
                f"the coordination store in {path} has layout {found.hex()}, this version of "
                f"streamlog reads layout {FORMAT}",
                hint="Start the version of streamlog that wrote it",
            )

    def get(self, path: str) -> Versioned | None:
        """Returns a node, or None if it is not there."""
        names = split_path(path)
        parent = self._number_of(names[:-1]) if names else None
        if parent is None:
            return None
        entry = self._transaction.get(_key(parent, names[-1]), db=self._nodes)
        return None if entry is None else _versioned(entry)

    def children(self, path: str) -> list[str]:
        """Returns the names of a node's children, sorted."""
        number = self._number_of(split_path(path))
        return [] if number is None else [name for name, _ in self._entries(number)]

    def walk(self, path: str) -> dict[str, Versioned]:
        """Returns a node and everything below it, by path."""
        found = {}
        node = self.get(path)
        if node is not None:
            found[path] = node
        number = self._number_of(split_path(path))
        waiting = [] if number is None else [("" if path == "/" else path, number)]
        while waiting:
            prefix, number = waiting.pop()
            for name, entry in self._entries(number):
                child = f"{prefix}/{name}"
                found[child] = _versioned(entry)
                waiting.append((child, _ENTRY.unpack_from(entry)[0]))
        return dict(sorted(found.items()))

    def apply(self, operation: Operation) -> None:
        """Does one operation; raises `VersionConflict` and leaves it to the caller to abort."""
        names = split_path(operation.path)
        if not names:
            raise UsageError("the root is not a node that can be written")
        match operation:
            case Create(path, value):
                self._write(names, path, value, must_exist=False, version=None)
            case Put(path, value):
                self._write(names, path, value, must_exist=None, version=None)
            case Set(path, value, version):
                self._write(names, path, value, must_exist=True, version=version)
            case Delete(path, version):
                self._delete(names, path, version)
            case DeleteTree(_):
                self._delete_tree(names)
            case Check(path, version):
                self._find(names, path, version)
            case _:
                assert_never(operation)

    def _write(
        self,
        names: list[str],
        path: str,
        value: bytes,
        *,
        must_exist: bool | None,
        version: int | None,
    ) -> None:
        parent = _ROOT_NUMBER
        for name in names[:-1]:
            key = _key(parent, name)
            entry = self._transaction.get(key, db=self._nodes)
            if entry is not None:
                parent = _ENTRY.unpack_from(entry)[0]
            elif must_exist:
                raise NodeMissing(path, "there is no such node")
            else:
                parent = self._add(key, b"")
        key = _key(parent, names[-1])
        entry = self._transaction.get(key, db=self._nodes)
        if entry is None:
            if must_exist:
                raise NodeMissing(path, "there is no such node")
            self._add(key, value)
            return
        if must_exist is False:
            raise NodeExists(path, "the node is there already")
        number, found = _ENTRY.unpack_from(entry)
        _check_version(path, found, version)
        self._transaction.put(key, _ENTRY.pack(number, found + 1) + value, db=self._nodes)

    def _delete(self, names: list[str], path: str, version: int | None) -> None:
        key, number = self._find(names, path, version)
        if next(self._entries(number), None) is not None:
            raise NodeNotEmpty(path, "the node has children")
        self._transaction.delete(key, db=self._nodes)

    def _delete_tree(self, names: list[str]) -> None:
        parent = self._number_of(names[:-1])
        if parent is None:
            return
        doomed = [_key(parent, names[-1])]
        while doomed:
            key = doomed.pop()
            entry = self._transaction.get(key, db=self._nodes)
            if entry is None:
                continue
            number = _ENTRY.unpack_from(entry)[0]
            doomed.extend(_key(number, name) for name, _ in self._entries(number))
            self._transaction.delete(key, db=self._nodes)

    def _find(self, names: list[str], path: str, version: int | None) -> tuple[bytes, int]:
        parent = self._number_of(names[:-1])
        key = _key(parent, names[-1]) if parent is not None else None
        entry = self._transaction.get(key, db=self._nodes) if key is not None else None
        if key is None or entry is None:
            raise NodeMissing(path, "there is no such node")
        number, found = _ENTRY.unpack_from(entry)
        _check_version(path, found, version)
        return key, number

    def _number_of(self, names: list[str]) -> int | None:
        number = _ROOT_NUMBER
        for name in names:
            entry = self._transaction.get(_key(number, name), db=self._nodes)
            if entry is None:
                return None
            number = _ENTRY.unpack_from(entry)[0]
        return number

    def _add(self, key: bytes, value: bytes) -> int:
        latest = self._transaction.get(b"next-number", db=self._meta)
        number: int = 1 if latest is None else _NUMBER.unpack(latest)[0]
        self._transaction.put(b"next-number", _NUMBER.pack(number + 1), db=self._meta)
        self._transaction.put(key, _ENTRY.pack(number, 0) + value, db=self._nodes)
        return number

    def _entries(self, number: int) -> Iterator[tuple[str, bytes]]:
        prefix = _NUMBER.pack(number)
        with self._transaction.cursor(db=self._nodes) as cursor:
            there = cursor.set_range(prefix)
            while there:
                key, entry = cursor.item()
                if not key.startswith(prefix):
                    return
                yield key[len(prefix) :].decode(), entry
                there = cursor.next()


def _key(parent: int, name: str) -> bytes:
    return _NUMBER.pack(parent) + name.encode()


def _versioned(entry: bytes) -> Versioned:
    return Versioned(entry[_ENTRY.size :], _ENTRY.unpack_from(entry)[1])


def _check_version(path: str, found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        raise VersionConflict(path, f"the node has version {found}, not {expected}")
