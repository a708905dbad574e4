"""Reading to the end: each level's goal is known only when the level above is complete."""

from __future__ import annotations

from streamlog.processing.worker.completion import Committed, Completion, Stage

SOURCE = Stage("flights", (("flights", 0), ("flights", 1)), ())
BEHIND = Stage("by-carrier", (("rep", 0),), ("flights",))


def at(offset: int, *, drained: bool = False) -> Committed:
    return Committed(offset, drained)


def test_levels_complete_one_after_the_other() -> None:
    completion = Completion([SOURCE, BEHIND], drain=False)
    assert completion.wanted_ends() == list(SOURCE.inputs)
    completion.set_ends({("flights", 0): (0, 10), ("flights", 1): (0, 5)})
    assert completion.wanted_ends() == []
    assert not completion.update({("flights", 0): at(10), ("flights", 1): at(4)})
    assert completion.update({("flights", 0): at(10), ("flights", 1): at(6)})
    assert completion.wanted_ends() == [("rep", 0)]
    completion.set_ends({("rep", 0): (0, 7)})
    assert completion.goal(("rep", 0)) == 7
    assert not completion.complete
    assert completion.update({("rep", 0): at(7)})
    assert completion.complete


def test_what_a_later_level_committed_before_its_goal_was_known_counts_only_then() -> None:
    completion = Completion([SOURCE, BEHIND], drain=False)
    completion.set_ends({("flights", 0): (0, 1), ("flights", 1): (0, 1)})
    completion.update({("rep", 0): at(99)})
    assert not completion.complete


def test_an_empty_partition_needs_no_commit_even_when_retention_emptied_it() -> None:
    completion = Completion([SOURCE], drain=False)
    completion.set_ends({("flights", 0): (0, 0), ("flights", 1): (42, 42)})
    completion.update({})
    assert completion.complete


def test_draining_waits_for_the_markers_of_every_source_task() -> None:
    completion = Completion([SOURCE, BEHIND], drain=True)
    completion.set_ends({("flights", 0): (0, 1), ("flights", 1): (0, 0)})
    assert not completion.update({("flights", 0): at(1, drained=True)})
    assert not completion.update({("flights", 0): at(1), ("flights", 1): at(0, drained=True)})
    assert completion.update(
        {("flights", 0): at(1, drained=True), ("flights", 1): at(0, drained=True)}
    )
    completion.set_ends({("rep", 0): (0, 3)})
    completion.update({("rep", 0): at(3)})
    assert completion.complete
