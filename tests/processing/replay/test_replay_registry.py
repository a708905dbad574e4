"""What the records of the registry add up to."""

from __future__ import annotations

import pytest

from streamlog.errors import RefusedError, StorageError
from streamlog.processing.plan.naming import Naming, beside
from streamlog.processing.replay.registry import (
    Live,
    Registry,
    Version,
    live_record,
    version_record,
)

V2 = Version(pipeline="delays", begins={"flights": {0: 3}}, ends={"flights": {0: 9, 1: 4}})
SWAPPED = Live(runs_as="delays.v2", retired=("delays",))


def registry(*records: tuple[bytes, bytes | None]) -> Registry:
    made = Registry()
    made.feed(records)
    return made


def test_a_pipeline_that_nobody_has_swapped_runs_under_its_own_name() -> None:
    assert registry().naming("delays") == Naming("delays")


def test_the_newest_record_holds() -> None:
    made = registry(
        live_record("delays", SWAPPED), live_record("delays", Live(runs_as="delays.v3"))
    )
    assert made.naming("delays") == Naming("delays.v3")
    assert made.naming("others") == Naming("others")


def test_going_back_to_its_own_name_leaves_nothing_behind() -> None:
    assert live_record("delays", Live(runs_as="delays"))[1] is None
    back = registry(live_record("delays", SWAPPED), live_record("delays", Live(runs_as="delays")))
    assert back.live("delays") == Live(runs_as="delays")


def test_nobody_runs_a_pipeline_while_a_swap_has_not_ended() -> None:
    made = registry(live_record("delays", Live(runs_as="delays", swapping_to="delays.v2")))
    with pytest.raises(RefusedError, match=r"replay FILE:delays --as v2 --swap --execute"):
        made.naming("delays")
    with pytest.raises(RefusedError, match="has not ended"):
        made.check("delays", Naming("delays"))


def test_a_worker_that_began_before_a_swap_is_refused_after_it() -> None:
    made = registry(live_record("delays", SWAPPED))
    with pytest.raises(RefusedError, match="Start the worker again"):
        made.check("delays", Naming("delays"))
    made.check("delays", Naming("delays.v2"))


def test_a_version_that_is_live_does_not_replay_beside_itself() -> None:
    made = registry(live_record("delays", SWAPPED))
    with pytest.raises(RefusedError, match="has become the live version"):
        made.check("delays", beside("delays", "v2"))
    made.check("delays", beside("delays", "v3"))


def test_versions_are_known_until_they_are_forgotten() -> None:
    name = "delays.v2"
    assert registry(version_record(name, V2)).version(name) == V2
    assert registry(version_record(name, V2)).versions_of("delays") == {name: V2}
    assert registry(version_record(name, V2)).versions_of("delay") == {}
    assert registry(version_record(name, V2), version_record(name, None)).version(name) is None


def test_what_a_newer_streamlog_writes_is_left_alone() -> None:
    assert registry((b"pool/a", b"?")).live("a") == Live(runs_as="a")


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"runs_as": 3}'])
def test_a_record_that_cannot_be_read_is_said(value: bytes) -> None:
    with pytest.raises(StorageError, match=r"streamlog\.pipelines has a record"):
        registry((b"live/delays", value))
