"""A new pipeline that begins elsewhere than at the start: chosen once, whatever happens then."""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from live_cluster import EVENTS, PARTITIONS, Cluster, cluster, totals

from streamlog.client.values import LATEST, TopicPartition
from streamlog.errors import RefusedError
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.replay.standing import last_checkpoints
from streamlog.processing.worker.beginning import settle_beginning
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.processing.worker.span import Input

PLACES = [TopicPartition(EVENTS, each) for each in range(PARTITIONS)]
CHANGELOGS = [TopicPartition("totals.events.changelog", each) for each in range(PARTITIONS)]
Offsets = dict[str, dict[int, int]]


async def ends(it: Cluster) -> dict[Input, int]:
    found = await it.admin.list_offsets(dict.fromkeys(PLACES, LATEST))
    return {place: at.offset for place, at in found.items() if at is not None}


async def settle(it: Cluster) -> Offsets:
    """As `--from end` does."""
    return await settle_beginning(it.client, totals, await ends(it))


async def send_what_is_left_out(it: Cluster) -> None:
    await it.send_events(200)
    it.expected.clear()


async def test_what_came_before_the_beginning_is_left_out(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await send_what_is_left_out(it)
        assert await settle(it) == {EVENTS: {0: 200, 1: 200}}
        await it.send_events(100)
        await it.run(drain=True)
        await it.assert_right()
        # For comparisons: a version that reads everything has more.
        note = (await read_registry(it.client)).version("totals")
        assert note is not None
        assert note.begins == {EVENTS: {0: 200, 1: 200}}


async def test_a_crash_after_the_choice_does_not_choose_anew(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await send_what_is_left_out(it)
        chosen = await settle(it)
        await it.send_events(100)
        assert await settle(it) == chosen
        await it.run()
        await it.send_events(100)
        await it.run(drain=True)
        await it.assert_right()


async def test_the_first_checkpoint_holds_the_beginning_also_if_nothing_comes(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await send_what_is_left_out(it)
        await settle(it)
        await it.run()
        metas = await last_checkpoints(it.client, CHANGELOGS)
        assert [metas[each].positions for each in CHANGELOGS] == [
            ((EVENTS, 0, 200),), ((EVENTS, 1, 200),),
        ]  # fmt: skip
        # Neither the group's offsets, which expire, nor the machine are needed any more.
        await it.admin.delete_groups(["totals"])
        shutil.rmtree(it.folder / "state")
        await it.send_events(100)
        await it.run(drain=True)
        await it.assert_right()


async def test_who_has_positions_begins_nowhere_else(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run()
        with pytest.raises(RefusedError, match=r"positions already: events\[0\] at 100") as caught:
            await settle(it)
        assert "streamlog rewind" in str(caught.value.hint)
        # Offsets of a group expire; checkpoints do not.
        await it.admin.delete_groups(["totals"])
        with pytest.raises(RefusedError, match="positions already"):
            await settle(it)
        await it.send_events(100)
        await it.run(drain=True)
        await it.assert_right()


async def test_of_two_choices_at_once_one_holds_whole(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await send_what_is_left_out(it)
        choices = [{(EVENTS, 0): at, (EVENTS, 1): at} for at in (100, 200)]
        async with trio.open_nursery() as nursery:
            for each in choices:
                nursery.start_soon(settle_beginning, it.client, totals, each)
        chosen = await settle(it)
        assert chosen in ({EVENTS: {0: 100, 1: 100}}, {EVENTS: {0: 200, 1: 200}})
        await it.run(drain=True)
        # A hundred events of each partition are a second.
        seconds = {json.loads(value or b"")["start"] for _, value in await it.values("totals-out")}
        assert seconds == ({"1970-01-01T00:16:41Z"} if chosen[EVENTS][0] == 100 else set())


async def test_one_that_runs_from_the_start_is_left_alone(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            config = it.config(until_end=False)
            nursery.start_soon(partial(run_worker, (totals,), config, RunStatus(), stop))
            await _wait_for_members(it)
            with pytest.raises(RefusedError, match="running already"):
                await settle_beginning(it.client, totals, {(EVENTS, 0): 0})
            stop.set()


async def _wait_for_members(it: Cluster) -> None:
    with trio.fail_after(30):
        while True:
            found = (await it.admin.describe_groups(["totals"])).get("totals")
            if found is not None and found.members:
                return
            await trio.sleep(0.01)
