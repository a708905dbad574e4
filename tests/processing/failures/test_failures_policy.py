"""Policies: what they are made of, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streamlog.processing.errors import (
    FunctionFailure,
    PlanError,
    RecordFailure,
    UndecodableFailure,
)
from streamlog.processing.failures.policy import (
    DeadLetter,
    Retry,
    Skip,
    Stop,
    check_policy,
    dead_letter,
    retry,
    skip,
    stop,
    topic_of,
    verdict_of,
)


def test_a_retry_ends_with_a_verdict() -> None:
    assert verdict_of(retry()) == Stop()
    assert verdict_of(retry(then=skip())) == Skip()
    assert verdict_of(stop()) == Stop()
    policy = retry(attempts=3, backoff=timedelta(milliseconds=10), then=dead_letter("bad"))
    assert policy == Retry(3, 10, 60_000, DeadLetter("bad"))


def test_dead_letters_go_to_the_pipelines_topic_or_to_another() -> None:
    assert topic_of(dead_letter(), "totals") == "totals.dlq"
    assert topic_of(retry(then=dead_letter("bad")), "totals") == "bad"
    assert topic_of(skip(), "totals") is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"attempts": 0},
        {"backoff": timedelta(seconds=-1)},
        {"backoff": timedelta(minutes=2)},
        {"then": retry()},
        {"then": skip},
    ],
)
def test_what_is_no_retry_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(PlanError, match="retry"):
        retry(**arguments)  # type: ignore[arg-type]


def test_what_is_no_policy_is_refused() -> None:
    assert check_policy(skip(), "here") == Skip()
    with pytest.raises(PlanError, match=r"app.py:3: .* Call it: skip\(\)"):
        check_policy(skip, "app.py:3")
    with pytest.raises(PlanError, match="no policy"):
        check_policy("skip", "here")
    with pytest.raises(PlanError, match="cannot name a topic"):
        dead_letter("no/slash")


def test_both_kinds_of_failures_are_one() -> None:
    for kind, code in ((FunctionFailure, 1), (UndecodableFailure, 6)):
        failure = kind("m", topic="t", partition=0, offset=1, step="s", location="f:1")
        assert isinstance(failure, RecordFailure)
        assert failure.exit_code == code
