"""Who may commit, what is fetched and deleted, what expires: rules 23 to 34, without a loop."""

from __future__ import annotations

import pytest
from group_harness import DEFAULT, NONE, Harness, reading
from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.groups.config import DAY_MS, GroupConfig
from streamlog.broker.groups.coordinator import Coordinated, Status
from streamlog.broker.groups.deadlines import Deadlines
from streamlog.broker.groups.find_coordinator import CoordinatorAddress, find_coordinator
from streamlog.broker.groups.offset_requests import (
    CommitPlan,
    Moment,
    answer_fetch,
    plan_commit,
    plan_deletion,
)
from streamlog.broker.groups.offsets import CommittedOffset, Offsets, TopicPartition
from streamlog.broker.groups.storage import StoredGroup
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.delete_groups import DeleteGroupsRequest
from streamlog.wire.messages.describe_groups import DescribeGroupsRequest
from streamlog.wire.messages.find_coordinator import FindCoordinatorRequest
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
from streamlog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
)

UNKNOWN = ErrorCode.UNKNOWN_MEMBER_ID
WALL = 1_700_000_000_000


class Topics:
    def partition_count(self, topic: str) -> int | None:
        return {"t": 4, "u": 1}.get(topic)


def commit(
    h: Harness,
    member_id: str = "",
    generation: int = -1,
    *,
    group: str = "g",
    instance: str | None = None,
    topic: str = "t",
    partition: int = 0,
    offset: int = 5,
    metadata: str | None = "",
    retention_ms: int = -1,
) -> CommitPlan:
    """Plans a commit, and carries it out as if it had been stored."""
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=generation,
        member_id=member_id,
        group_instance_id=instance,
        retention_time_ms=retention_ms,
        topics=[
            OffsetCommitRequestTopic(
                name=topic,
                partitions=[
                    OffsetCommitRequestPartition(
                        partition_index=partition,
                        committed_offset=offset,
                        committed_leader_epoch=3,
                        committed_metadata=metadata,
                    )
                ],
            )
        ],
    )
    now = Moment(monotonic_ms=h.now, wall_ms=WALL + h.now)
    plan = plan_commit(request, h.coordinator, Topics(), h.config, now)
    if plan.entry is not None:
        plan.entry.offsets.put(plan.offsets)
    return plan


def code(plan: CommitPlan) -> ErrorCode:
    return ErrorCode(plan.response.topics[0].partitions[0].error_code)


def entry(h: Harness, group: str = "g") -> Coordinated:
    found = h.coordinator.get(group)
    assert found is not None
    return found


def fetch(h: Harness, version: int = 7, *, group: str = "g", stable: bool = False) -> list[int]:
    request = OffsetFetchRequest(
        group_id=group,
        topics=[OffsetFetchRequestTopic(name="t", partition_indexes=[0, 1])],
        require_stable=stable,
    )
    answer = answer_fetch(request, version, h.coordinator)
    assert answer.error_code == NONE
    return [each.committed_offset for each in answer.topics[0].partitions]


def test_whoever_assigns_by_hand_commits_without_a_group() -> None:
    h = Harness()
    assert code(commit(h)) == NONE
    assert h.state == "Empty"
    assert fetch(h) == [5, -1]


def test_an_outsider_commits_only_to_an_empty_group() -> None:
    h = Harness()
    (member,) = h.members(1)
    assert code(commit(h)) == UNKNOWN
    h.leave(member)
    assert code(commit(h)) == NONE


def test_a_generation_needs_a_group() -> None:
    h = Harness()
    assert code(commit(h, "m", 1)) == ErrorCode.ILLEGAL_GENERATION
    assert h.coordinator.get("g") is None


