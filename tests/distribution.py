"""How `make test` shares the tests out between processes (pytest-xdist); a plain `pytest` has one.

There is a process for each core and one more, since some tests wait for others' clocks. It gets
whole files, so that what a module's tests share is set up once, and all of `tests/interop` is one
piece, since one Apache Kafka serves it. Pieces with the most slow tests go out first: what is left
for the end is short, and no process waits long for another.

Anything that a test takes of the machine must be its own: folders of pytest's, and ports that the
system gives out or that come from `free_ports.py`.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from xdist.remote import Producer

TOGETHER = ("tests/interop/",)
"""Folders whose tests must not run in two processes at once."""
CORES_MAX = 7
"""There are not pieces enough for more, and each process collects all tests for itself."""

# A busy machine is no finding: no test fails because something took long.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def piece_of(node_id: str) -> str:
    """What a test is given out with."""
    file = node_id.split("::", 1)[0]
    return next((folder for folder in TOGETHER if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return min(len(os.sched_getaffinity(0)), CORES_MAX) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Any:  # noqa: ANN401
    """Gives out whole pieces, in the order in which they were collected."""
    from xdist.scheduler import LoadScopeScheduling

    class PieceScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return piece_of(nodeid)

    config.option.loadscopereorder = False
    return PieceScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the longest pieces first; after pytest-randomly, which has shuffled them."""
    if not hasattr(config, "workerinput"):
        return
    slow = Counter(piece_of(item.nodeid) for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[piece_of(item.nodeid)])
