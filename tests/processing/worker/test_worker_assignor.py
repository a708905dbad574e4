"""The task assignor: whole tasks, and no task with two workers at any moment."""

from __future__ import annotations

from streamlog.client.assignors.assignor import MemberSubscription
from streamlog.client.values import TopicPartition
from streamlog.processing.worker.assignor import TaskAssignor
from streamlog.processing.worker.placement import TaskName
from streamlog.processing.worker.word import WorkerWord, decode_word, encode_word

ASSIGNOR = TaskAssignor({"orders": ["orders", "refunds"], "by-user": ["p.by-user.repartition"]})
COUNTS = {"orders": 4, "refunds": 2, "p.by-user.repartition": 4}
TOPICS = tuple(COUNTS)


def member(
    name: str, owned: list[TopicPartition] | None = None, generation: int = 1
) -> MemberSubscription:
    return MemberSubscription(name, TOPICS, owned=tuple(owned or ()), generation=generation)


def test_a_task_gets_its_partition_of_every_topic_that_it_reads() -> None:
    given = ASSIGNOR.assign(COUNTS, [member("a"), member("b")])
    assert sum(len(own) for own in given.values()) == sum(COUNTS.values())
    for own in given.values():
        for partition in range(2):
            assert (TopicPartition("orders", partition) in own) == (
                TopicPartition("refunds", partition) in own
            )


def test_a_task_that_moves_is_with_nobody_for_one_round() -> None:
    alone = ASSIGNOR.assign(COUNTS, [member("a")])["a"]
    first = ASSIGNOR.assign(COUNTS, [member("a", alone), member("b")])
    assert first["b"] == []
    assert 0 < len(first["a"]) < len(alone)
    second = ASSIGNOR.assign(COUNTS, [member("a", first["a"], 2), member("b", [], 2)])
    assert second["a"] == first["a"]
    assert sorted(second["a"] + second["b"]) == sorted(alone)


def test_of_two_claims_the_newer_generation_holds_and_the_older_must_end_first() -> None:
    both = [TopicPartition("p.by-user.repartition", 0)]
    counts = {"p.by-user.repartition": 1}
    stale, live = member("a", both, 1), member("b", both, 2)
    assert ASSIGNOR.assign(counts, [stale, live]) == {"a": [], "b": []}
    assert ASSIGNOR.assign(counts, [member("a", [], 3), live]) == {"a": [], "b": both}


def test_topics_that_the_pipeline_does_not_read_are_left_alone() -> None:
    assert ASSIGNOR.assign({"other": 3}, [member("a")]) == {"a": []}


# The workers' words.


def with_copies(name: str, folder: str, **positions: int) -> MemberSubscription:
    word = WorkerWord(
        folder=folder, copies={"by-user": {int(k[1:]): v for k, v in positions.items()}}
    )
    assignor = TaskAssignor({"by-user": [REPARTITION]}, say=lambda: word)
    data = assignor.user_data([], 1)
    return MemberSubscription(name, (REPARTITION,), user_data=data)


REPARTITION = "p.by-user.repartition"


def test_tasks_without_a_worker_go_to_the_copies_that_workers_tell_of() -> None:
    assignor = TaskAssignor({"by-user": [REPARTITION]})
    members = [with_copies("a", "x", p0=1, p1=90_000), with_copies("b", "y", p0=90_000, p1=1)]
    given = assignor.assign({REPARTITION: 2}, members)
    assert given == {"a": [TopicPartition(REPARTITION, 1)], "b": [TopicPartition(REPARTITION, 0)]}


def test_whoever_reads_the_group_finds_what_the_leader_found() -> None:
    assignor = TaskAssignor({"by-user": [REPARTITION]}, standbys=1)
    members = [with_copies("a", "x", p0=90_000), with_copies("b", "y")]
    placement = assignor.place({REPARTITION: 2}, members)
    assert placement == assignor.place({REPARTITION: 2}, list(reversed(members)))
    both = [TaskName("by-user", 0), TaskName("by-user", 1)]
    assert placement.active == {"a": both[:1], "b": both[1:]}
    assert placement.standbys == {"a": both[1:], "b": both[:1]}


def test_user_data_of_others_says_nothing() -> None:
    for data in (None, b"", b"\xff", b"\x80", encode_word(WorkerWord(host="h")) + b"x"):
        assert decode_word(data) == WorkerWord()