def test_a_commit_is_checked_for_member_and_generation() -> None:
    h = Harness()
    first, second = h.statics("i", "j")
    assert code(commit(h, "nobody", 1)) == UNKNOWN
    assert code(commit(h, first, 1, instance="j")) == ErrorCode.FENCED_INSTANCE_ID
    assert code(commit(h, "", 1)) == UNKNOWN
    for generation in (-1, 0, 2):
        assert code(commit(h, second, generation)) == ErrorCode.ILLEGAL_GENERATION
    assert fetch(h) == [-1, -1]
    assert code(commit(h, second, 1, instance="j")) == NONE


def test_a_member_of_a_past_life_cannot_commit_to_an_empty_group() -> None:
    h = Harness()
    (member,) = h.members(1)
    h.leave(member)
    assert code(commit(h, member, 1)) == UNKNOWN


def test_a_zombie_cannot_undo_its_successors_commit() -> None:
    h = Harness()
    zombie, other = h.members(2)
    rejoined = h.join(other, protocols=[("range", b"new")])
    h.wait(10_000)
    generation = h.joined(rejoined).generation_id
    h.sync(other)
    assert code(commit(h, other, generation, offset=10)) == NONE
    assert code(commit(h, zombie, 1, offset=2)) == UNKNOWN
    assert code(commit(h, other, 1, offset=2)) == ErrorCode.ILLEGAL_GENERATION
    assert fetch(h)[0] == 10


def test_members_commit_while_they_gather_but_not_while_the_leader_computes() -> None:
    h = Harness()
    leader, follower = h.members(2)
    h.join(leader)
    assert h.state == "PreparingRebalance"
    assert code(commit(h, follower, 1)) == NONE
    h.join(follower)
    assert h.state == "CompletingRebalance"
    assert code(commit(h, follower, 2)) == ErrorCode.REBALANCE_IN_PROGRESS
    assert code(commit(h, follower, 1)) == ErrorCode.ILLEGAL_GENERATION


def test_metadata_and_topics_are_judged_by_partition() -> None:
    h = Harness()
    assert code(commit(h, metadata="x" * 4_096)) == NONE
    assert code(commit(h, metadata="x" * 4_097)) == ErrorCode.OFFSET_METADATA_TOO_LARGE
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert code(commit(h, topic="nope")) == unknown
    assert code(commit(h, partition=4)) == unknown
    assert code(commit(h, partition=-1)) == unknown
    assert code(commit(h, metadata=None, offset=6)) == NONE
    assert fetch(h)[0] == 6


def test_one_bad_partition_does_not_spoil_the_others() -> None:
    h = Harness()
    request = OffsetCommitRequest(
        group_id="g",
        topics=[
            OffsetCommitRequestTopic(
                name=name,
                partitions=[OffsetCommitRequestPartition(partition_index=i) for i in range(2)],
            )
            for name in ("t", "u")
        ],
    )
    now = Moment(monotonic_ms=0, wall_ms=WALL)
    plan = plan_commit(request, h.coordinator, Topics(), GroupConfig(), now)
    codes = [[each.error_code for each in topic.partitions] for topic in plan.response.topics]
    assert codes == [[NONE, NONE], [NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]]
    assert set(plan.offsets) == {("t", 0), ("t", 1), ("u", 0)}
    plan.fail(ErrorCode.NOT_COORDINATOR)
    codes = [[each.error_code for each in topic.partitions] for topic in plan.response.topics]
    assert codes[1] == [ErrorCode.NOT_COORDINATOR, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]


def test_groups_that_commits_make_are_bounded() -> None:
    h = Harness(groups_max=1)
    assert code(commit(h)) == NONE
    assert code(commit(h, group="other")) == ErrorCode.POLICY_VIOLATION


def test_an_empty_group_id_may_hold_offsets_and_a_too_long_one_may_not() -> None:
    h = Harness()
    assert code(commit(h, group="")) == NONE
    assert fetch(h, group="")[0] == 5
    assert code(commit(h, group="x" * 481)) == ErrorCode.INVALID_GROUP_ID
    assert fetch(h, group="x" * 481) == [-1, -1]


