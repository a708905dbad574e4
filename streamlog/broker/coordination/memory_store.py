"""A `MetadataStore` in memory: for tests, simulation and whatever need not survive.

It passes the same suite as the real stores. A simulation cannot use threads, and this has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import trio

from streamlog.broker.coordination.errors import (
    NodeExists,
    NodeMissing,
    NodeNotEmpty,
    VersionConflict,
)
from streamlog.broker.coordination.store import (
    ROOT,
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
    from collections.abc import Mapping, Sequence


class MemoryStore:
    """Keeps all nodes in a dictionary by path."""

    def __init__(self) -> None:
        self._nodes: dict[str, Versioned] = {}

    async def get(self, path: str) -> Versioned | None:
        """Returns a node, or None if it is not there."""
        split_path(path)
        await trio.lowlevel.checkpoint()
        return self._nodes.get(path)

    async def children(self, path: str) -> list[str]:
        """Returns the names of a node's children, sorted; none if the node is not there."""
        await trio.lowlevel.checkpoint()
        return _children(self._nodes, path)

    async def tree(self, path: str) -> Mapping[str, Versioned]:
        """Returns a node and all below it by path, sorted, as they are at one moment."""
        await trio.lowlevel.checkpoint()
        return {at: self._nodes[at] for at in sorted(self._nodes) if _is_within(at, path)}

    async def create(self, path: str, value: bytes = b"") -> None:
        """Makes a node and its missing parents; raises `NodeExists`."""
        await self.transact([Create(path, value)])

    async def set(self, path: str, value: bytes, version: int | None = None) -> int:
        """Replaces a node's value and returns its new version; raises `VersionConflict`."""
        self._apply([Set(path, value, version)])
        written = self._nodes[path].version
        await trio.lowlevel.cancel_shielded_checkpoint()
        return written

    async def delete(self, path: str, version: int | None = None) -> None:
        """Removes a node without children; raises `VersionConflict`."""
        await self.transact([Delete(path, version)])

    async def transact(self, operations: Sequence[Operation]) -> None:
        """Does all operations in their order, or none and raises `VersionConflict`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._apply(operations)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _apply(self, operations: Sequence[Operation]) -> None:
        nodes = dict(self._nodes)
        for operation in operations:
            _apply(nodes, operation)
        self._nodes = nodes


def _apply(nodes: dict[str, Versioned], operation: Operation) -> None:
    if not split_path(operation.path):
        raise UsageError("the root is not a node that can be written")
    match operation:
        case Create(path, value):
            if path in nodes:
                raise NodeExists(path, "the node is there already")
            _put(nodes, path, value)
        case Put(path, value):
            _put(nodes, path, value)
        case Set(path, value, version):
            _find(nodes, path, version)
            _put(nodes, path, value)
        case Delete(path, version):
            _find(nodes, path, version)
            if _children(nodes, path):
                raise NodeNotEmpty(path, "the node has children")
            del nodes[path]
        case DeleteTree(path):
            for doomed in [at for at in nodes if _is_within(at, path)]:
                del nodes[doomed]
        case Check(path, version):
            _find(nodes, path, version)
        case _:
            assert_never(operation)


def _put(nodes: dict[str, Versioned], path: str, value: bytes) -> None:
    names = split_path(path)
    for depth in range(1, len(names)):
        nodes.setdefault("/" + "/".join(names[:depth]), Versioned(b"", 0))
    known = nodes.get(path)
    nodes[path] = Versioned(bytes(value), known.version + 1 if known else 0)


def _find(nodes: dict[str, Versioned], path: str, version: int | None) -> None:
    node = nodes.get(path)
    if node is None:
        raise NodeMissing(path, "there is no such node")
    if version is not None and node.version != version:
        raise VersionConflict(path, f"the node has version {node.version}, not {version}")


def _children(nodes: dict[str, Versioned], path: str) -> list[str]:
    depth = len(split_path(path))
    within = [split_path(at) for at in nodes if at != path and _is_within(at, path)]
    return sorted({names[depth] for names in within})


def _is_within(path: str, top: str) -> bool:
    return top == ROOT or path == top or path.startswith(top + "/")
