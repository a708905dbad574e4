"""The partitioner: keys as Java's producer places them, the others stuck together for a while."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as reference_murmur2

from streamlog.client.producer import partitioner
from streamlog.client.producer.partitioner import Partitioner


@given(key=st.binary(max_size=50), count=st.integers(1, 100))
def test_a_key_goes_where_java_puts_it(key: bytes, count: int) -> None:
    placed = Partitioner(random.Random(0), 100).of_key("t", key, count)
    assert placed == (reference_murmur2(key) & 0x7FFFFFFF) % count


def test_a_key_moves_when_the_topic_grows() -> None:
    partitions = Partitioner(random.Random(0), 100)
    keys = [b"%d" % number for number in range(50)]
    before = [partitions.of_key("t", key, 3) for key in keys]
    after = [partitions.of_key("t", key, 7) for key in keys]
    assert max(before) == 2
    assert max(after) == 6
    assert [partitions.of_key("t", key, 3) for key in keys] == before


def test_the_cache_of_keys_is_bounded() -> None:
    partitions = Partitioner(random.Random(0), 100)
    for number in range(partitioner.CACHED_KEYS_MAX + 10):
        partitions.of_key("t", b"%d" % number, 3)
    assert len(partitions._cached["t"][1]) <= partitioner.CACHED_KEYS_MAX


def test_records_without_keys_stick_until_a_batch_is_full_then_move() -> None:
    partitions = Partitioner(random.Random(0), 100)
    placed = [partitions.without_key("t", [0, 1, 2], 25) for _ in range(400)]
    runs = [placed[start : start + 4] for start in range(0, 400, 4)]
    assert all(len(set(run)) == 1 for run in runs)
    assert all(left[0] != right[0] for left, right in pairwise(runs))
    assert min(placed.count(number) for number in range(3)) > 80


def test_a_partition_that_loses_its_leader_is_left() -> None:
    partitions = Partitioner(random.Random(0), 1_000)
    first = partitions.without_key("t", [0, 1], 1)
    assert partitions.without_key("t", [1 - first], 1) == 1 - first