@pytest.mark.parametrize("version", [1, 2, 3, 5, 7])
def test_nothing_committed_is_minus_one_and_no_error(version: int) -> None:
    h = Harness()
    assert fetch(h, version) == [-1, -1]
    commit(h, partition=1)
    assert fetch(h, version) == [-1, 5]


def test_no_topics_means_all() -> None:
    h = Harness()
    commit(h, partition=2)
    commit(h, topic="u")
    answer = answer_fetch(OffsetFetchRequest(group_id="g", topics=None), 7, h.coordinator)
    found = {
        topic.name: [each.partition_index for each in topic.partitions] for topic in answer.topics
    }
    assert found == {"t": [2], "u": [0]}
    empty = answer_fetch(OffsetFetchRequest(group_id="g", topics=[]), 7, h.coordinator)
    assert empty.topics == []


def fetch_groups(h: Harness) -> OffsetFetchResponse:
    topics = [
        OffsetFetchRequestTopics(name="t", partition_indexes=[0]),
        OffsetFetchRequestTopics(name="t", partition_indexes=[1]),
    ]
    request = OffsetFetchRequest(
        groups=[
            OffsetFetchRequestGroup(group_id="g", topics=topics),
            OffsetFetchRequestGroup(group_id="g", topics=None),
            OffsetFetchRequestGroup(group_id="unknown", topics=None),
        ]
    )
    return answer_fetch(request, 8, h.coordinator)


def test_from_version_8_several_groups_are_asked_at_once() -> None:
    h = Harness()
    commit(h, metadata="note")
    some, everything, unknown = fetch_groups(h).groups
    assert [each.committed_offset for each in some.topics[0].partitions] == [5, -1]
    (only,) = everything.topics[0].partitions
    assert (only.committed_offset, only.committed_leader_epoch, only.metadata) == (5, 3, "note")
    assert (unknown.topics, unknown.error_code) == ([], NONE)


def test_a_loading_coordinator_says_so_by_group_by_request_or_by_partition() -> None:
    h = Harness()
    h.coordinator.status = Status.LOADING
    loading = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert {each.error_code for each in fetch_groups(h).groups} == {loading}
    request = OffsetFetchRequest(
        group_id="g", topics=[OffsetFetchRequestTopic(name="t", partition_indexes=[0])]
    )
    assert answer_fetch(request, 5, h.coordinator).error_code == loading
    (partition,) = answer_fetch(request, 1, h.coordinator).topics[0].partitions
    assert (partition.error_code, partition.committed_offset) == (loading, -1)
    assert code(commit(h)) == loading


def held(offset: int) -> dict[TopicPartition, CommittedOffset]:
    return {("t", 0): CommittedOffset(offset=offset, committed_at_ms=WALL)}


def test_an_offset_under_transaction_is_unstable_for_those_who_ask() -> None:
    h = Harness()
    commit(h)
    entry(h).offsets.hold(7, held(9))
    assert fetch(h) == [5, -1]
    request = OffsetFetchRequest(
        group_id="g",
        topics=[OffsetFetchRequestTopic(name="t", partition_indexes=[0, 1])],
        require_stable=True,
    )
    first, second = answer_fetch(request, 7, h.coordinator).topics[0].partitions
    assert first.error_code == ErrorCode.UNSTABLE_OFFSET_COMMIT
    assert first.committed_offset == -1
    assert second.error_code == NONE


@pytest.mark.parametrize(("committed", "seen"), [(True, 9), (False, 5)])
def test_a_transactions_offsets_count_when_it_commits(committed: bool, seen: int) -> None:
    h = Harness()
    commit(h)
    offsets = entry(h).offsets
    offsets.hold(7, held(9))
    counting = offsets.complete(7, committed=committed)
    assert bool(counting) is committed
    assert fetch(h, stable=True)[0] == seen


