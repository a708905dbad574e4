"""What time a number of milliseconds is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamlog.processing.dsl.moments import utc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MILLISECOND
LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MILLISECOND


@given(st.integers(FIRST, LAST))
@example(FIRST)
@example(LAST)
@example(-1)
def test_every_millisecond_of_the_calendar_is_its_own(timestamp_ms: int) -> None:
    moment = utc(timestamp_ms)
    assert moment - EPOCH == timestamp_ms * MILLISECOND
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("beyond", [FIRST - 1, LAST + 1])
def test_there_is_no_time_beyond_the_calendar(beyond: int) -> None:
    with pytest.raises(OverflowError):
        utc(beyond)
