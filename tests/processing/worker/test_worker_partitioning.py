"""Whether keys of two topics can meet is told from where they are."""

from __future__ import annotations

from zlib import crc32

from streamlog.processing.worker.partitioning import KEYS_MAX, KEYS_MIN, Partitioning
from streamlog.records.murmur2 import partition_of

COUNT = 3
KEYS = [f"key-{n}".encode() for n in range(1000)]
OURS = [key for key in KEYS if partition_of(key, COUNT) == 1]
THEIRS = [key for key in KEYS if crc32(key) % COUNT == 1]
"""As librdkafka places them by default."""


def looking(count: int = COUNT) -> Partitioning:
    return Partitioning(["sales", "prices"], 1, count)


def test_topics_of_two_kinds_of_clients_are_told_once() -> None:
    look = looking()
    assert look.look(0, [None, *OURS]) is None
    warning = look.look(1, THEIRS)
    assert warning is not None
    assert "sales and prices are partitioned by different rules" in warning
    stray = next(key for key in sorted(THEIRS[:KEYS_MAX]) if partition_of(key, COUNT) != 1)
    assert f"key '{stray.decode()}' of prices is in partition 1" in warning
    assert look.look(1, THEIRS[KEYS_MAX:]) is None


def test_the_order_in_which_they_are_looked_at_does_not_matter() -> None:
    look = looking()
    assert look.look(1, THEIRS) is None
    assert "prices is in partition 1" in (look.look(0, OURS) or "")


def test_alike_topics_are_no_matter_by_which_rule() -> None:
    for keys in (OURS, THEIRS):
        look = looking()
        assert look.look(0, keys) is None
        assert look.look(1, keys[KEYS_MAX:]) is None


def test_few_keys_say_nothing_and_a_few_strays_are_an_accident() -> None:
    look = looking()
    assert look.look(0, OURS) is None
    assert look.look(1, THEIRS[: KEYS_MIN - 1]) is None
    strays = [key for key in KEYS if partition_of(key, COUNT) != 1][:5]
    look = looking()
    assert look.look(0, OURS) is None
    assert look.look(1, [*strays, *OURS[:40]]) is None


def test_one_partition_is_always_right() -> None:
    look = Partitioning(["sales", "prices"], 0, 1)
    assert look.look(0, OURS) is None
    assert look.look(1, THEIRS) is None