def test_a_commit_after_a_transactions_stays() -> None:
    offsets = Offsets()
    offsets.hold(7, held(9))
    offsets.put(held(11))
    assert offsets.complete(7, committed=True) == {}
    found = offsets.get(("t", 0))
    assert found is not None
    assert found.offset == 11


def test_older_transactional_producers_commit_without_membership() -> None:
    h = Harness()
    (member,) = h.members(1)
    check = h.group.check_commit
    assert check("", None, -1, 0, transactional=True) == NONE
    assert check("", None, -1, 0) == UNKNOWN
    assert check(member, None, 1, 0, transactional=True) == NONE
    assert check(member, None, 0, 0, transactional=True) == ErrorCode.ILLEGAL_GENERATION
    assert check("nobody", None, 1, 0, transactional=True) == UNKNOWN


# Expiry.


def expired(h: Harness) -> list[TopicPartition]:
    return h.coordinator.expired(h.now, WALL + h.now).get("g", [])


def test_a_simple_consumers_offsets_age_from_their_commits() -> None:
    h = Harness()
    commit(h)
    h.wait(3 * DAY_MS)
    commit(h, partition=1)
    h.wait(4 * DAY_MS - 1)
    assert expired(h) == []
    h.wait(1)
    assert expired(h) == [("t", 0)]


def test_an_empty_groups_offsets_age_from_when_it_became_empty() -> None:
    h = Harness()
    (member,) = h.members(1)
    commit(h, member, 1)
    for _ in range(10):
        h.wait(9_000)
        h.beat(member)
    h.leave(member)
    h.wait(7 * DAY_MS - 1)
    assert expired(h) == []
    h.wait(1)
    assert expired(h) == [("t", 0)]


def test_what_members_read_does_not_expire_and_the_rest_does() -> None:
    h = Harness()
    (member,) = h.members(1)
    commit(h, member, 1)
    commit(h, member, 1, topic="u")
    moment = (h.now, WALL + h.now + 7 * DAY_MS)
    assert h.coordinator.expired(*moment) == {"g": [("u", 0)]}
    h.join()
    assert h.coordinator.expired(*moment) == {}  # members gather: nobody knows


@pytest.mark.parametrize(
    ("kind", "metadata"), [("connect", reading("t")), ("consumer", b"nonsense")]
)
def test_offsets_of_groups_whose_reading_is_unknown_stay(kind: str, metadata: bytes) -> None:
    h = Harness()
    (member,) = h.members(1, protocol_type=kind, protocols=[("x", metadata)])
    commit(h, member, 1, topic="u")
    assert h.coordinator.expired(h.now, WALL + 8 * DAY_MS) == {}


def test_offsets_under_transaction_do_not_expire() -> None:
    h = Harness()
    commit(h)
    entry(h).offsets.hold(7, held(9))
    h.wait(8 * DAY_MS)
    assert expired(h) == []
    entry(h).offsets.complete(7, committed=False)
    assert expired(h) == [("t", 0)]


def test_an_explicit_retention_time_is_kept_as_given() -> None:
    h = Harness()
    commit(h, retention_ms=1_000)
    commit(h, partition=1, retention_ms=30 * DAY_MS)
    h.wait(999)
    assert expired(h) == []
    h.wait(1)
    assert expired(h) == [("t", 0)]
    h.wait(29 * DAY_MS)
    assert expired(h) == [("t", 0)]


def test_a_group_without_members_offsets_and_open_ids_is_over() -> None:
    h = Harness()
    commit(h)
    assert h.coordinator.bury(h.now) == []
    entry(h).offsets.remove([("t", 0)])
    entry(h).commits_under_way = 1
    assert h.coordinator.bury(h.now) == []
    entry(h).commits_under_way = 0
    group = h.group
    h.join(version=4)
    assert h.coordinator.bury(h.now) == []
    h.wait(10_000)
    assert h.coordinator.bury(h.now) == ["g"]
    assert (h.coordinator.get("g"), group.state.value) == (None, "Dead")


# Administration.


