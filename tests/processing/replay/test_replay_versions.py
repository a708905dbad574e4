"""Which version a name means: one rule, whatever was replayed, swapped and dropped."""

from __future__ import annotations

import pytest

from streamlog.errors import UsageError
from streamlog.processing.plan.naming import FIRST, check_version, name_of
from streamlog.processing.replay.registry import (
    Live,
    Registry,
    Version,
    live_record,
    version_record,
)
from streamlog.processing.replay.versions import Identity, Role, identify, resolve

NOTE = Version(pipeline="delays", begins={}, ends={})
V2, V3 = version_record("delays.v2", NOTE), version_record("delays.v3", NOTE)
SWAPPED = live_record("delays", Live(runs_as="delays.v2", retired=("delays",)))
AGAIN = live_record("delays", Live(runs_as="delays.v3", retired=("delays", "delays.v2")))


def registry(*records: tuple[bytes, bytes | None]) -> Registry:
    made = Registry()
    made.feed(records)
    return made


def roles(made: Registry) -> dict[str, str]:
    """What the whole names are called by people, and what they are."""
    names = ("delays", "delays.v2", "delays.v3")
    found = [identify(made, name) for name in names]
    return {each.called: each.role.value for each in found}


def test_who_was_never_replayed_has_no_version() -> None:
    alone = Identity("delays", "delays", None, Role.LIVE)
    assert identify(registry(), "delays") == resolve(registry(), "delays") == alone
    # A dot in a name means nothing by itself.
    assert resolve(registry(), "shop.first").name == "shop.first"
    assert resolve(registry(), "shop.v2") == Identity("shop.v2", "shop.v2", None, Role.LIVE)


def test_a_version_beside_the_live_one_is_a_replay() -> None:
    made = registry(V2)
    assert resolve(made, "delays").name == "delays"
    assert resolve(made, "delays.v2") == Identity("delays.v2", "delays", "v2", Role.REPLAY)
    # That the first one began somewhere makes no version of it.
    began = registry(version_record("delays", NOTE))
    assert identify(began, "delays") == Identity("delays", "delays", None, Role.LIVE)


def test_after_a_swap_the_name_means_what_took_the_place() -> None:
    made = registry(V2, SWAPPED)
    assert roles(made) == {
        "delays": "live",
        "delays.first": "former",
        "delays.v3": "live",  # Nobody has replayed it: another pipeline, for all we know.
    }
    assert resolve(made, "delays") == resolve(made, "delays.v2")
    assert resolve(made, "delays").name == "delays.v2"
    assert resolve(made, "delays.first").name == "delays"
    assert identify(made, "delays").in_words == "first, former"


def test_after_another_swap_there_are_two_former_versions() -> None:
    made = registry(V2, V3, SWAPPED, AGAIN)
    assert roles(made) == {"delays": "live", "delays.v2": "former", "delays.first": "former"}
    assert resolve(made, "delays").name == "delays.v3"


def test_the_plain_name_is_not_live_again_once_the_first_is_dropped() -> None:
    made = registry(V2, live_record("delays", Live(runs_as="delays.v2")))
    assert resolve(made, "delays").name == "delays.v2"
    assert identify(made, "delays").role is Role.FORMER


@pytest.mark.parametrize("typed", ["delays", "delays.v2", "delays.v3", "delays.first"])
def test_what_something_is_called_means_it(typed: str) -> None:
    made = registry(V2, V3, SWAPPED)
    meant = resolve(made, typed)
    assert meant.answers_to(typed)
    assert resolve(made, meant.called) == resolve(made, meant.full) == meant


def test_no_replay_is_called_first() -> None:
    with pytest.raises(UsageError, match="began as"):
        check_version(FIRST)
    assert name_of("delays", FIRST) == "delays"
