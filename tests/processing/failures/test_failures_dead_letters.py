"""The headers of dead letters: what is written is read, and a record comes back as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.processing.errors import FunctionFailure, UndecodableFailure
from streamlog.processing.failures.dead_letters import (
    ERRORS,
    MESSAGE_CHARS_MAX,
    STACKTRACE_CHARS_MAX,
    Cause,
    Returned,
    cause_of,
    headers_back,
    headers_with,
    read_cause,
    read_return,
    users_trace,
)

if TYPE_CHECKING:
    from types import TracebackType

texts = st.text(st.characters(codec="utf-8"), max_size=20)
counts = st.integers(0, 2**62)
causes = st.builds(
    Cause,
    topic=st.text("ab.-", min_size=1, max_size=8),
    partition=st.integers(0, 2**31 - 1),
    offset=counts,
    pipeline=texts,
    task=texts,
    step=texts,
    location=texts,
    exception_class=texts,
    exception_message=texts,
    exception_stacktrace=texts,
    attempts=counts,
    time=texts,
    behind=st.none() | counts,
)
headers = st.lists(
    st.tuples(st.text("xyz", max_size=4), st.none() | st.binary(max_size=8)), max_size=4
).map(tuple)


@given(causes, headers)
def test_what_is_written_is_read_and_comes_back(
    cause: Cause, own: tuple[tuple[str, bytes | None], ...]
) -> None:
    letter = headers_with(cause, own)
    assert read_cause(letter) == cause
    assert letter[: len(own)] == own
    back = headers_back(cause, letter)
    assert back[: len(own)] == own
    assert read_return(back) == Returned(cause.pipeline, cause.offset, 1)
    assert read_cause(back) is None
    # It fails again, elsewhere: its identity stays.
    later = Cause(topic=cause.topic, partition=0, offset=cause.offset + 9, pipeline="p")
    again = headers_back(later, headers_with(later, back))
    assert again[: len(own)] == own
    assert read_return(again) == Returned("p", cause.offset, 2)
    assert len(again) == len(back)


@given(
    st.lists(st.tuples(st.sampled_from([ERRORS + "offset", "__streamlog.retry.offset"]), headers))
)
def test_headers_of_others_are_read_without_harm(found: list[tuple[str, object]]) -> None:
    strange = tuple((name, b"\xff\x00") for name, _ in found)
    assert read_cause(strange) is None
    assert read_return(strange) is None


def failure_of(error: Exception) -> FunctionFailure:
    try:
        try:
            raise error
        except Exception as cause:
            raise FunctionFailure(
                "step s failed", topic="t", partition=1, offset=7, step="s", location="app.py:3"
            ) from cause
    except FunctionFailure as failure:
        return failure


def test_a_cause_says_what_was_raised_and_where() -> None:
    cause = cause_of(
        failure_of(ZeroDivisionError("by zero")), "totals", "orders/1", attempts=2, now_ms=1_000
    )
    assert (cause.exception_class, cause.exception_message) == (
        "builtins.ZeroDivisionError",
        "by zero",
    )
    assert "in failure_of" in cause.exception_stacktrace
    assert cause.exception_stacktrace.endswith("ZeroDivisionError: by zero\n")
    assert (cause.time, cause.attempts, cause.task) == ("1970-01-01T00:00:01.000Z", 2, "orders/1")


def test_a_trace_is_the_users_alone() -> None:
    def divide() -> float:
        try:
            return 1 / 0
        except ZeroDivisionError as error:
            raise ValueError("no ratio") from error

    # A step of ours that calls the user's function; what led to its error in their code is told.
    inside = {"__name__": "streamlog.step", "divide": divide}
    exec(compile("def step():\n    divide()", "step.py", "exec"), inside)
    with pytest.raises(ValueError, match="no ratio") as caught:
        inside["step"]()  # type: ignore[operator]
    caught.value.__traceback__ = _behind_this_test(caught.value)
    trace = users_trace(caught.value)
    assert "step.py" not in trace
    assert trace.count("in divide") == 2
    assert "direct cause" in trace
    # An error of ours has no trace, nor is it told where it led to one of theirs.
    exec(compile("def refuse():\n    raise TypeError('no key')", "step.py", "exec"), inside)
    with pytest.raises(TypeError) as refused:
        inside["refuse"]()  # type: ignore[operator]
    refused.value.__traceback__ = _behind_this_test(refused.value)
    assert users_trace(refused.value) == ""
    caught.value.__cause__ = refused.value
    assert "no key" not in users_trace(caught.value)


def _behind_this_test(error: BaseException) -> TracebackType | None:
    assert error.__traceback__ is not None
    return error.__traceback__.tb_next


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_cause_is_kept_small(size: int) -> None:
    cause = cause_of(failure_of(ValueError("x" * size)), "p", "t/0", attempts=1, now_ms=0)
    assert len(cause.exception_message) == min(size, MESSAGE_CHARS_MAX)
    assert len(cause.exception_stacktrace) <= STACKTRACE_CHARS_MAX


def test_a_record_that_cannot_be_decoded_has_a_cause_of_its_own() -> None:
    failure = UndecodableFailure(
        "offset 7 of t cannot be read", topic="t", partition=1, offset=7, step="t", location="a:1"
    )
    cause = cause_of(failure, "p", "t/1", attempts=1, now_ms=0)
    assert cause.exception_class == "streamlog.processing.errors.UndecodableFailure"
    assert cause.exception_message == "offset 7 of t cannot be read"
