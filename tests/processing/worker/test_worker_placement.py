"""Placement of tasks: complete, balanced, sticky, deterministic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.processing.worker.placement import (
    LAG_ACCEPTABLE,
    TaskName,
    WorkerView,
    place,
    place_tasks,
)

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


# Copies of the state.


FAR = LAG_ACCEPTABLE + 1


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[TaskName], dict[str, WorkerView], int]:
    tasks = all_tasks(draw(st.integers(1, 3)), draw(st.integers(1, 6)))
    names = sorted(draw(st.sets(st.sampled_from(WORKERS), min_size=1)))
    owners = draw(st.lists(st.sampled_from([*names, ""]), min_size=len(tasks), max_size=len(tasks)))
    workers = {}
    for name in names:
        with_copies = draw(st.sets(st.sampled_from(tasks)))
        workers[name] = WorkerView(
            owned=[task for task, owner in zip(tasks, owners, strict=True) if owner == name],
            copies={
                task: draw(st.sampled_from([0, 5, FAR, 3 * FAR])) for task in sorted(with_copies)
            },
            folder=draw(st.sampled_from(["x", "y", ""])),
        )
    return tasks, workers, draw(st.integers(0, 2))


@given(histories())
def test_copies_never_cost_completeness_balance_or_a_folder(
    history: tuple[list[TaskName], dict[str, WorkerView], int],
) -> None:
    tasks, workers, standbys = history
    placement = place(tasks, workers, standbys)
    assert placement == place(list(reversed(tasks)), workers, standbys)
    owned = {worker: view.owned for worker, view in workers.items()}
    copies = {worker: view.copies for worker, view in workers.items()}
    check(tasks, place_tasks(tasks, owned, copies))
    assert sorted(t for own in placement.active.values() for t in own) == sorted(tasks)
    home = {task: worker for worker, own in placement.active.items() for task in own}
    for worker, own in placement.warming.items():
        for task in own:
            assert task in workers[home[task]].owned
            assert home[task] != worker
    for task in tasks:
        folders = [workers[w].folder for w, own in placement.standbys.items() if task in own]
        assert len(folders) == len(set(folders)) <= standbys
        assert workers[home[task]].folder not in folders
        others = {view.folder for view in workers.values()} - {workers[home[task]].folder, ""}
        assert len(folders) == min(standbys, len(others))


def test_a_task_whose_worker_is_lost_goes_to_its_newest_copy() -> None:
    tasks = all_tasks(1, 3)
    copies = [{tasks[0]: FAR, tasks[1]: 9 * FAR}, {tasks[2]: 9 * FAR, tasks[0]: 9 * FAR}, {}]
    workers = {name: WorkerView(copies=has) for name, has in zip("abc", copies, strict=True)}
    placed = place(tasks, workers).active
    # b has the newest copies of two, but a third of the work is one task.
    assert placed == {"a": [tasks[1]], "b": [tasks[0]], "c": [tasks[2]]}


def test_copies_of_small_state_do_not_matter() -> None:
    tasks = all_tasks(2, 2)
    small = WorkerView(copies=dict.fromkeys(tasks, LAG_ACCEPTABLE))
    placed = place(tasks, {"a": WorkerView(), "b": small}).active
    for own in placed.values():
        assert [task.sub_topology for task in own] == ["s0", "s1"]


def test_a_task_waits_until_its_new_worker_is_warm() -> None:
    tasks = all_tasks(1, 2)
    old = WorkerView(owned=tasks, copies=dict.fromkeys(tasks, 5 * FAR))
    cold = place(tasks, {"new": WorkerView(), "old": old})
    assert cold.active == {"new": [], "old": tasks}
    assert cold.warming == {"new": [tasks[1]], "old": []}
    warm = WorkerView(copies={tasks[1]: 5 * FAR - 1})
    moved = place(tasks, {"new": warm, "old": old})
    assert moved.active == {"new": [tasks[1]], "old": [tasks[0]]}
    assert moved.warming == {"new": [], "old": []}


def test_standbys_stay_where_a_copy_is_and_spread_over_folders() -> None:
    tasks = all_tasks(1, 2)
    workers = {
        "a": WorkerView(owned=[tasks[0]], folder="x"),
        "b": WorkerView(owned=[tasks[1]], folder="y"),
        "c": WorkerView(copies={tasks[0]: 7}, folder="y"),
    }
    assert place(tasks, workers, 1).standbys == {"a": [tasks[1]], "b": [], "c": [tasks[0]]}


def test_workers_of_one_folder_share_its_copies() -> None:
    tasks = all_tasks(1, 2)
    workers = {
        "new": WorkerView(folder="x"),
        "old": WorkerView(owned=tasks, copies=dict.fromkeys(tasks, 5 * FAR), folder="x"),
    }
    assert place(tasks, workers).active == {"new": [tasks[1]], "old": [tasks[0]]}
