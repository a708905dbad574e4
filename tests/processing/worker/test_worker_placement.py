"""Placement of tasks: complete, balanced, sticky, deterministic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.processing.worker.placement import TaskName, place_tasks

WORKERS = ["w1", "w2", "w3", "w4"]


def all_tasks(sub_topologies: int, partitions: int) -> list[TaskName]:
    return [TaskName(f"s{s}", p) for s in range(sub_topologies) for p in range(partitions)]


def check(tasks: list[TaskName], placed: dict[str, list[TaskName]]) -> None:
    assert sorted(t for own in placed.values() for t in own) == sorted(tasks)
    loads = [len(own) for own in placed.values()]
    assert max(loads) - min(loads) <= 1


@given(
    st.integers(1, 3), st.integers(1, 9), st.lists(st.sets(st.sampled_from(WORKERS), min_size=1))
)
def test_any_history_of_members_keeps_placement_complete_balanced_and_sticky(
    sub_topologies: int, partitions: int, history: list[set[str]]
) -> None:
    tasks = all_tasks(sub_topologies, partitions)
    placed: dict[str, list[TaskName]] = {}
    for members in history:
        owned = {m: placed.get(m, []) for m in members}
        placed = place_tasks(tasks, owned)
        assert placed == place_tasks(list(reversed(tasks)), owned)
        check(tasks, placed)
        share = -(-len(tasks) // len(members))
        for member, own in placed.items():
            stays = set(own) & set(owned[member])
            assert len(stays) >= min(len(owned[member]), share - 1)


def test_a_new_worker_takes_only_its_share_and_nothing_else_moves() -> None:
    tasks = all_tasks(2, 4)
    alone = place_tasks(tasks, {"w1": []})
    both = place_tasks(tasks, {"w1": alone["w1"], "w2": []})
    assert len(both["w2"]) == 4
    assert [t.sub_topology for t in both["w2"]].count("s0") == 2
    assert set(both["w1"]) < set(alone["w1"])


def test_two_workers_that_claim_the_same_task_leave_it_with_one() -> None:
    task = TaskName("s", 0)
    placed = place_tasks([task], {"w1": [task], "w2": [task]})
    assert sorted(len(own) for own in placed.values()) == [0, 1]


def test_a_claim_to_a_task_that_is_no_more_is_forgotten() -> None:
    placed = place_tasks([TaskName("s", 0)], {"w1": [TaskName("gone", 3)]})
    assert placed == {"w1": [TaskName("s", 0)]}


def test_nobody_gets_nothing() -> None:
    assert place_tasks(all_tasks(1, 2), {}) == {}
