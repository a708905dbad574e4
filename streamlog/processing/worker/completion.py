"""When has a pipeline read its input to the end, with any number of workers?

Every worker decides by itself, from the log alone: from end offsets and from what the group has
committed. The sources' end offsets are read once, at the start; their sub-topologies are complete
when the group has committed that far. Committing comes last in a checkpoint, so by then everything
they wrote to their repartition topics is acknowledged, and the end offsets of those topics, read
now, are the goal of the next level; and so on down. Nobody has to know who the other workers are.

With `drain`, that is done twice. First everything is read to its end, so that every task has told
those behind it how far it is, and nobody counts a task as drained any more that was drained before
and has read on since. Only then do the tasks that read sources move time to the end, and a
sub-topology that reads sources is complete once each of its tasks has committed that too: the
markers which say so are then below the goal that the next level gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Input = tuple[str, int]
"""A topic and a partition."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What the group has committed for one input partition."""

    offset: int
    drained: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """One sub-topology, as completion sees it."""

    name: str
    inputs: tuple[Input, ...]
    upstream: tuple[str, ...]
    """The sub-topologies which write its inputs; none when it reads sources."""


class Completion:
    """Follows a pipeline to the end of its input; synchronous, told what the brokers say.

    Args:
        stages: The sub-topologies, those upstream first.
        drain: Whether time has to be moved to the end as well.
    """

    def __init__(self, stages: Sequence[Stage], *, drain: bool) -> None:
        self._stages = tuple(stages)
        self._drain = drain
        self._is_draining = False
        self._goals: dict[str, dict[Input, int]] = {}
        self._complete: set[str] = set()

    @property
    def complete(self) -> bool:
        """Whether everything was read to its end."""
        return self._all_read() and self._is_draining == self._drain

    @property
    def may_drain(self) -> bool:
        """Whether everything was read once, so that tasks which read sources may drain."""
        return self._is_draining

    def _all_read(self) -> bool:
        return len(self._complete) == len(self._stages)

    def wanted_ends(self) -> list[Input]:
        """Returns the inputs whose end offsets are needed now: their writers are complete."""
        return [
            key
            for stage in self._stages
            if stage.name not in self._goals and self._complete.issuperset(stage.upstream)
            for key in stage.inputs
        ]

    def set_ends(self, ends: Mapping[Input, tuple[int, int]]) -> None:
        """Takes the (log start, end) offsets of all that `wanted_ends` asked for."""
        for stage in self._stages:
            if stage.name not in self._goals and all(key in ends for key in stage.inputs):
                # Nothing needs to be committed for a partition that holds nothing.
                self._goals[stage.name] = {
                    key: ends[key][1] if ends[key][1] > ends[key][0] else 0 for key in stage.inputs
                }

    def pending(self) -> list[Input]:
        """Returns the inputs of sub-topologies that are not complete, where a goal is known."""
        return [
            key
            for name, goals in self._goals.items()
            if name not in self._complete
            for key, goal in goals.items()
            if goal
        ]

    def forget_deleted(self, begins: Mapping[Input, int]) -> None:
        """Takes where logs begin now: where that is behind a goal, nothing is left to be read.

        A task that has a position in front of it finds out for itself that it has missed records.
        """
        for goals in self._goals.values():
            for key in goals:
                if begins.get(key, 0) >= goals[key]:
                    goals[key] = 0

    def goal(self, key: Input) -> int | None:
        """Returns the offset up to which an input is to be read, once that is known."""
        for stage in self._stages:
            if key in stage.inputs:
                return self._goals.get(stage.name, {}).get(key)
        return None

    def update(self, committed: Mapping[Input, Committed]) -> bool:
        """Takes the group's commits; returns whether any sub-topology has become complete."""
        before = len(self._complete)
        for stage in self._stages:
            goals = self._goals.get(stage.name)
            if goals is None or stage.name in self._complete:
                continue
            must_drain = self._is_draining and not stage.upstream
            if all(
                _reached(committed.get(key), goal, must_drain=must_drain)
                for key, goal in goals.items()
            ):
                self._complete.add(stage.name)
        progress = len(self._complete) > before
        if self._all_read() and self._drain and not self._is_draining:
            self._begin_draining()
        return progress

    def _begin_draining(self) -> None:
        """Begins anew; only what is to be read of the sources stays as it was settled."""
        self._is_draining = True
        self._complete.clear()
        sources = {stage.name for stage in self._stages if not stage.upstream}
        self._goals = {name: goals for name, goals in self._goals.items() if name in sources}


def _reached(committed: Committed | None, goal: int, *, must_drain: bool) -> bool:
    if committed is None:
        return goal == 0 and not must_drain
    return committed.offset >= goal and (committed.drained or not must_drain)
