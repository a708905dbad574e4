"""The calls of `map_async`: what a chunk asks for, and the answers, in the order of the records.

A chunk with such steps is processed twice. First only the steps on the way to them run, and note
what is to be called; the worker makes the calls, many at once; then all steps run, and each of
these takes its answer. So the order of results is that of the records, whatever took how long, and
no call is under way when a checkpoint is taken. What stands before such a step runs twice for each
record, as it does after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.dsl.nodes import AsyncMapNode


@dataclass(frozen=True, slots=True)
class Call:
    """One call to make.

    Attributes:
        node: The step.
        index: Of the record in its batch.
        key: Calls of equal keys are made one after the other.
        value: What the function takes.
    """

    node: AsyncMapNode
    index: int
    key: bytes | None
    value: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gave: a value, or what it raised at its last attempt."""

    value: Any = None
    error: Exception | None = None


class Answers:
    """The answers for one step, handed out in the order of its records."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Answer]] = []
        self._next = 0

    def fill(self, answers: Sequence[tuple[int, Answer]]) -> None:
        """Takes the answers of a batch: index of the record and answer, in their order."""
        self._waiting = list(answers)
        self._next = 0

    def take(self, index: int) -> Any:  # noqa: ANN401 (whatever the user's function returns)
        """Returns the next answer for a record; those of records before it were not wanted.

        Raises:
            Exception: What the call raised.
        """
        while self._waiting[self._next][0] < index:
            self._next += 1
        found, answer = self._waiting[self._next]
        assert found == index, "a function on the way here gave another result the second time"
        self._next += 1
        if answer.error is not None:
            raise answer.error
        return answer.value
