"""Dead letters of a pipeline that a test drives: to look at, and to send back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.client.values import TopicPartition
from streamlog.processing.failures.dead_letters import headers_back, read_cause
from streamlog.processing.failures.returning import Letter, plan_return

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.processing.plan.plan import Plan
    from streamlog.testing.memory_log import MemoryLog


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was set aside.

    Attributes:
        key: As it was, in bytes.
        value: Likewise.
        topic: Where it stands.
        partition: Its partition there.
        offset: Its offset there.
        step: What failed; empty if it only follows another record of its key.
        exception: The class of what was raised, with its module.
        message: What it said.
        attempts: How often the record was tried.
        behind: The offset of the record that it follows, if it does.
        times_sent: How often it had been sent back before it failed.
    """

    key: bytes | None
    value: bytes | None
    topic: str
    partition: int
    offset: int
    step: str
    exception: str
    message: str
    attempts: int
    behind: int | None
    times_sent: int


class MemoryLetters:
    """The dead letters of one plan, in its log."""

    def __init__(self, plan: Plan, log: MemoryLog) -> None:
        self._topics = plan.dead_letter_topics
        self._log = log
        self._sent: dict[tuple[str, int], int] = {}

    def read(self) -> list[DeadLetter]:
        """Returns all that there are, those that were sent back as well, in the log's order."""
        return [_shown(letter) for letter in self._letters(from_start=True)]

    def send_back(self) -> int:
        """Sends back what was not sent yet, as `streamlog dlq retry` does; returns how many."""
        back = plan_return(self._letters(from_start=False))
        for place, letters in back.letters.items():
            headers = [headers_back(each.cause, each.headers) for each in letters if each.cause]
            self._log.partition(*place).append(
                [each.key for each in letters],
                [each.value for each in letters],
                [each.timestamp_ms for each in letters],
                headers,
            )
        for place, end in back.upto.items():
            self._sent[place] = end
        return back.count

    def _letters(self, *, from_start: bool) -> Iterator[Letter]:
        for topic in self._topics:
            for number, partition in enumerate(self._log.topics[topic]):
                place = TopicPartition(topic, number)
                begin = 0 if from_start else self._sent.get(place, 0)
                columns = partition.read(begin, partition.end)
                for offset, timestamp, key, value, headers in columns.rows():
                    cause = read_cause(headers)
                    yield Letter(place, offset, timestamp, key, value, headers, cause)


def _shown(letter: Letter) -> DeadLetter:
    cause = letter.cause
    assert cause is not None, f"{letter.place} holds something else than dead letters"
    return DeadLetter(
        letter.key,
        letter.value,
        cause.topic,
        cause.partition,
        cause.offset,
        cause.step,
        cause.exception_class,
        cause.exception_message,
        cause.attempts,
        cause.behind,
        letter.times_sent,
    )
