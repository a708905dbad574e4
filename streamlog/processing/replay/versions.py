"""Which version of a pipeline a name means, and what becomes of it: decided here and nowhere else.

Two kinds of names meet. A *whole name* is of a group, of its topics and of a folder of state: it
never changes. What people type is a pipeline's name, and that always means the live version, under
whatever whole name it runs by now. To mean another version they add its own name behind a dot:
`delays.v2`, or `delays.first` for the one that the pipeline began as, whose whole name is `delays`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from streamlog.processing.plan.naming import FIRST
from streamlog.processing.replay.errors import VersionRefusedError

if TYPE_CHECKING:
    from streamlog.processing.replay.registry import Registry


class Role(Enum):
    """What a version is to its pipeline."""

    LIVE = "live"
    """It is what `run` starts."""
    FORMER = "former"
    """It was live once; nobody can run it any more."""
    REPLAY = "replay"
    """It stands beside the live one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who bears a whole name."""

    name: str
    """The whole one."""
    pipeline: str
    """As people know it."""
    version: str | None
    """Nothing for a pipeline that still is what it began as."""
    role: Role

    @property
    def full(self) -> str:
        """What means this version, also once another one is live."""
        return self.pipeline if self.version is None else f"{self.pipeline}.{self.version}"

    @property
    def called(self) -> str:
        """What people call it now."""
        return self.pipeline if self.role is Role.LIVE else self.full

    def answers_to(self, typed: str) -> bool:
        """Whether this version is meant by what people type."""
        return typed in (self.full, self.called)

    @property
    def in_words(self) -> str:
        """The version and what it is.

        >>> Identity("delays.v2", "delays", "v2", Role.LIVE).in_words
        'v2, live'
        """
        return self.role.value if self.version is None else f"{self.version}, {self.role.value}"


def identify(registry: Registry, name: str) -> Identity:
    """Returns who bears a whole name."""
    for pipeline, live in registry.pipelines().items():
        if name == live.runs_as:
            return _identity(name, pipeline, Role.LIVE)
        if name in live.retired:
            return _identity(name, pipeline, Role.FORMER)
    note = registry.version(name)
    if note is not None and note.pipeline != name:
        return _identity(name, note.pipeline, Role.REPLAY)
    if registry.live(name).runs_as != name:
        # Whatever has the plain name by now: it is not what runs.
        return Identity(name, name, FIRST, Role.FORMER)
    return Identity(name, name, None, Role.LIVE)


def _identity(name: str, pipeline: str, role: Role) -> Identity:
    if name != pipeline:
        return Identity(name, pipeline, name.removeprefix(f"{pipeline}."), role)
    return Identity(name, pipeline, None if role is Role.LIVE else FIRST, role)


def refuse_former(registry: Registry, name: str) -> None:
    """Refuses to go on with a version that was live once: its own topics lack what it wrote then.

    Raises:
        VersionRefusedError: If it was.
    """
    identity = identify(registry, name)
    if identity.role is Role.FORMER:
        raise VersionRefusedError(
            f"{name} was live once, and has written the live topics then: what is in its own is "
            "not all that it says",
            hint=f"Replay it anew: streamlog replay FILE:{identity.pipeline} --as "
            f"{identity.version} --again",
        )


def resolve(registry: Registry, typed: str) -> Identity:
    """Returns whom people mean by what they type."""
    pipeline, _, version = typed.rpartition(".")
    if version == FIRST and pipeline and registry.live(pipeline).runs_as != pipeline:
        return identify(registry, pipeline)
    return identify(registry, registry.live(typed).runs_as)
