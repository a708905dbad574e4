"""Which checkpoints lead to which, and that what was withdrawn stays so."""

from __future__ import annotations

import msgspec

from streamlog.processing.state.lineage import (
    FORKS_MAX,
    last_common,
    leads_to,
    rewound_meta,
    with_withdrawn,
)
from streamlog.processing.state.meta import NO_SEQUENCE, TaskMeta, WriterMeta

EVERYTHING = NO_SEQUENCE + 1


def later(meta: TaskMeta, sequence: int) -> TaskMeta:
    return msgspec.structs.replace(meta, sequence=sequence)


FIRST = TaskMeta(sequence=10)
ONCE = rewound_meta(FIRST, later(FIRST, 4), "once")
TWICE = rewound_meta(later(ONCE, 20), later(ONCE, 15), "twice")
BACK = rewound_meta(later(TWICE, 30), later(FIRST, 3), "back")


def test_a_checkpoint_leads_to_what_came_on_top_of_it() -> None:
    assert leads_to(later(FIRST, 4), TWICE)
    assert not leads_to(later(FIRST, 5), TWICE)
    assert leads_to(later(ONCE, 15), TWICE)
    assert not leads_to(later(ONCE, 16), TWICE)
    assert not leads_to(later(ONCE, 12), BACK)
    assert leads_to(later(FIRST, 3), BACK)
    assert leads_to(TWICE, TWICE)
    assert not leads_to(later(TWICE, 22), TWICE)


def test_what_two_have_in_common() -> None:
    assert last_common(later(FIRST, 9), TWICE) == ("", 4)
    assert last_common(later(FIRST, 2), TWICE) == ("", 2)
    assert last_common(later(ONCE, 18), TWICE) == ("once", 15)
    assert last_common(TWICE, BACK) == ("", 3)
    assert last_common(TaskMeta(timeline="elsewhere"), BACK) is None


def test_an_emptied_state_has_nothing_before_it() -> None:
    empty = rewound_meta(FIRST, TaskMeta(), "anew")
    assert not leads_to(later(FIRST, 1), empty)


def test_ancestors_are_bounded() -> None:
    meta = FIRST
    for number in range(FORKS_MAX + 5):
        meta = rewound_meta(meta, meta, str(number))
    assert len(meta.forks) == FORKS_MAX
    assert not leads_to(FIRST, meta)


def test_rules_add_up_until_they_say_nothing_new() -> None:
    known = WriterMeta(0, 3, 5, 0, drained=False)
    meta = with_withdrawn(TaskMeta(writers=(known,)), {0: (4, 50)})
    meta = with_withdrawn(meta, {0: (6, 90)})
    meta = with_withdrawn(meta, {0: (8, 70), 2: (8, EVERYTHING)})
    assert meta.withdrawn == ((0, 4, 50), (0, 8, 70), (2, 8, EVERYTHING))
    first, second = meta.writers
    assert first.withdrawn == ((4, 50), (8, 70))
    assert (second.writer, second.sequence, second.epoch) == (2, NO_SEQUENCE, -1)
    newer = WriterMeta(0, 5, 5, 0, drained=False)
    meta = with_withdrawn(TaskMeta(writers=(newer,), withdrawn=((0, 4, 50),)), {0: (8, 70)})
    assert meta.writers[0].withdrawn == ((8, 70),)


def test_an_older_checkpoint_is_told_what_was_withdrawn_since() -> None:
    old = TaskMeta(sequence=3, writers=(WriterMeta(0, 2, 40, 0, drained=False),))
    now = TaskMeta(
        sequence=9,
        writers=(WriterMeta(0, 7, 95, 0, drained=False),),
        withdrawn=((0, 1, 90), (0, 5, 60)),
    )
    meta = rewound_meta(now, old, "r")
    assert meta.writers[0].withdrawn == ((5, 60),)
    assert meta.withdrawn == now.withdrawn
