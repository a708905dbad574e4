"""What an edit would leave behind is said before anything runs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from live_cluster import EVENTS, PARTITIONS, Event, cluster, totals

from streamlog import Output, Stream, pipeline, tumbling
from streamlog.client.admin.values import NewTopic
from streamlog.errors import RefusedError
from streamlog.processing.errors import LayoutChangedError

if TYPE_CHECKING:
    from pathlib import Path

OTHERS = "others"


@pipeline(name="both")
def counted(events: Stream[Event], others: Stream[Event]) -> tuple[Output, Output]:
    """Others are counted by the keys that they have."""
    windows = others.window(tumbling(timedelta(seconds=1)))
    return events.to("passed"), windows.count(name="per-second").to("counts")


@pipeline(name="both")
def passed(events: Stream[Event], others: Stream[Event]) -> tuple[Output, Output]:
    """Others are passed on."""
    return events.to("passed"), others.to("others-passed")


@pipeline(name="both")
def alone(events: Stream[Event]) -> Output:
    """Others are not read any more."""
    return events.to("passed")


@pytest.mark.parametrize("has_state", [True, False])
async def test_an_input_with_state_right_behind_it_is_not_removed_in_silence(
    tmp_path: Path, has_state: bool
) -> None:
    async with cluster(tmp_path) as it:
        await it.admin.create_topics([NewTopic(OTHERS, 1, configs={"retention.ms": "-1"})])
        await it.send(OTHERS, 0, json.dumps({"key": "a", "amount": 1}).encode(), key=b"a")
        await it.run(counted if has_state else passed)
        if has_state:
            with pytest.raises(LayoutChangedError, match=r'in "per-second"') as refused:
                await it.run(alone)
            # What the hint says agrees to lose it.
            assert "topic delete both.others.changelog" in str(refused.value.hint)
            await it.admin.delete_topics(["both.others.changelog"])
        await it.send_events(5)
        await it.run(alone)
        assert len(await it.values("passed")) == 5 * PARTITIONS


async def test_more_partitions_are_refused_with_the_way_to_have_them(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(50)
        await it.run()
        await it.admin.create_partitions({EVENTS: PARTITIONS + 1})
        with pytest.raises(RefusedError, match="but the pipeline needs 3") as refused:
            await it.run(totals)
        assert "streamlog replay FILE:PIPELINE --as v2" in str(refused.value.hint)
