"""The shell: waiting, timers and storage on trio's clock, over a store in memory or on disk."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio
import trio.testing
from group_harness import reading

from streamlog.broker.coordination.errors import StoreDamaged, StoreFailed
from streamlog.broker.coordination.lmdb_store import open_lmdb_store
from streamlog.broker.coordination.memory_store import MemoryStore
from streamlog.broker.groups.config import DAY_MS, GroupConfig
from streamlog.broker.groups.service import GroupService, open_group_service
from streamlog.doors import WorkerThreads
from streamlog.errors import UsageError
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.delete_groups import DeleteGroupsRequest
from streamlog.wire.messages.describe_groups import DescribeGroupsRequest
from streamlog.wire.messages.heartbeat import HeartbeatRequest
from streamlog.wire.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from streamlog.wire.messages.leave_group import LeaveGroupRequest
from streamlog.wire.messages.list_groups import ListGroupsRequest
from streamlog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from streamlog.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from streamlog.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestTopic
from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from trio.testing import MockClock

    from streamlog.broker.coordination.store import MetadataStore, Operation

NONE = ErrorCode.NONE
QUICK = GroupConfig(initial_rebalance_delay_ms=0)
START_MS = 1_700_000_000_000


class Topics:
    def partition_count(self, topic: str) -> int | None:
        return {"t": 4, "u": 1}.get(topic)


class WallClock:
    """Wall time that goes with trio's clock, from some moment on."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._start_ms = start_ms

    def wall_ms(self) -> int:
        return self._start_ms + round(trio.current_time() * 1000)


@asynccontextmanager
async def service(
    store: MetadataStore, config: GroupConfig = QUICK, *, start_ms: int = START_MS
) -> AsyncIterator[GroupService]:
    async with open_group_service(
        store, WallClock(start_ms), config, topics=Topics(), rng=random.Random(7)
    ) as groups:
        yield groups


def join_request(member_id: str = "", *, instance: str | None = None) -> JoinGroupRequest:
    return JoinGroupRequest(
        group_id="g",
        session_timeout_ms=10_000,
        rebalance_timeout_ms=60_000,
        member_id=member_id,
        group_instance_id=instance,
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=reading("t"))],
    )


async def join(groups: GroupService, member_id: str = "", version: int = 3) -> JoinGroupResponse:
    return await groups.join_group(join_request(member_id), version, "c", "/host")


async def sync(groups: GroupService, joined: JoinGroupResponse) -> bytes:
    answer = await groups.sync_group(
        SyncGroupRequest(
            group_id="g",
            generation_id=joined.generation_id,
            member_id=joined.member_id,
            assignments=[
                SyncGroupRequestAssignment(
                    member_id=each.member_id, assignment=each.member_id.encode()
                )
                for each in joined.members
            ],
        ),
        4,
    )
    assert answer.error_code == NONE
    return answer.assignment


async def member(groups: GroupService) -> JoinGroupResponse:
    joined = await join(groups)
    assert joined.error_code == NONE
    assert await sync(groups, joined) == joined.member_id.encode()
    return joined


async def beat(groups: GroupService, joined: JoinGroupResponse) -> ErrorCode:
    request = HeartbeatRequest(
        group_id="g", generation_id=joined.generation_id, member_id=joined.member_id
    )
    return ErrorCode((await groups.heartbeat(request, 4)).error_code)


async def commit(
    groups: GroupService,
    offset: int,
    joined: JoinGroupResponse | None = None,
    *,
    group: str = "g",
    topic: str = "t",
) -> ErrorCode:
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=joined.generation_id if joined else -1,
        member_id=joined.member_id if joined else "",
        topics=[
            OffsetCommitRequestTopic(
                name=topic,
                partitions=[
                    OffsetCommitRequestPartition(partition_index=0, committed_offset=offset)
                ],
            )
        ],
    )
    answer = await groups.offset_commit(request, 8)
    return ErrorCode(answer.topics[0].partitions[0].error_code)