def delete(h: Harness, *groups: str) -> list[int]:
    answer, _ = h.coordinator.delete_groups(DeleteGroupsRequest(groups_names=list(groups)), h.now)
    return [each.error_code for each in answer.results]


def test_only_empty_groups_are_deleted() -> None:
    h = Harness()
    (member,) = h.members(1)
    assert delete(h, "g") == [ErrorCode.NON_EMPTY_GROUP]
    h.join()
    assert delete(h, "g") == [ErrorCode.NON_EMPTY_GROUP]
    h.leave(member)
    h.wait(300_000)
    assert h.state == "Empty"
    assert delete(h, "g", "nope", "") == [
        NONE,
        ErrorCode.GROUP_ID_NOT_FOUND,
        ErrorCode.GROUP_ID_NOT_FOUND,
    ]
    assert delete(h, "g") == [ErrorCode.GROUP_ID_NOT_FOUND]


def test_news_of_a_deleted_groups_storage_is_not_for_its_successor() -> None:
    h = Harness(autostore=False)
    h.join()
    h.wait(0)
    (member,) = h.group.roster
    h.leave(member.member_id)
    deleted, revision = h.group, 99
    assert delete(h, "g") == [NONE]
    h.unstored.clear()
    ticket = h.join()
    h.wait(0)
    parked = h.sync(h.joined(ticket).member_id)
    assert h.coordinator.stored(deleted, revision, NONE, h.now).replies == ()
    assert h.is_parked(parked)
    h.store()
    assert h.error(parked) == NONE


def deletion(h: Harness, *topics: str, group: str = "g") -> tuple[int, list[int]]:
    request = OffsetDeleteRequest(
        group_id=group,
        topics=[
            OffsetDeleteRequestTopic(
                name=topic, partitions=[OffsetDeleteRequestPartition(partition_index=0)]
            )
            for topic in topics
        ],
    )
    plan = plan_deletion(request, h.coordinator, Topics())
    answered = [topic.partitions[0].error_code for topic in plan.response.topics]
    assert len(plan.partitions) == answered.count(NONE)
    return plan.response.error_code, answered


def test_offsets_are_deleted_of_empty_groups_and_of_topics_that_nobody_reads() -> None:
    h = Harness()
    assert deletion(h, "t") == (ErrorCode.GROUP_ID_NOT_FOUND, [])
    assert deletion(h, "t", group="") == (ErrorCode.INVALID_GROUP_ID, [])
    (member,) = h.members(1)
    unknown, subscribed = (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC,
    )
    assert deletion(h, "t", "u", "nope") == (NONE, [subscribed, NONE, unknown])
    h.leave(member)
    assert deletion(h, "t", "u") == (NONE, [NONE, NONE])


def test_offsets_of_other_kinds_of_groups_are_deleted_only_when_they_are_empty() -> None:
    h = Harness()
    (member,) = h.members(1, protocol_type="connect", protocols=[("x", b"")])
    assert deletion(h, "u") == (ErrorCode.NON_EMPTY_GROUP, [])
    h.leave(member)
    assert deletion(h, "u") == (NONE, [NONE])


def test_a_group_is_described() -> None:
    h = Harness()
    leader, follower = h.members(2)
    request = DescribeGroupsRequest(groups=["g", "unknown", ""])
    known, unknown, empty = h.coordinator.describe_groups(request).groups
    assert (known.group_state, known.protocol_type, known.protocol_data) == (
        "Stable",
        "consumer",
        "range",
    )
    assert [each.member_id for each in known.members] == [leader, follower]
    assert known.members[0].member_metadata == DEFAULT[0][1]
    assert known.members[1].member_assignment == f"part of {follower}".encode()
    assert (known.members[0].client_id, known.members[0].client_host) == ("c", "/host")
    for each in (unknown, empty):
        assert (each.error_code, each.group_state, each.members) == (NONE, "Dead", [])


