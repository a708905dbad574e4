"""Fetch sessions: what is said, against a model of a broker that remembers what was said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.client.consumer.fetch_session import EPOCH_MAX, FetchSession, Wanted
from streamlog.client.errors import ErrorCode
from streamlog.client.values import TopicPartition

A, B, C = (TopicPartition("t", number) for number in range(3))


def want(offset: int) -> Wanted:
    return Wanted(offset, 1_000, 0)


def test_only_changes_are_said_once_there_is_a_session() -> None:
    session = FetchSession()
    first = session.next_request({A: want(0), B: want(0)})
    assert (first.session_id, first.epoch, set(first.partitions)) == (0, 0, {A, B})
    session.answered(ErrorCode.NONE, 77)
    second = session.next_request({A: want(5), B: want(0), C: want(1)})
    assert (second.session_id, second.epoch) == (77, 1)
    assert second.partitions == {A: want(5), C: want(1)}
    session.answered(ErrorCode.NONE, 77)
    third = session.next_request({A: want(5)})
    assert (third.epoch, third.partitions, third.forgotten) == (2, {}, (B, C))


def test_a_broker_without_room_is_told_everything_each_time() -> None:
    session = FetchSession()
    for _ in range(2):
        said = session.next_request({A: want(0)})
        assert (said.session_id, said.epoch, said.partitions) == (0, 0, {A: want(0)})
        session.answered(ErrorCode.NONE, 0)


@pytest.mark.parametrize(
    ("code", "session_id"),
    [
        (ErrorCode.FETCH_SESSION_ID_NOT_FOUND, 0),
        (ErrorCode.INVALID_FETCH_SESSION_EPOCH, 77),
    ],
)
def test_after_an_error_everything_is_said_anew(code: ErrorCode, session_id: int) -> None:
    session = FetchSession()
    session.next_request({A: want(0)})
    session.answered(ErrorCode.NONE, 77)
    session.next_request({A: want(0)})
    session.answered(code, 0)
    said = session.next_request({A: want(0)})
    assert (said.session_id, said.epoch, said.partitions) == (session_id, 0, {A: want(0)})


def test_the_epoch_wraps_to_one() -> None:
    session = FetchSession()
    session.next_request({})
    session.answered(ErrorCode.NONE, 77)
    session._epoch = EPOCH_MAX
    session.answered(ErrorCode.NONE, 77)
    assert session.next_request({}).epoch == 1


offsets = st.dictionaries(st.sampled_from([A, B, C]), st.integers(0, 3).map(want))
events = st.sampled_from(["answer", "lose request", "lose answer", "evict", "refuse"])


@given(st.lists(st.tuples(offsets, events), max_size=30))
def test_the_broker_always_fetches_what_is_wanted(
    steps: list[tuple[dict[TopicPartition, Wanted], str]],
) -> None:
    session = FetchSession()
    remembered: dict[TopicPartition, Wanted] | None = None
    epoch, ids = 0, 0
    for wanted, event in steps:
        said = session.next_request(wanted)
        if event == "evict":
            remembered = None
        if event == "lose request":
            session.lost()
            continue
        if said.epoch == 0:
            remembered, epoch, ids = dict(said.partitions), 0, ids + 1
            if event == "refuse":
                remembered = None
        elif remembered is None or said.session_id != ids:
            session.answered(ErrorCode.FETCH_SESSION_ID_NOT_FOUND, 0)
            continue
        elif said.epoch != epoch:
            session.answered(ErrorCode.INVALID_FETCH_SESSION_EPOCH, 0)
            continue
        else:
            remembered.update(said.partitions)
            for each in said.forgotten:
                del remembered[each]
        fetched = said.partitions if remembered is None else remembered
        assert fetched == wanted
        epoch += 1
        if event == "lose answer":
            session.lost()
        else:
            session.answered(ErrorCode.NONE, 0 if remembered is None else ids)
