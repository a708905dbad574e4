"""How often Python looks for cyclic garbage while a worker runs."""

from __future__ import annotations

import gc
from contextlib import ExitStack

from streamlog.processing.worker.garbage import THRESHOLDS, seldom_collected


def test_a_process_is_left_as_it_was_found() -> None:
    before = gc.get_threshold()
    with seldom_collected():
        assert gc.get_threshold() == THRESHOLDS
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_workers_may_end_in_any_order() -> None:
    before = gc.get_threshold()
    first, second = ExitStack(), ExitStack()
    first.enter_context(seldom_collected())
    second.enter_context(seldom_collected())
    first.close()
    assert gc.get_threshold() == THRESHOLDS
    assert gc.get_freeze_count() > 0
    second.close()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
