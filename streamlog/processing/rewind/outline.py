"""A pipeline's outline: who writes what whose tasks read. A rewind needs no more of a plan.

Each task's state keeps a copy of it, so that a pipeline can be rewound, and its state be read,
without the file that declares it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from streamlog.processing.plan.plan import Plan


class SubOutline(msgspec.Struct, frozen=True, kw_only=True):
    """A sub-topology, as a rewind sees it."""

    name: str
    input_topics: tuple[str, ...]
    """One, or sources that are read together."""
    writer_topics: tuple[str, ...]
    """What its writers read: a writer's id is an index into these, and a partition."""
    writers: tuple[str, ...]
    """The sub-topologies that write its input, in the same order; none if it is a source."""
    changelog_topic: str

    @property
    def input_topic(self) -> str:
        """The first, which stands for all: they have equally many partitions."""
        return self.input_topics[0]


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline, as a rewind sees it."""

    name: str
    """Its group, under which it runs."""
    subs: tuple[SubOutline, ...]
    """Those upstream first."""

    @property
    def topics(self) -> list[str]:
        """All topics that its tasks read, and their changelogs."""
        return [topic for sub in self.subs for topic in (*sub.input_topics, sub.changelog_topic)]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Outline)


def outline_of(plan: Plan) -> Outline:
    """Returns a plan's outline."""
    reading = {sub.input_topics[0]: sub.name for sub in plan.sub_topologies}
    return Outline(
        name=plan.name,
        subs=tuple(
            SubOutline(
                name=sub.name,
                input_topics=sub.input_topics,
                writer_topics=sub.writer_topics,
                writers=tuple(reading[topic] for topic in sub.writer_topics),
                changelog_topic=sub.changelog_topic,
            )
            for sub in plan.sub_topologies
        ),
    )


def encode_outline(outline: Outline) -> bytes:
    """Returns the stored form."""
    return _ENCODER.encode(outline)


def decode_outline(data: bytes) -> Outline:
    """Reads the stored form; raises `msgspec.MsgspecError` if it is none."""
    return _DECODER.decode(data)