async def committed(groups: GroupService, group: str = "g", topic: str = "t") -> int:
    request = OffsetFetchRequest(
        group_id=group, topics=[OffsetFetchRequestTopic(name=topic, partition_indexes=[0])]
    )
    answer = await groups.offset_fetch(request, 7)
    return answer.topics[0].partitions[0].committed_offset


async def state(groups: GroupService) -> str:
    answer = await groups.describe_groups(DescribeGroupsRequest(groups=["g"]), 5)
    return answer.groups[0].group_state


async def test_members_wait_for_each_other(autojump_clock: MockClock) -> None:
    answers: list[JoinGroupResponse] = []
    parts: list[bytes] = []
    async with service(MemoryStore(), GroupConfig()) as groups:
        started = trio.current_time()

        async def live() -> None:
            joined = await join(groups)
            answers.append(joined)
            parts.append(await sync(groups, joined))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(live)
        assert trio.current_time() - started == pytest.approx(6)  # 3 s, and 3 more as some came
        assert {each.generation_id for each in answers} == {1}
        assert sorted(len(each.members) for each in answers) == [0, 0, 3]
        assert sorted(parts) == sorted(each.member_id.encode() for each in answers)
        assert groups.waiting_count == 0


async def test_a_silent_members_session_ends_on_time(autojump_clock: MockClock) -> None:
    async with service(MemoryStore()) as groups:
        await member(groups)
        await trio.sleep(9.99)
        assert await state(groups) == "Stable"
        await trio.sleep(0.02)
        assert await state(groups) == "Empty"


async def test_a_deadline_that_comes_up_earlier_is_met(autojump_clock: MockClock) -> None:
    async with service(MemoryStore()) as groups:
        await trio.sleep(1)  # the timer task sleeps without a deadline by now
        pending = await join(groups, version=4)
        assert pending.error_code == ErrorCode.MEMBER_ID_REQUIRED
        await trio.sleep(10.01)
        again = await join(groups, pending.member_id, version=4)
        assert again.error_code == ErrorCode.UNKNOWN_MEMBER_ID


async def test_a_client_that_hangs_up_stays_a_member(autojump_clock: MockClock) -> None:
    async with service(MemoryStore()) as groups:
        first = await member(groups)
        with trio.move_on_after(1):
            await join(groups)
        assert groups.waiting_count == 0
        again = await join(groups, first.member_id)
        assert len(again.members) == 2


@pytest.mark.parametrize(("version", "name"), [(6, ""), (7, None), (9, None)])
async def test_a_refused_join_names_no_protocol(version: int, name: str | None) -> None:
    async with service(MemoryStore()) as groups:
        answer = await join(groups, "nobody", version)
        assert answer.error_code == ErrorCode.UNKNOWN_MEMBER_ID
        assert answer.protocol_name == name


async def test_waiting_requests_are_bounded(autojump_clock: MockClock) -> None:
    config = GroupConfig(initial_rebalance_delay_ms=0, parked_max=1)
    async with service(MemoryStore(), config) as groups:
        first = await member(groups)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(join, groups)
            await trio.testing.wait_all_tasks_blocked()
            assert (await join(groups)).error_code == ErrorCode.COORDINATOR_NOT_AVAILABLE
            assert await beat(groups, first) == ErrorCode.COORDINATOR_NOT_AVAILABLE
            nursery.cancel_scope.cancel()


async def test_leaving_lets_the_others_gather_at_once(autojump_clock: MockClock) -> None:
    async with service(MemoryStore()) as groups:
        first = await member(groups)
        request = LeaveGroupRequest(group_id="g", member_id=first.member_id)
        assert (await groups.leave_group(request, 1)).error_code == NONE
        assert await state(groups) == "Empty"


# Storage.


