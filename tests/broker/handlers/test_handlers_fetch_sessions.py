from __future__ import annotations

from random import Random

import pytest

from streamlog.broker.handlers.fetch_sessions import (
    EPOCH_MAX,
    UNUSED_MS_MIN,
    FetchContext,
    FetchSessionError,
    FetchSessions,
    WantedPartition,
)
from streamlog.wire.error_codes import ErrorCode


def wanted(partition: int, offset: int = 0) -> WantedPartition:
    return WantedPartition("t", partition, offset, 100, -1)


def opened(sessions: FetchSessions, *partitions: int, now_ms: int = 0) -> FetchContext:
    return sessions.open(0, 0, [wanted(index) for index in partitions], [], now_ms=now_ms)


def test_a_sessionless_fetch_keeps_nothing() -> None:
    sessions = FetchSessions(10, Random(1))
    context = sessions.open(0, -1, [wanted(0)], [], now_ms=0)
    assert (context.session_id, context.is_incremental, len(sessions)) == (0, False, 0)


def test_a_full_fetch_opens_a_session_and_the_next_ones_are_incremental() -> None:
    sessions = FetchSessions(10, Random(1))
    first = opened(sessions, 0, 1)
    assert first.session_id > 0
    assert not first.is_incremental
    second = sessions.open(first.session_id, 1, [wanted(1, 5)], [], now_ms=1)
    assert second.is_incremental
    assert [(item.partition, item.fetch_offset) for item in second.partitions] == [(0, 0), (1, 5)]


def test_partitions_can_be_added_and_forgotten() -> None:
    sessions = FetchSessions(10, Random(1))
    session = opened(sessions, 0, 1).session_id
    context = sessions.open(session, 1, [wanted(7)], [("t", 0), ("t", 99)], now_ms=1)
    assert [item.partition for item in context.partitions] == [1, 7]


def test_a_session_that_has_forgotten_everything_is_gone() -> None:
    sessions = FetchSessions(10, Random(1))
    session = opened(sessions, 0).session_id
    context = sessions.open(session, 1, [], [("t", 0)], now_ms=1)
    assert (context.session_id, context.partitions, len(sessions)) == (0, [], 0)


@pytest.mark.parametrize("epoch", [2, 3, EPOCH_MAX])
def test_an_epoch_out_of_turn_is_refused(epoch: int) -> None:
    sessions = FetchSessions(10, Random(1))
    session = opened(sessions, 0).session_id
    with pytest.raises(FetchSessionError) as caught:
        sessions.open(session, epoch, [], [], now_ms=1)
    assert caught.value.code is ErrorCode.INVALID_FETCH_SESSION_EPOCH


def test_the_epoch_wraps_to_one() -> None:
    sessions = FetchSessions(10, Random(1))
    context = opened(sessions, 0)
    assert context.session is not None
    context.session.epoch = EPOCH_MAX
    sessions.open(context.session_id, EPOCH_MAX, [], [], now_ms=1)
    sessions.open(context.session_id, 1, [], [], now_ms=1)


@pytest.mark.parametrize("epoch", [0, -1])
def test_a_session_can_be_closed_or_begun_anew(epoch: int) -> None:
    sessions = FetchSessions(10, Random(1))
    session = opened(sessions, 0).session_id
    context = sessions.open(session, epoch, [wanted(3)], [], now_ms=1)
    assert [item.partition for item in context.partitions] == [3]
    assert context.session_id != session
    with pytest.raises(FetchSessionError) as caught:
        sessions.open(session, 1, [], [], now_ms=1)
    assert caught.value.code is ErrorCode.FETCH_SESSION_ID_NOT_FOUND


def test_sessions_are_bounded_and_an_unused_one_makes_room() -> None:
    sessions = FetchSessions(2, Random(1))
    old = opened(sessions, 0, now_ms=0).session_id
    used = opened(sessions, 1, now_ms=0).session_id
    sessions.open(used, 1, [], [], now_ms=UNUSED_MS_MIN)
    assert opened(sessions, 2, now_ms=UNUSED_MS_MIN - 1).session_id == 0
    assert opened(sessions, 2, now_ms=UNUSED_MS_MIN).session_id > 0
    assert len(sessions) == 2
    with pytest.raises(FetchSessionError):
        sessions.open(old, 1, [], [], now_ms=UNUSED_MS_MIN)
    sessions.open(used, 2, [], [], now_ms=UNUSED_MS_MIN)


def test_an_error_is_told_and_so_is_the_success_after_it() -> None:
    item = wanted(0)
    assert item.is_news(size=0, error_code=0, high_watermark=5, log_start_offset=0)
    assert not item.is_news(size=0, error_code=0, high_watermark=5, log_start_offset=0)
    assert item.is_news(size=0, error_code=3, high_watermark=-1, log_start_offset=-1)
    assert item.is_news(size=0, error_code=0, high_watermark=5, log_start_offset=0)
    assert item.is_news(size=9, error_code=0, high_watermark=5, log_start_offset=0)
    assert item.is_news(size=0, error_code=0, high_watermark=5, log_start_offset=2)


def test_a_partition_with_data_queues_behind_the_others() -> None:
    sessions = FetchSessions(10, Random(1))
    context = opened(sessions, 0, 1, 2)
    assert context.session is not None
    context.session.move_to_end([("t", 0), ("t", 9)])
    after = sessions.open(context.session_id, 1, [], [], now_ms=1)
    assert [item.partition for item in after.partitions] == [1, 2, 0]
