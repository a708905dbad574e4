"""Versions beside a live pipeline, on a broker in this event loop: replayed, compared, swapped."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent.parent / "worker"))

from live_cluster import EVENTS, PARTITIONS, Cluster, Event, Total, amount_of, cluster, key_of

from streamlog import Output, Stream, count, hopping, pipeline, sessions, sum_, tumbling
from streamlog.client.values import TopicPartition
from streamlog.doors import WorkerThreads
from streamlog.errors import RefusedError
from streamlog.processing.plan.naming import Naming
from streamlog.processing.replay.comparing import compare_outputs, find_sides
from streamlog.processing.replay.dropping import drop_version
from streamlog.processing.replay.errors import NoVersionError, VersionRefusedError
from streamlog.processing.replay.registry import Live, live_record
from streamlog.processing.replay.registry_topic import read_registry, write_registry
from streamlog.processing.replay.replaying import ReplayRequest, replay
from streamlog.processing.replay.swapping import plan_swap, swap
from streamlog.processing.replay.versions import Role, resolve
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from streamlog import Pipeline
    from streamlog.processing.replay.diff import Comparison
    from streamlog.processing.replay.registry import Version
    from streamlog.processing.replay.swapping import Swapped

SECOND = timedelta(seconds=1)


def declared(
    function: Callable[[Stream[Event]], Output], name: str = "totals"
) -> Pipeline[..., object]:
    """One pipeline, before an edit and after it: they have the same name."""
    return pipeline(name=name, idle=None)(function)


def before(events: Stream[Event]) -> Output:
    """As it runs."""
    return (
        events.key_by(key_of, name="by-key")
        .window(tumbling(SECOND), grace=SECOND)
        .aggregate(Total, events=count(), amount=sum_(amount_of), name="totals")
        .to("totals-out")
    )


def edited(events: Stream[Event]) -> Output:
    """Amounts of a key are told twice as large, and another key is left out."""
    return (
        events.filter(lambda event: event.key != "k1")
        .map(lambda event: Event(event.key, event.amount * (1 + (event.key == "k2"))))
        .key_by(key_of, name="by-key")
        .window(tumbling(SECOND), grace=SECOND)
        .aggregate(Total, events=count(), amount=sum_(amount_of), name="totals")
        .to("totals-out")
    )


LIVE, EDITED = declared(before), declared(edited)


async def run_replay(
    it: Cluster,
    again: bool = False,
    *,
    version: str = "v2",
    of: Pipeline[..., object] = EDITED,
    begins: Mapping[tuple[str, int], int] | None = None,
    ends: Mapping[tuple[str, int], int] | None = None,
    drain: bool = False,
) -> Version:
    request = ReplayRequest(version=version, begins=begins, ends=ends, again=again)
    status = RunStatus().of(of.name)
    with trio.fail_after(60):
        return await replay(of, request, it.config(drain=drain), status, trio.Event())


async def diff(
    it: Cluster, version: str = "v2", *, of: Pipeline[..., object] = EDITED
) -> Comparison:
    registry = await read_registry(it.client)
    note = registry.version(f"totals.{version}")
    assert note is not None
    live = registry.live("totals")
    sides = await find_sides(it.client, of, live.runs_as, version, note)
    with trio.fail_after(30):
        (found,) = await compare_outputs(it.client, WorkerThreads(1), sides)
    return found


async def run_swap(
    it: Cluster, *, of: Pipeline[..., object] = EDITED, tombstones: bool = False
) -> Swapped:
    status = RunStatus().of("totals")
    with trio.fail_after(60):
        return await swap(of, "v2", it.config(), status, tombstones=tombstones)


Window = tuple[str, str]
"""A key, and the start of a window."""


async def newest(it: Cluster, topic: str) -> dict[Window, tuple[int, int]]:
    """The newest results of a topic."""
    found: dict[Window, tuple[int, int]] = {}
    for key, value in await it.values(topic):
        if value is not None:
            result = json.loads(value)
            total = result["value"]
            found[(key or b"").decode(), result["start"]] = total["events"], total["amount"]
    return found


def as_edited(results: dict[Window, tuple[int, int]]) -> dict[Window, tuple[int, int]]:
    """What the edit makes of results."""
    return {
        window: (events, amount * (1 + (window[0] == "k2")))
        for window, (events, amount) in results.items()
        if window[0] != "k1"
    }


def counts(comparison: Comparison) -> tuple[int, int, int, int]:
    return comparison.same, comparison.changed, comparison.missing, comparison.extra


@asynccontextmanager
async def running(it: Cluster, of: Pipeline[..., object]) -> AsyncIterator[RunStatus]:
    """A worker beside the block."""
    status, stop = RunStatus(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_worker, (of,), it.config(until_end=False), status, stop)
        yield status
        stop.set()


async def wait_for_members(it: Cluster, group: str) -> None:
    with trio.fail_after(30):
        while True:
            found = (await it.admin.describe_groups([group])).get(group)
            if found is not None and found.members:
                return
            await trio.sleep(0.02)


async def topics(it: Cluster) -> dict[str, str]:
    return {topic.name: topic.topic_id for topic in await it.admin.list_topics()}


# Replay and diff.


async def test_a_replay_of_the_same_code_gives_the_same_and_leaves_the_live_one_alone(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(400)
        await it.run(LIVE, drain=True)
        offsets = await it.admin.group_offsets("totals")
        there, values = await topics(it), await it.values("totals-out")
        await run_replay(it, of=LIVE, drain=True)
        found = await diff(it)
        assert counts(found) == (len(values), 0, 0, 0)
        assert found.outside == 0
        assert await it.admin.group_offsets("totals") == offsets
        assert await it.values("totals-out") == values
        after = await topics(it)
        assert {name: after[name] for name in there} == there
        assert after.keys() - there.keys() == {
            "streamlog.pipelines",
            "totals-out.v2",
            "totals.v2.by-key.changelog",
            "totals.v2.by-key.repartition",
            "totals.v2.events.changelog",
        }


async def test_a_diff_finds_just_what_the_edit_changes(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(400)
        await it.run(LIVE, drain=True)
        await run_replay(it, drain=True)
        live = await newest(it, "totals-out")
        expected = as_edited(live)
        assert await newest(it, "totals-out.v2") == expected
        found = await diff(it)
        changed = sum(expected[window] != live[window] for window in expected)
        missing = len(live) - len(expected)
        assert changed > 0
        assert missing > 0
        assert counts(found) == (len(expected) - changed, changed, missing, 0)
        sample = found.sample[0]
        assert sample.result.key in (b"k1", b"k2")


async def test_windows_that_one_side_has_not_closed_are_no_difference(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(300)
        await it.run(LIVE)
        await it.send_events(300)
        await run_replay(it, of=LIVE)
        found = await diff(it)
        assert counts(found)[1:] == (0, 0, 0)
        assert found.same > 0
        assert found.outside > 0
        await it.send_events(300)
        await it.run(LIVE, drain=True)
        found = await diff(it)
        assert counts(found)[1:] == (0, 0, 0)
        assert found.outside > 0


def hops(events: Stream[Event]) -> Output:
    """Windows that overlap."""
    windows = events.key_by(key_of, name="by-key").window(hopping(SECOND, advance=SECOND / 4))
    return windows.aggregate(Total, events=count(), amount=sum_(amount_of), name="t").to("out")


def visits(events: Stream[Event]) -> Output:
    """Windows that records begin and end."""
    windows = events.key_by(key_of, name="by-key").window(sessions(SECOND / 25))
    return windows.aggregate(Total, events=count(), amount=sum_(amount_of), name="t").to("out")


@pytest.mark.parametrize("function", [hops, visits])
async def test_every_kind_of_window_is_compared_where_both_have_closed_it(
    tmp_path: Path, function: Callable[[Stream[Event]], Output]
) -> None:
    both = declared(function)
    async with cluster(tmp_path) as it:
        await it.send_events(300)
        await it.run(both)
        await it.send_events(300)
        await run_replay(it, of=both)
        found = await diff(it, of=both)
        assert counts(found)[1:] == (0, 0, 0)
        assert found.same > 10
        assert found.outside > 0
        await it.run(both)
        found = await diff(it, of=both)
        assert counts(found)[1:] == (0, 0, 0)
        assert found.same == len({*await it.values("out")})


async def test_a_part_of_the_sources_is_compared_where_it_is_complete(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(1_000)
        await it.run(LIVE, drain=True)
        begins = {(EVENTS, each): 250 for each in range(PARTITIONS)}
        ends = {(EVENTS, each): 820 for each in range(PARTITIONS)}
        note = await run_replay(it, of=LIVE, begins=begins, ends=ends, drain=True)
        assert note.begins == {EVENTS: {0: 250, 1: 250}}
        assert note.ends == {EVENTS: {0: 820, 1: 820}}
        at = await it.admin.group_offsets("totals.v2")
        assert {at[TopicPartition(EVENTS, each)].offset for each in range(PARTITIONS)} == {820}
        found = await diff(it)
        # Ten milliseconds a record: the windows of seconds 3 to 6 have all their records, and the
        # drained rest of second 8 has not; that of second 7 waits for its grace.
        first_ms = 1_000_000 // 1_000 * 1_000
        assert counts(found)[1:] == (0, 0, 0)
        whole = {
            window
            for window in await newest(it, "totals-out.v2")
            if 3 <= int(window[1][17:19]) - first_ms // 1_000 % 60 <= 6
        }
        assert found.same == len(whole) > 0
        assert found.outside > 0


async def test_a_replay_goes_on_where_it_was_and_refuses_what_it_was_not_made_of(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(200)
        begins = {(EVENTS, 0): 50}
        await run_replay(it, begins=begins)
        await it.send_events(200)
        note = await run_replay(it)
        assert note.begins == {EVENTS: {0: 50}}
        assert note.ends == {EVENTS: {0: 400, 1: 400}}
        await run_replay(it, begins=begins)
        with pytest.raises(VersionRefusedError, match=r"began elsewhere: events\[0\] at 50"):
            await run_replay(it, begins={(EVENTS, 0): 60})
        await run_replay(it, again=True, begins={(EVENTS, 0): 60}, drain=True)
        await it.send_events(10)
        with pytest.raises(VersionRefusedError, match="was drained"):
            await run_replay(it)


async def test_a_replay_that_was_stopped_is_ended_by_the_next(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(2_000)
        status, stop = RunStatus().of("totals"), trio.Event()
        request = ReplayRequest(version="v2")
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(replay, LIVE, request, it.config(drain=True), status, stop)
                while True:
                    await trio.sleep(0.001)
                    if status.records_in:
                        break
                stop.set()
        await it.send_events(100)
        shutil.rmtree(it.folder / "state")
        ends = {(EVENTS, each): 2_000 for each in range(PARTITIONS)}
        await run_replay(it, of=LIVE, ends=ends, drain=True)
        await run_replay(it, version="whole", of=LIVE, ends=ends, drain=True)
        results = await newest(it, "totals-out.v2")
        assert results == await newest(it, "totals-out.whole")
        assert len(await it.values("totals-out.v2")) >= len(results) > 0


async def test_what_no_replay_has_made_is_neither_used_nor_dropped(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run(declared(before, "totals.v2"))
        with pytest.raises(VersionRefusedError, match="no replay has made it"):
            await run_replay(it)
        with pytest.raises(NoVersionError, match="--as v2"):
            await drop_version(EDITED, "v2", (it.address,), it.folder / "state", execute=True)
        assert "totals.v2.by-key.changelog" in await topics(it)


async def test_a_live_pipeline_that_runs_meanwhile_does_not_notice(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(300)
        async with running(it, LIVE) as status:
            await wait_for_members(it, "totals")
            rebalances = status.of("totals").rebalances
            await run_replay(it)
            await it.send_events(300)
            await run_replay(it)
            assert status.of("totals").rebalances <= max(rebalances, 1)
            assert status.of("totals").failures == 0
        await it.run(LIVE, drain=True)
        await it.assert_right()


def rows_before(events: Stream[Event]) -> Output:
    """A table."""
    return events.key_by(key_of, name="by-key").count(name="counted").to("counts")


def rows_edited(events: Stream[Event]) -> Output:
    """The same, with a key left out and another half as often."""
    kept = events.filter(lambda e: e.key != "k1" and (e.key != "k2" or e.amount % 2 == 0))
    return kept.key_by(key_of, name="by-key").count(name="counted").to("counts")


async def test_of_a_table_rows_are_compared_and_those_that_are_no_more_are_ended(
    tmp_path: Path,
) -> None:
    live, edit = declared(rows_before), declared(rows_edited)
    async with cluster(tmp_path) as it:
        await it.send_events(300)
        await it.run(live)
        await run_replay(it, of=edit)
        before = dict(await it.values("counts"))
        after = dict(await it.values("counts.v2"))
        found = await diff(it, of=edit)
        assert counts(found) == (len(before) - 2, 1, 1, 0)
        swapped = await run_swap(it, of=edit)
        assert swapped.corrections["counts"].removed == 1
        assert dict(await it.values("counts")) == {**after, b"k1": None}
        await it.send_events(50)
        await it.run(edit)
        fresh = declared(rows_edited, "fresh")
        await run_replay(it, version="v9", of=fresh)
        assert dict(await it.values("counts")) == {
            **dict(await it.values("counts.v9")),
            b"k1": None,
        }


# Swap.


@pytest.mark.slow
async def test_a_swap_corrects_the_live_topic_and_the_version_goes_on_in_its_place(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(300)
        await run_replay(it)
        await it.send_events(300)
        await it.run(LIVE)
        written = len(await it.values("totals-out"))
        live = await newest(it, "totals-out")
        plan = await plan_swap(it.client, EDITED, "v2")
        assert (plan.behind, plan.is_done, plan.live_members) == (600, False, 0)
        swapped = await run_swap(it)
        (corrections,) = swapped.corrections.values()
        # Only what differs was written, and nobody can take back in a topic that is not compacted.
        differing = {w for w, total in as_edited(live).items() if total != live[w]}
        records = (await it.values("totals-out"))[written:]
        assert corrections.written == len(differing) == len(records)
        assert corrections.left == len(live) - len(as_edited(live))
        after = await newest(it, "totals-out")
        assert as_edited(live) == {w: total for w, total in after.items() if w[0] != "k1"}
        # Under the live name runs the version now, with its state: open windows go on.
        await it.send_events(300)
        await it.run(EDITED, drain=True)
        fresh = declared(edited, "fresh")
        await run_replay(it, version="v9", of=fresh, drain=True)
        results = await newest(it, "totals-out")
        expected = await newest(it, "totals-out.v9")
        assert {w: total for w, total in results.items() if w[0] != "k1"} == expected
        at = await it.admin.group_offsets("totals.v2")
        assert at[TopicPartition(EVENTS, 0)].offset == 900


async def test_a_swap_takes_results_back_where_it_is_asked_to(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(300)
        await it.run(LIVE, drain=True)
        await run_replay(it, drain=True)
        missing = (await diff(it)).missing
        assert missing
        swapped = await run_swap(it, tombstones=True)
        assert swapped.corrections["totals-out"].removed == missing
        nulls = [key for key, value in await it.values("totals-out") if value is None]
        assert nulls == [b"k1"] * missing


async def test_a_swap_waits_for_nobody_and_refuses_while_the_live_pipeline_runs(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await run_replay(it)
        async with running(it, LIVE):
            await wait_for_members(it, "totals")
            assert (await plan_swap(it.client, EDITED, "v2")).live_members == 1
            with pytest.raises(VersionRefusedError, match="totals is running, with 1 worker"):
                await run_swap(it)
        await it.run(LIVE)
        assert (await read_registry(it.client)).live("totals") == Live(runs_as="totals")


@pytest.mark.slow
@pytest.mark.parametrize("step", ["announced", "half corrected"])
async def test_a_swap_that_was_cut_short_is_finished_by_another(tmp_path: Path, step: str) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(300)
        await it.run(LIVE, drain=True)
        await run_replay(it, drain=True)
        expected = as_edited(await newest(it, "totals-out"))
        announced = Live(runs_as="totals", swapping_to="totals.v2")
        await write_registry(it.client, live_record("totals", announced))
        if step == "half corrected":
            for key, value in (await it.values("totals-out.v2"))[::2]:
                await it.send("totals-out", 0, value or b"", key=key)
        with pytest.raises(RefusedError, match="--as v2 --swap --execute"):
            await it.run(LIVE)
        with pytest.raises(VersionRefusedError, match="cannot be dropped"):
            await drop_version(EDITED, "v2", (it.address,), it.folder / "state", execute=True)
        assert (await plan_swap(it.client, EDITED, "v2")).resumes
        await run_swap(it)
        assert (await read_registry(it.client)).live("totals").runs_as == "totals.v2"
        results = await newest(it, "totals-out")
        assert {w: total for w, total in results.items() if w[0] != "k1"} == expected
        assert not [each for each in (await diff(it)).sample if each.change.value == "changed"]
        with pytest.raises(VersionRefusedError, match="already"):
            await run_swap(it)
        await it.run(EDITED)


async def test_a_worker_that_had_asked_before_a_swap_was_announced_stops(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await run_replay(it)
        await run_swap(it)
        written = await it.values("totals-out")
        # What it heard before it joined; it asks once more when it is a member.
        config = replace(it.config(drain=True), naming=Naming("totals"))
        with trio.fail_after(60), pytest.raises(RefusedError, match="Start the worker again"):
            await run_worker((LIVE,), config, RunStatus(), trio.Event())
        assert await it.admin.group_offsets("totals") == {}
        assert await it.values("totals-out") == written
        with pytest.raises(VersionRefusedError, match="is the live version"):
            await run_replay(it, of=EDITED)


async def test_a_version_that_has_been_drained_does_not_take_the_place_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run(LIVE)
        await run_replay(it, drain=True)
        with pytest.raises(VersionRefusedError, match="late for the windows"):
            await run_swap(it)


# Drop.


async def test_a_drop_says_what_goes_and_then_removes_all_of_the_version_and_nothing_else(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(200)
        await it.run(LIVE)
        there = await topics(it)
        state = it.folder / "state"
        await run_replay(it)
        plan = await drop_version(EDITED, "v2", (it.address,), state, execute=False)
        assert plan.groups == ("totals.v2",)
        assert plan.role is Role.REPLAY
        assert plan.topics["totals.v2.by-key.repartition"] > 0
        assert plan.state is not None
        assert plan.state.is_dir()
        assert "totals-out.v2" in await topics(it)
        await drop_version(EDITED, "v2", (it.address,), state, execute=True)
        assert (await topics(it)).keys() == {*there, "streamlog.pipelines"}
        assert not plan.state.exists()
        assert "totals.v2" not in {each.group for each in await it.admin.list_groups()}
        assert "totals" in {each.group for each in await it.admin.list_groups()}
        with pytest.raises(NoVersionError):
            await drop_version(EDITED, "v2", (it.address,), state, execute=True)
        await it.send_events(100)
        await it.run(LIVE, drain=True)
        await it.assert_right()


async def test_a_drop_that_was_cut_short_is_finished_by_another(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await run_replay(it)
        await it.admin.delete_groups(["totals.v2"])
        await it.admin.delete_topics(["totals.v2.by-key.changelog", "totals-out.v2"])
        state = it.folder / "state"
        plan = await drop_version(EDITED, "v2", (it.address,), state, execute=True)
        assert not plan.groups
        assert sorted(plan.topics) == [
            "totals.v2.by-key.repartition", "totals.v2.events.changelog",
        ]  # fmt: skip
        assert not [name for name in await topics(it) if ".v2" in name]
        assert (await read_registry(it.client)).versions_of("totals") == {}


async def test_a_version_is_not_dropped_while_it_runs_or_once_it_is_live(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(200)
        await run_replay(it)
        state = it.folder / "state"
        registry = await read_registry(it.client)
        note = registry.version("totals.v2")
        assert note is not None
        await run_swap(it)
        with pytest.raises(VersionRefusedError, match="cannot be dropped"):
            await drop_version(EDITED, "v2", (it.address,), state, execute=True)
        async with running(it, EDITED) as status:
            with trio.fail_after(30):
                while True:
                    await trio.sleep(0.01)
                    if status.of("totals").tasks == 2 * PARTITIONS:
                        break
            await write_registry(it.client, live_record("totals", Live(runs_as="totals")))
            with pytest.raises(VersionRefusedError, match="has 1 members"):
                await drop_version(EDITED, "v2", (it.address,), state, execute=True)


async def test_a_former_version_is_dropped_and_the_live_one_goes_on(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(200)
        await it.run(LIVE)
        state = it.folder / "state"
        with pytest.raises(VersionRefusedError, match="cannot be dropped"):
            await drop_version(EDITED, "first", (it.address,), state, execute=True)
        await run_replay(it)
        await run_swap(it)
        registry = await read_registry(it.client)
        assert resolve(registry, "totals").name == "totals.v2"
        there = await topics(it)
        # Its code has changed, and its group's offsets may have expired: the swap took a note.
        await it.admin.delete_groups(["totals"])
        plan = await drop_version(EDITED, "first", (it.address,), state, execute=False)
        assert plan.role is Role.FORMER
        assert plan.topics.keys() == {
            "totals.events.changelog", "totals.by-key.repartition", "totals.by-key.changelog",
        }  # fmt: skip
        assert await topics(it) == there
        await drop_version(EDITED, "first", (it.address,), state, execute=True)
        assert (await topics(it)).keys() == there.keys() - plan.topics.keys()
        assert plan.state is not None
        assert not plan.state.exists()
        with pytest.raises(NoVersionError):
            await drop_version(EDITED, "first", (it.address,), state, execute=True)
        assert (await read_registry(it.client)).live("totals") == Live(runs_as="totals.v2")
        written = await newest(it, "totals-out")
        await it.run(EDITED)
        assert await newest(it, "totals-out") == written


async def test_a_version_that_was_live_once_is_dropped_and_may_be_made_anew(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(100)
        await it.run(LIVE)
        await run_replay(it)
        await run_swap(it)
        await run_replay(it, version="v3")
        status = RunStatus().of("totals")
        with trio.fail_after(60):
            await swap(EDITED, "v3", it.config(), status)
        assert (await read_registry(it.client)).live("totals").retired == ("totals", "totals.v2")
        # What it wrote while it was live is not in its own topic: it cannot go on as if it was.
        with pytest.raises(VersionRefusedError, match="was live once"):
            await run_replay(it)
        with pytest.raises(VersionRefusedError, match="was live once"):
            await run_swap(it)
        await run_replay(it, again=True)
        registry = await read_registry(it.client)
        assert registry.live("totals").retired == ("totals",)
        assert resolve(registry, "totals.v2").role is Role.REPLAY
        await drop_version(EDITED, "v2", (it.address,), it.folder / "state", execute=True)
        await it.run(EDITED)