class GatedStore(MemoryStore):
    """A store whose writes wait at a gate, and fail when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()
        self.gate.set()
        self.fails = False
        self.transactions: list[Sequence[Operation]] = []

    async def transact(self, operations: Sequence[Operation]) -> None:
        await self.gate.wait()
        if self.fails:
            raise StoreFailed("no space left on device")
        self.transactions.append(operations)
        await super().transact(operations)


async def test_a_commit_is_answered_and_seen_when_it_is_durable(autojump_clock: MockClock) -> None:
    store = GatedStore()
    async with service(store) as groups:
        store.gate = trio.Event()
        done: list[ErrorCode] = []

        async def run() -> None:
            done.append(await commit(groups, 5))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.testing.wait_all_tasks_blocked()
            assert done == []
            assert await committed(groups) == -1
            assert await store.get("/consumers/g/offsets/t/0") is None
            store.gate.set()
        assert done == [NONE]
        assert await committed(groups) == 5
        node = await store.get("/consumers/g/offsets/t/0")
        assert node is not None
        assert msgspec.json.decode(node.value)["offset"] == 5


async def test_commits_that_gather_share_a_transaction(autojump_clock: MockClock) -> None:
    store = GatedStore()
    async with service(store) as groups:
        store.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(lambda n: commit(groups, n, group=f"g{n}"), number)
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
        assert len(store.transactions) <= 2
        assert [await committed(groups, f"g{n}") for n in range(100)] == list(range(100))


async def test_a_commit_whose_client_hung_up_still_counts(autojump_clock: MockClock) -> None:
    store = GatedStore()
    async with service(store) as groups:
        store.gate = trio.Event()
        with trio.move_on_after(1):
            await commit(groups, 5)
        store.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert await committed(groups) == 5
        assert await store.get("/consumers/g/offsets/t/0") is not None


async def test_a_commit_that_cannot_be_stored_is_refused_and_not_seen(
    autojump_clock: MockClock,
) -> None:
    store = GatedStore()
    async with service(store) as groups:
        await commit(groups, 5)
        store.fails = True
        assert await commit(groups, 6) == ErrorCode.NOT_COORDINATOR
        assert await committed(groups) == 5
        store.fails = False
        assert await commit(groups, 7) == NONE
        assert await committed(groups) == 7


async def test_a_value_that_the_store_cannot_take_is_too_large(autojump_clock: MockClock) -> None:
    class Small(MemoryStore):
        async def transact(self, operations: Sequence[Operation]) -> None:
            raise UsageError("the value is too large")

    async with service(Small()) as groups:
        assert await commit(groups, 5) == ErrorCode.INVALID_COMMIT_OFFSET_SIZE


async def test_an_assignment_is_given_out_when_it_is_durable(autojump_clock: MockClock) -> None:
    store = GatedStore()
    async with service(store) as groups:
        joined = await join(groups)
        store.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sync, groups, joined)
            await trio.testing.wait_all_tasks_blocked()
            assert await state(groups) == "CompletingRebalance"
            assert await store.get("/consumers/g") is None
            store.gate.set()
        assert await state(groups) == "Stable"
        assert await store.get("/consumers/g") is not None


async def test_members_are_told_when_their_assignment_cannot_be_stored(
    autojump_clock: MockClock,
) -> None:
    store = GatedStore()
    async with service(store) as groups:
        joined = await join(groups)
        store.fails = True
        request = SyncGroupRequest(
            group_id="g", generation_id=joined.generation_id, member_id=joined.member_id
        )
        assert (await groups.sync_group(request, 4)).error_code == ErrorCode.NOT_COORDINATOR
        store.fails = False
        again = await join(groups, joined.member_id)
        assert await sync(groups, again) == joined.member_id.encode()


async def test_a_restart_keeps_generation_members_and_offsets(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with service(store) as groups:
        joined = await member(groups)
        assert await commit(groups, 5, joined) == NONE
    await trio.sleep(3600)
    async with service(store) as groups:
        assert await state(groups) == "Stable"
        assert await committed(groups) == 5
        assert await beat(groups, joined) == NONE
        assert await commit(groups, 6, joined) == NONE
        assert await sync(groups, joined) == joined.member_id.encode()
        await trio.sleep(10.01)
        assert await state(groups) == "Empty"
    async with service(store) as groups:
        assert await state(groups) == "Empty"
        assert (await member(groups)).generation_id == 3
        assert await committed(groups) == 6


async def test_a_commit_survives_on_disk(tmp_path: Path) -> None:
    live = open_lmdb_store(tmp_path / "live", WorkerThreads(1))
    async with live as store, service(store) as groups:
        joined = await member(groups)
        assert await commit(groups, 5, joined) == NONE
        # As after a power failure: only what is in the file at this moment.
        (tmp_path / "copy").mkdir()
        data = (tmp_path / "live" / "data.mdb").read_bytes()
        (tmp_path / "copy" / "data.mdb").write_bytes(data)
    copy = open_lmdb_store(tmp_path / "copy", WorkerThreads(1))
    async with copy as store, service(store) as groups:
        assert await committed(groups) == 5
        assert await beat(groups, joined) == NONE


@pytest.mark.parametrize("group", ["a/b", "..", "", "naïve\n\x1b[31m", "%2F", "x" * 480])
async def test_groups_may_have_any_name(autojump_clock: MockClock, group: str) -> None:
    store = MemoryStore()
    async with service(store) as groups:
        assert await commit(groups, 5, group=group) == NONE
    async with service(store) as groups:
        listed = await groups.list_groups(ListGroupsRequest(), 5)
        assert [each.group_id for each in listed.groups] == [group]
        assert await committed(groups, group) == 5


async def test_a_damaged_store_is_refused_by_the_nodes_path(autojump_clock: MockClock) -> None:
    for path, value in (
        ("/consumers/g", b"{"),
        ("/consumers/g/offsets/t/0", b"{}"),
        ("/consumers/g/offsets/t/x", b"{}"),
    ):
        store = MemoryStore()
        await store.create(path, value)
        with pytest.raises(StoreDamaged, match=path):
            async with service(store):
                raise AssertionError("opened")


# Deletion and expiry.


async def test_a_deleted_group_is_gone_for_good(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with service(store) as groups:
        await commit(groups, 5)
        answer = await groups.delete_groups(DeleteGroupsRequest(groups_names=["g", "nope"]), 2)
        codes = [each.error_code for each in answer.results]
        assert codes == [NONE, ErrorCode.GROUP_ID_NOT_FOUND]
        assert await store.children("/consumers") == []
        assert await committed(groups) == -1
        assert await commit(groups, 1) == NONE
    async with service(store) as groups:
        assert await committed(groups) == 1


async def test_a_commit_and_a_deletion_under_way_end_up_alike_in_memory_and_on_disk(
    autojump_clock: MockClock,
) -> None:
    store = GatedStore()
    async with service(store) as groups:
        await commit(groups, 1, group="other")
        store.gate = trio.Event()
        request = DeleteGroupsRequest(groups_names=["g"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: commit(groups, 5))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(groups.delete_groups, request, 2)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(lambda: commit(groups, 6, topic="u"))
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
        assert (await committed(groups), await committed(groups, topic="u")) == (-1, 6)
    async with service(store) as groups:
        assert (await committed(groups), await committed(groups, topic="u")) == (-1, 6)


async def test_a_groups_successor_is_stored_after_its_deletion(autojump_clock: MockClock) -> None:
    store = GatedStore()
    async with service(store) as groups:
        joined = await member(groups)
        store.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: commit(groups, 1, group="other"))
            await trio.testing.wait_all_tasks_blocked()  # the lane waits at the gate
            leave = LeaveGroupRequest(group_id="g", member_id=joined.member_id)
            await groups.leave_group(leave, 1)
            deletion = DeleteGroupsRequest(groups_names=["g"])
            nursery.start_soon(groups.delete_groups, deletion, 2)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(member, groups)
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
        assert await state(groups) == "Stable"
    async with service(store) as groups:
        assert await state(groups) == "Stable"


async def test_offsets_are_deleted_for_good(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with service(store) as groups:
        await commit(groups, 5)
        await commit(groups, 6, topic="u")
        topic = OffsetDeleteRequestTopic(
            name="t", partitions=[OffsetDeleteRequestPartition(partition_index=0)]
        )
        answer = await groups.offset_delete(OffsetDeleteRequest(group_id="g", topics=[topic]), 0)
        assert answer.topics[0].partitions[0].error_code == NONE
        assert await committed(groups) == -1
    async with service(store) as groups:
        assert (await committed(groups), await committed(groups, topic="u")) == (-1, 6)


async def test_offsets_of_deleted_topics_go(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with service(store) as groups:
        await commit(groups, 5)
        await commit(groups, 6, topic="u")
        await commit(groups, 7, group="h")
        await groups.forget_topics(["t"])
        assert [await committed(groups, each) for each in "gh"] == [-1, -1]
        assert await committed(groups, topic="u") == 6
    async with service(store) as groups:
        assert [await committed(groups, each) for each in "gh"] == [-1, -1]


async def test_old_offsets_and_empty_groups_expire(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with service(store) as groups:
        joined = await member(groups)
        await commit(groups, 5, joined)
        await commit(groups, 5, group="simple")
        assert groups.group_count == 2
        await trio.sleep(6 * DAY_MS / 1000)
        assert await committed(groups) == 5
    async with service(store) as groups:  # a restart does not make them younger
        await trio.sleep(DAY_MS / 1000 + 1200)
        assert (await committed(groups), groups.group_count) == (-1, 0)
    assert await store.children("/consumers") == []


async def test_ages_are_wall_time_whatever_the_monotonic_clock_says(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with service(store) as groups:
        joined = await member(groups)
        await commit(groups, 5, joined)
        await groups.leave_group(LeaveGroupRequest(group_id="g", member_id=joined.member_id), 1)
    week_ms = 7 * DAY_MS
    async with service(store, start_ms=START_MS + week_ms - 60_000) as groups:
        await groups.expire()
        assert await committed(groups) == 5
    async with service(store, start_ms=START_MS + week_ms) as groups:
        await groups.expire()
        assert await committed(groups) == -1


async def test_a_commit_under_way_keeps_its_group_from_expiring(autojump_clock: MockClock) -> None:
    store = GatedStore()
    async with service(store) as groups:
        store.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: commit(groups, 5))
            await trio.testing.wait_all_tasks_blocked()
            await groups.expire()
            store.gate.set()
        assert await committed(groups) == 5
    async with service(store) as groups:
        assert await committed(groups) == 5


# The end.


async def test_those_who_wait_are_answered_when_the_service_stops(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    answers: list[int] = []
    async with service(store) as groups:
        first = await member(groups)

        async def wait() -> None:
            answers.append((await join(groups)).error_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            groups.stop()
        assert answers == [ErrorCode.NOT_COORDINATOR]
        assert await beat(groups, first) == ErrorCode.COORDINATOR_NOT_AVAILABLE
        assert await commit(groups, 5, first) == ErrorCode.COORDINATOR_NOT_AVAILABLE
    async with service(store) as groups:
        assert await beat(groups, first) == NONE


async def test_leaving_stores_what_was_decided_even_when_cancelled(
    autojump_clock: MockClock,
) -> None:
    store = GatedStore()
    with trio.CancelScope() as scope:
        async with service(store) as groups, trio.open_nursery() as nursery:
            store.gate = trio.Event()
            nursery.start_soon(lambda: commit(groups, 5))
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
            scope.cancel()
    async with service(store) as groups:
        assert await committed(groups) == 5


async def test_nobody_waits_for_a_service_that_has_ended(autojump_clock: MockClock) -> None:
    async with service(MemoryStore()) as groups:
        await commit(groups, 5)
    with trio.fail_after(1):
        await groups.forget_topics(["t"])


async def test_equal_seeds_give_equal_member_ids(autojump_clock: MockClock) -> None:
    ids = []
    for _ in range(2):
        async with service(MemoryStore()) as groups:
            ids.append((await join(groups)).member_id)
    assert ids[0] == ids[1]
