"""The assignors: what each promises, against tables, properties and kafka-python's."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from streamlog.client.assignors.assignor import Assignment, MemberSubscription
from streamlog.client.assignors.cooperative_sticky import CooperativeStickyAssignor
from streamlog.client.assignors.range import RangeAssignor
from streamlog.client.assignors.registry import ASSIGNORS, assignors_named
from streamlog.client.assignors.round_robin import RoundRobinAssignor
from streamlog.client.assignors.sticky import (
    StickyAssignor,
    decode_user_data,
    encode_user_data,
)
from streamlog.client.values import TopicPartition
from streamlog.errors import UsageError


def member(member_id: str, *topics: str, instance_id: str | None = None) -> MemberSubscription:
    return MemberSubscription(member_id, topics, instance_id)


def named(assignment: Assignment) -> dict[str, list[str]]:
    return {member_id: [str(each) for each in theirs] for member_id, theirs in assignment.items()}


def test_range_gives_consecutive_partitions_of_each_topic() -> None:
    members = [member("b", "t", "u"), member("a", "t", "u"), member("c", "t")]
    assert named(RangeAssignor().assign({"t": 5, "u": 3}, members)) == {
        "a": ["t[0]", "t[1]", "u[0]", "u[1]"],
        "b": ["t[2]", "t[3]", "u[2]"],
        "c": ["t[4]"],
    }


def test_static_members_come_first_by_instance_id() -> None:
    members = [
        member("a", "t"),
        member("z", "t", instance_id="2"),
        member("y", "t", instance_id="1"),
    ]
    assert named(RangeAssignor().assign({"t": 3}, members)) == {
        "y": ["t[0]"],
        "z": ["t[1]"],
        "a": ["t[2]"],
    }


def test_round_robin_deals_all_topics_as_one_row() -> None:
    members = [member("a", "t", "u"), member("b", "u"), member("c", "t", "u")]
    assert named(RoundRobinAssignor().assign({"t": 2, "u": 3}, members)) == {
        "a": ["t[0]", "u[0]"],
        "b": ["u[1]"],
        "c": ["t[1]", "u[2]"],
    }


names = st.sampled_from(["a", "b", "c", "d", "e", "f"])
topic_names = st.sampled_from(["t", "u", "v"])
counts = st.dictionaries(topic_names, st.integers(1, 9), min_size=1)
memberships = st.dictionaries(names, st.sets(topic_names, min_size=1), min_size=1)


def members_of(wishes: dict[str, set[str]]) -> list[MemberSubscription]:
    return [MemberSubscription(name, tuple(sorted(topics))) for name, topics in wishes.items()]


@given(partitions=counts, wishes=memberships, name=st.sampled_from(sorted(ASSIGNORS)))
def test_every_wanted_partition_goes_to_one_who_wants_it(
    partitions: dict[str, int], wishes: dict[str, set[str]], name: str
) -> None:
    assignment = ASSIGNORS[name].assign(partitions, members_of(wishes))
    assert assignment.keys() == wishes.keys()
    given_out = [each for theirs in assignment.values() for each in theirs]
    wanted = set().union(*wishes.values())
    expected = {
        TopicPartition(topic, number)
        for topic, count in partitions.items()
        if topic in wanted
        for number in range(count)
    }
    assert sorted(given_out) == sorted(expected)
    for member_id, theirs in assignment.items():
        assert {each.topic for each in theirs} <= wishes[member_id]


class FakeCluster:
    """What kafka-python's assignors ask of its cluster metadata."""

    def __init__(self, partitions: dict[str, int]) -> None:
        self._partitions = partitions

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._partitions.get(topic, 0)))


@given(partitions=counts, wishes=memberships, name=st.sampled_from(["range", "roundrobin"]))
def test_range_and_round_robin_decide_as_kafka_python_does(
    partitions: dict[str, int], wishes: dict[str, set[str]], name: str
) -> None:
    theirs = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}[name]
    if name == "roundrobin":
        # With unequal wishes kafka-python raises a KeyError.
        wishes = {member_id: {"t", "u"} for member_id in wishes}
    members = [
        SimpleNamespace(
            member_id=member_id,
            group_instance_id=None,
            metadata=SimpleNamespace(topics=sorted(topics)),
        )
        for member_id, topics in wishes.items()
    ]
    result = theirs.assign(FakeCluster(partitions), members)
    expected = {
        member_id: sorted((topic, n) for topic, ns in assignment.assigned_partitions for n in ns)
        for member_id, assignment in result.items()
    }
    ours = ASSIGNORS[name].assign(partitions, members_of(wishes))
    assert {member_id: sorted(map(tuple, each)) for member_id, each in ours.items()} == expected


def owning(
    assignment: Assignment, wishes: dict[str, set[str]], generation: int
) -> list[MemberSubscription]:
    """The members as they join again after an assignment, in the way of both sticky assignors."""
    return [
        MemberSubscription(
            name,
            tuple(sorted(topics)),
            owned=tuple(assignment.get(name, ())),
            generation=generation if name in assignment else -1,
            user_data=StickyAssignor().user_data(assignment.get(name, ()), generation),
        )
        for name, topics in wishes.items()
    ]


