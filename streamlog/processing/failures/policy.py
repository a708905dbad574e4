"""What happens to a record that fails: it stops the pipeline, is left out, or tried, or set aside.

    @pipeline(on_error=retry(attempts=3, then=dead_letter()))
    def totals(orders: Annotated[Stream[Order], Topic(on_error=skip())], …)

A record fails if its bytes do not fit the type of its input, or if a function of the pipeline
raises for it. A failed record changes nothing: no state, no result, on no branch; only its event
time, if it could be read, has been seen. So the pipeline goes on as if a filter right behind the
input had left the record out.

The policy of an input (`Topic(on_error=…)`) holds for its records up to the first repartition; the
pipeline's holds for the rest, and for inputs without one of their own.

What raises when no record is to blame stops the pipeline whatever the policy: steps behind a window
that closes, or any other step that acts as time passes, whose result stands for many records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias

from streamlog.processing.declaration import (
    check_count,
    check_span,
    check_topic_name,
    plan_error,
)
from streamlog.processing.errors import PlanError

ATTEMPTS_MAX = 1_000_000
"""Beyond this nobody means a bound."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The pipeline stops with the record's address and the user's line."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The record is left out, logged and counted."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The record goes to another topic, with what went wrong as headers."""

    topic: str | None = None
    """`None`: the pipeline's, `<pipeline>.dlq`."""
    keep_order: bool = False
    """Whether later records of the same key follow it there."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The record is tried again, and its partition waits meanwhile."""

    attempts: int
    backoff_ms: int
    backoff_max_ms: int
    then: Stop | Skip | DeadLetter

    def wait_ms(self, attempts: int) -> int:
        """Returns how long to wait after so many attempts, the first one included.

        >>> policy = retry(
        ...     attempts=9, backoff=timedelta(seconds=1), backoff_max=timedelta(seconds=5)
        ... )
        >>> [policy.wait_ms(attempts) for attempts in (1, 2, 3, 4, 50)]
        [1000, 2000, 4000, 5000, 5000]
        """
        # 2**63 ms is beyond any maximum.
        return min(self.backoff_ms << min(attempts - 1, 63), self.backoff_max_ms)


Verdict: TypeAlias = Stop | Skip | DeadLetter
"""What becomes of a record in the end."""
FailurePolicy: TypeAlias = Verdict | Retry


def stop() -> Stop:
    """A record that fails stops the pipeline; so it is without a policy."""
    return Stop()


def skip() -> Skip:
    """A record that fails is left out."""
    return Skip()


def dead_letter(topic: str | None = None, *, keep_order: bool = False) -> DeadLetter:
    """A record that fails goes to another topic, as it is, with headers that say what went wrong.

    `streamlog dlq` lists such records, shows them, and sends them back once the cause is gone.

    Args:
        topic: By default `<pipeline>.dlq`; created if it is missing.
        keep_order: Later records of the same key follow the failed one, so that no record of a key
            overtakes another: they come back in order too, with `streamlog dlq retry`. Records
            without a key go alone.
    """
    return DeadLetter(None if topic is None else check_topic_name(topic), keep_order)


def retry(
    *,
    attempts: int = 5,
    backoff: timedelta = timedelta(seconds=1),
    backoff_max: timedelta = timedelta(minutes=1),
    then: Stop | Skip | DeadLetter | None = None,
) -> Retry:
    """A record whose function raises is tried again, for functions that ask others for something.

    Its partition waits, so that order is kept; other partitions go on. A record that cannot be
    decoded is not tried again, for its bytes stay what they are. After a crash or a move to another
    worker, attempts are counted anew.

    Args:
        attempts: How often it is tried in all.
        backoff: How long to wait after the first attempt; doubled after each.
        backoff_max: The longest wait.
        then: What happens after the last attempt; by default it stops the pipeline.
    """
    check_count(attempts, "retry(attempts=…)", most=ATTEMPTS_MAX, example="retry(attempts=5)")
    backoff_ms, max_ms = (
        check_span(backoff, "retry(backoff=…)"),
        check_span(backoff_max, "retry(backoff_max=…)"),
    )
    if max_ms < backoff_ms:
        raise plan_error(
            f"retry(backoff={backoff}, backoff_max={backoff_max}): the longest wait is shorter "
            "than the first",
            hint="Make backoff_max at least as long as backoff",
        )
    if then is not None and not isinstance(then, Stop | Skip | DeadLetter):
        raise plan_error(
            f"retry(then={then!r}) names nothing that may follow the last attempt",
            hint="Write: then=stop(), then=skip() or then=dead_letter()",
        )
    return Retry(attempts, backoff_ms, max_ms, then or Stop())


def verdict_of(policy: FailurePolicy) -> Verdict:
    """Returns what becomes of a record that is not tried again."""
    return policy.then if isinstance(policy, Retry) else policy


def check_policy(policy: object, where: str) -> FailurePolicy:
    """Returns a policy that the user gave.

    Raises:
        PlanError: If it is none.
    """
    if isinstance(policy, Stop | Skip | DeadLetter | Retry):
        return policy
    called = (
        " Call it: " + policy.__name__ + "()"
        if callable(policy) and hasattr(policy, "__name__")
        else ""
    )
    raise PlanError(
        f"{where}: {policy!r} is no policy for records that fail.{called}",
        hint="There are stop(), skip(), retry(…) and dead_letter()",
    )


def in_words(policy: FailurePolicy, pipeline: str) -> str:
    """Says what a policy does.

    >>> in_words(retry(attempts=3, then=dead_letter(keep_order=True)), "totals")
    'try 3 times, then to totals.dlq, order kept'
    """
    if isinstance(policy, Retry):
        return f"try {policy.attempts} times, then {in_words(policy.then, pipeline)}"
    if isinstance(policy, DeadLetter):
        return f"to {topic_of(policy, pipeline)}" + (", order kept" if policy.keep_order else "")
    return "skip" if isinstance(policy, Skip) else "stop"


def suffixed(policy: FailurePolicy, suffix: str) -> FailurePolicy:
    """Returns the policy of a version that stands beside: its dead letters go elsewhere."""
    if isinstance(policy, Retry):
        return replace(policy, then=_suffixed_verdict(policy.then, suffix))
    return _suffixed_verdict(policy, suffix)


def _suffixed_verdict(verdict: Verdict, suffix: str) -> Verdict:
    if isinstance(verdict, DeadLetter) and verdict.topic is not None:
        return replace(verdict, topic=verdict.topic + suffix)
    return verdict


def topic_of(policy: FailurePolicy, pipeline: str) -> str | None:
    """Returns the topic of dead letters that a policy needs, if it does."""
    verdict = verdict_of(policy)
    if not isinstance(verdict, DeadLetter):
        return None
    return verdict.topic or dead_letters_of(pipeline)


def dead_letters_of(name: str) -> str:
    """Returns the topic of dead letters of what runs under a name, if it names no other."""
    return f"{name}.dlq"


def retry_group(topic: str) -> str:
    """Returns the group that remembers which dead letters of a topic were sent back."""
    return f"{topic}.retry"
