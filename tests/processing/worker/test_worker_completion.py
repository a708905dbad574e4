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


def test_what_retention_deletes_before_anybody_has_begun_is_not_waited_for() -> None:
    completion = Completion([SOURCE], drain=False)
    completion.set_ends({("flights", 0): (0, 10), ("flights", 1): (0, 5)})
    assert completion.pending() == list(SOURCE.inputs)
    completion.forget_deleted({("flights", 0): 9, ("flights", 1): 5})
    assert not completion.update({("flights", 0): at(9)})
    assert completion.pending() == [("flights", 0)]
    assert completion.update({("flights", 0): at(10)})
    assert completion.complete
    assert completion.pending() == []


def test_draining_begins_when_all_is_read_and_waits_for_every_source_task() -> None:
    completion = Completion([SOURCE, BEHIND], drain=True)
    completion.set_ends({("flights", 0): (0, 1), ("flights", 1): (0, 0)})
    assert completion.update({("flights", 0): at(1, drained=True)})
    completion.set_ends({("rep", 0): (0, 2)})
    # All is read then; what was drained before this run may have to be drained again.
    before = completion.may_drain
    assert completion.update({("flights", 0): at(1), ("rep", 0): at(2)})
    assert (before, completion.may_drain, completion.complete) == (False, True, False)
    assert completion.goal(("flights", 0)) == 1
    assert not completion.update({("flights", 0): at(1), ("flights", 1): at(0, drained=True)})
    assert completion.wanted_ends() == []
    assert completion.update(
        {("flights", 0): at(1, drained=True), ("flights", 1): at(0, drained=True)}
    )
    assert completion.wanted_ends() == [("rep", 0)]
    completion.set_ends({("rep", 0): (0, 3)})
    assert not completion.update({("rep", 0): at(2)})
    assert completion.update({("rep", 0): at(3)})
    assert completion.complete
