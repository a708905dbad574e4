"""Offsets of source partitions, as the registry keeps them and as the engine wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.dsl.nodes import SourceNode, SourcesNode
from streamlog.serde.nullable import NullableSerde

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.plan.plan import Plan
    from streamlog.processing.worker.span import Input

Offsets = dict[str, dict[int, int]]
"""By topic and partition."""


def nested(offsets: Mapping[Input, int]) -> Offsets:
    """Returns offsets by topic and partition.

    >>> nested({("flights", 1): 7, ("flights", 0): 3})
    {'flights': {0: 3, 1: 7}}
    """
    found: Offsets = {}
    for (topic, partition), offset in sorted(offsets.items()):
        found.setdefault(topic, {})[partition] = offset
    return found


def flat(offsets: Offsets) -> dict[Input, int]:
    """Returns offsets by input; the other way round."""
    return {
        (topic, partition): offset
        for topic, some in offsets.items()
        for partition, offset in some.items()
    }


def further(one: Offsets, other: Offsets) -> Offsets:
    """Returns the larger offset of each partition.

    >>> further({"a": {0: 3, 1: 3}}, {"a": {0: 5}})
    {'a': {0: 5, 1: 3}}
    """
    larger = flat(one)
    for key, offset in flat(other).items():
        larger[key] = max(offset, larger.get(key, offset))
    return nested(larger)


def describe(offsets: Offsets) -> str:
    """Says offsets in words.

    >>> describe({"flights": {0: 3, 1: 7}}), describe({})
    ('flights[0] at 3, flights[1] at 7', 'at the start')
    """
    return (
        ", ".join(f"{topic}[{n}] at {offset}" for (topic, n), offset in flat(offsets).items())
        or "at the start"
    )


def streams_of(plan: Plan) -> tuple[str, ...]:
    """Returns the source topics that are read as streams.

    A replay begins in the middle of these only. A table is read from its beginning whatever part
    of the streams is replayed: what held then may have been written long before.
    """
    return tuple(
        source.topic for source in sources_of(plan) if not isinstance(source.serde, NullableSerde)
    )


def sources_of(plan: Plan) -> list[SourceNode]:
    """Returns the sources of a plan, tables among them."""
    found: list[SourceNode] = []
    for sub in plan.sub_topologies:
        root = sub.entry.root
        if isinstance(root, SourceNode):
            found.append(root)
        elif isinstance(root, SourcesNode):
            found += root.sources
    return found
