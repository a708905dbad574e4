"""The store of cluster metadata: a tree of small versioned nodes behind one port.

Topics, their settings, consumer groups and committed offsets live in it. The shape is ZooKeeper's,
because a cluster keeps them there: absolute paths, a value and a version per node, children in name
order, and transactions that happen whole or not at all. What differs is chosen so that an embedded
store and ZooKeeper can both do it: parents appear by themselves, and there are no watches.

Versions: a node is born with version 0 and each write adds one. `Set`, `Delete` and `Check` take
the version that the writer last saw; if another was quicker, the whole transaction is refused
with `VersionConflict`. `version=None` means "whatever it is".

Durability: when `transact` (or one of its short forms) returns, the change is on disk. If it
raises `VersionConflict`, nothing was done. If it is cancelled or raises anything else, the change
may or may not have been done, as with any write.

Order: transactions apply in the order in which `transact` was called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import quote, unquote

from streamlog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME_BYTES_MAX = 480
"""The longest name of a node: LMDB's keys take 511 bytes, of which the store needs a few."""

ROOT = "/"


@dataclass(frozen=True, slots=True)
class Versioned:
    """A node's value and how often it was written since it was created."""

    value: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Create:
    """Makes a node, and its parents where missing; refused if it is there."""

    path: str
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class Set:
    """Replaces the value of a node that is there."""

    path: str
    value: bytes
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Writes a node whether it is there or not, and makes its parents where missing."""

    path: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes a node that is there and has no children."""

    path: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteTree:
    """Removes a node with everything below it; fine if it is not there."""

    path: str


@dataclass(frozen=True, slots=True)
class Check:
    """Changes nothing; refuses the transaction if the node is gone or has another version."""

    path: str
    version: int


Operation: TypeAlias = Create | Set | Put | Delete | DeleteTree | Check


class MetadataStore(Protocol):
    """What every store can do; `tests/broker/coordination` holds the suite that each must pass."""

    async def get(self, path: str) -> Versioned | None:
        """Returns a node, or None if it is not there."""

    async def children(self, path: str) -> list[str]:
        """Returns the names of a node's children, sorted; none if the node is not there."""

    async def tree(self, path: str) -> Mapping[str, Versioned]:
        """Returns a node and all below it by path, sorted, as they are at one moment."""

    async def create(self, path: str, value: bytes = b"") -> None:
        """Makes a node and its missing parents; raises `NodeExists`."""

    async def set(self, path: str, value: bytes, version: int | None = None) -> int:
        """Replaces a node's value and returns its new version; raises `VersionConflict`."""

    async def delete(self, path: str, version: int | None = None) -> None:
        """Removes a node without children; raises `VersionConflict`."""

    async def transact(self, operations: Sequence[Operation]) -> None:
        """Does all operations in their order, or none and raises `VersionConflict`."""


def split_path(path: str) -> list[str]:
    """Returns the names along a path; the root has none.

    >>> split_path("/brokers/topics")
    ['brokers', 'topics']

    Raises:
        UsageError: The path is not absolute, ends in a slash, or holds an empty, relative or too
            long name.
    """
    if path == ROOT:
        return []
    if not path.startswith("/"):
        raise UsageError(f"the path {path!r} does not begin with a slash")
    names = path[1:].split("/")
    for name in names:
        if name in ("", ".", "..") or "\0" in name:
            raise UsageError(f"the path {path!r} holds the name {name!r}, which no node can have")
        if len(name.encode()) > NAME_BYTES_MAX:
            raise UsageError(f"a name in a path has more than {NAME_BYTES_MAX} bytes: {name!r}")
    return names


def join_path(*names: str) -> str:
    """Returns the path made of names that anybody may have chosen: each is escaped.

    >>> join_path("consumers", "a/b", "offsets")
    '/consumers/a%2Fb/offsets'
    """
    return "/" + "/".join(escape(name) for name in names)


def escape(name: str) -> str:
    """Returns any text as a node's name.

    >>> escape("billing.v2"), escape("a/b"), escape(".."), escape("")
    ('billing.v2', 'a%2Fb', '%2E%2E', '%')
    """
    if not name:
        return "%"
    if name in (".", ".."):
        return name.replace(".", "%2E")
    return quote(name, safe="")


def unescape(name: str) -> str:
    """Returns the text that a node's name stands for.

    >>> unescape(escape("../a b")) == "../a b"
    True
    """
    return "" if name == "%" else unquote(name, errors="strict")