def assert_balanced(assignment: Assignment, wishes: dict[str, set[str]]) -> None:
    """Kafka's promise: nobody has two more than one who could take one of them."""
    for rich, theirs in assignment.items():
        for poor, few in assignment.items():
            if len(theirs) >= len(few) + 2:
                assert not {each.topic for each in theirs} & wishes[poor], (rich, poor)


@given(partitions=counts, wishes=memberships)
def test_sticky_is_balanced_and_stays_as_it_is(
    partitions: dict[str, int], wishes: dict[str, set[str]]
) -> None:
    first = StickyAssignor().assign(partitions, members_of(wishes))
    assert_balanced(first, wishes)
    again = StickyAssignor().assign(partitions, owning(first, wishes, 1))
    assert again == first


@given(
    partitions=st.integers(1, 40),
    before=st.sets(names, min_size=2),
    leaving=names,
)
def test_when_a_member_leaves_the_others_keep_all_they_have(
    partitions: int, before: set[str], leaving: str
) -> None:
    wishes = {name: {"t"} for name in sorted(before)}
    first = StickyAssignor().assign({"t": partitions}, members_of(wishes))
    left = {name: topics for name, topics in wishes.items() if name != leaving}
    second = StickyAssignor().assign({"t": partitions}, owning(first, left, 1))
    assert_balanced(second, left)
    for name in left:
        assert set(first[name]) <= set(second[name])


@given(partitions=st.integers(1, 40), before=st.sets(names, min_size=1), coming=st.just("z"))
def test_when_a_member_comes_only_its_share_moves(
    partitions: int, before: set[str], coming: str
) -> None:
    wishes = {name: {"t"} for name in sorted(before)}
    first = StickyAssignor().assign({"t": partitions}, members_of(wishes))
    wishes[coming] = {"t"}
    second = StickyAssignor().assign({"t": partitions}, owning(first, wishes, 1))
    assert_balanced(second, wishes)
    moved = sum(len(set(first[name]) - set(second[name])) for name in before)
    assert moved == len(second[coming])


@given(
    partitions=counts,
    before=memberships,
    after=memberships,
)
def test_cooperative_moves_in_two_rounds_and_nobody_shares(
    partitions: dict[str, int], before: dict[str, set[str]], after: dict[str, set[str]]
) -> None:
    assignor = CooperativeStickyAssignor()
    first = assignor.assign(partitions, members_of(before))
    second = assignor.assign(partitions, owning(first, after, 1))
    for name, theirs in second.items():
        for other, owned in first.items():
            if other != name and other in after:
                assert not set(theirs) & set(owned), "given away before its owner let go"
    kept = {name: [each for each in first.get(name, ()) if each in second[name]] for name in after}
    kept = {name: sorted({*kept[name], *second[name]}) for name in after}
    third = assignor.assign(partitions, owning(kept, after, 2))
    assert_balanced(third, after)
    wanted = set().union(*after.values())
    everything = sum(count for topic, count in partitions.items() if topic in wanted)
    assert sum(map(len, third.values())) == everything
    assert assignor.assign(partitions, owning(third, after, 3)) == third


def test_the_newer_of_two_claims_holds_and_equal_ones_cancel() -> None:
    shared = TopicPartition("t", 0)
    old = MemberSubscription("a", ("t",), owned=(shared,), generation=3)
    new = MemberSubscription("b", ("t",), owned=(shared,), generation=4)
    result = CooperativeStickyAssignor().assign({"t": 1}, [old, new])
    assert named(result) == {"a": [], "b": ["t[0]"]}


@given(
    st.sets(st.tuples(st.text(max_size=5), st.integers(0, 2**31 - 1)), max_size=20),
    st.integers(-1, 2**31 - 1),
)
def test_user_data_comes_back(owned: set[tuple[str, int]], generation: int) -> None:
    partitions = tuple(sorted(TopicPartition(*each) for each in owned))
    assert decode_user_data(encode_user_data(partitions, generation)) == (partitions, generation)


@given(st.binary(max_size=60))
def test_strange_user_data_counts_as_none_or_is_read(data: bytes) -> None:
    owned, generation = decode_user_data(data)
    assert generation >= -(2**31)
    assert len(owned) <= len(data)


def test_user_data_is_laid_out_as_javas() -> None:
    data = encode_user_data([TopicPartition("tt", 1), TopicPartition("tt", 2)], 5)
    assert data == struct.pack(">ih2siiii", 1, 2, b"tt", 2, 1, 2, 5)


def test_cooperative_and_eager_assignors_do_not_mix() -> None:
    with pytest.raises(UsageError, match="partly eager, partly cooperative"):
        assignors_named(["range", "cooperative-sticky"])
    with pytest.raises(UsageError, match="there is no assignor 'best'"):
        assignors_named(["best"])
    assert [each.name for each in assignors_named(["sticky", RangeAssignor()])] == [
        "sticky",
        "range",
    ]