def test_what_does_not_belong_together_is_not_described() -> None:
    h = Harness()
    leader, _ = h.members(2)
    h.join(leader)
    (group,) = h.coordinator.describe_groups(DescribeGroupsRequest(groups=["g"])).groups
    assert (group.group_state, group.protocol_data) == ("PreparingRebalance", "")
    assert {each.member_metadata + each.member_assignment for each in group.members} == {b""}


def test_groups_are_listed_by_state_and_type() -> None:
    h = Harness()
    h.members(1)
    commit(h, group="simple")

    def listed(states: tuple[str, ...] = (), types: tuple[str, ...] = ()) -> list[str]:
        request = ListGroupsRequest(states_filter=list(states), types_filter=list(types))
        return [each.group_id for each in h.coordinator.list_groups(request).groups]

    assert listed() == ["g", "simple"]
    assert listed(("stable",)) == ["g"]
    assert listed(("Empty", "Dead")) == ["simple"]
    assert listed(types=("Classic",)) == ["g", "simple"]
    assert listed(types=("consumer",)) == []
    groups = h.coordinator.list_groups(ListGroupsRequest()).groups
    assert [each.protocol_type for each in groups] == ["consumer", ""]
    h.coordinator.status = Status.LOADING
    answer = h.coordinator.list_groups(ListGroupsRequest())
    assert answer.error_code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS


def test_offsets_survive_with_a_new_coordinator() -> None:
    h = Harness()
    other = Harness()
    other.coordinator.status = Status.LOADING
    other.coordinator.load({"g": StoredGroup(None, held(5))}, 0)
    assert fetch(other)[0] == 5
    assert fetch(h)[0] == -1


# Finding the coordinator.

HERE = CoordinatorAddress(node_id=1, host="h", port=9092)


@pytest.mark.parametrize("key_type", [0, 1])
def test_every_key_has_a_coordinator_known_or_not(key_type: int) -> None:
    answer = find_coordinator(FindCoordinatorRequest(key="x", key_type=key_type), 3, HERE)
    assert (answer.error_code, answer.node_id, answer.host, answer.port) == (NONE, 1, "h", 9092)
    batch = FindCoordinatorRequest(key_type=key_type, coordinator_keys=["a", ""])
    found = find_coordinator(batch, 4, HERE).coordinators
    assert [(each.key, each.node_id, each.error_code) for each in found] == [
        ("a", 1, NONE),
        ("", 1, NONE),
    ]


def test_without_a_live_coordinator_there_is_no_address() -> None:
    unavailable = ErrorCode.COORDINATOR_NOT_AVAILABLE
    answer = find_coordinator(FindCoordinatorRequest(key="x"), 0, None)
    assert (answer.error_code, answer.node_id, answer.host, answer.port) == (
        unavailable,
        -1,
        "",
        -1,
    )
    (found,) = find_coordinator(
        FindCoordinatorRequest(coordinator_keys=["a"]), 4, None
    ).coordinators
    assert (found.error_code, found.node_id, found.port) == (unavailable, -1, -1)


def test_keys_of_unknown_types_are_refused() -> None:
    answer = find_coordinator(FindCoordinatorRequest(key="x", key_type=2), 3, HERE)
    assert (answer.error_code, answer.node_id) == (ErrorCode.INVALID_REQUEST, -1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 30)), max_size=40))
def test_deadlines_do_what_a_dictionary_does(steps: list[tuple[str, int | None]]) -> None:
    deadlines, model = Deadlines[str](), dict[str, int]()
    for key, at in steps:
        if at is None:
            deadlines.clear(key)
            model.pop(key, None)
        else:
            deadlines.set(key, at)
            model[key] = at
        assert deadlines.next() == (min(model.values()) if model else None)
    for now in range(31):
        due = set()
        while (key_due := deadlines.pop_due(now)) is not None:
            due.add(key_due)
        assert due == {key for key, at in model.items() if at == now}
    assert deadlines.next() is None
