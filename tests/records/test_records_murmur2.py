from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_python_murmur2
from records_flavours import flavours

if TYPE_CHECKING:
    from types import ModuleType

both = pytest.mark.parametrize("module", flavours("streamlog.records.murmur2"))

JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""From the tests of Apache Kafka's `Utils`."""


@both
@pytest.mark.parametrize("data", JAVA, ids=repr)
def test_java_gets_the_same_number(module: ModuleType, data: bytes) -> None:
    assert module.murmur2(data) == JAVA[data]


@both
@given(data=st.binary(max_size=50), count=st.integers(1, 1000))
def test_keys_go_where_other_clients_send_them(module: ModuleType, data: bytes, count: int) -> None:
    unsigned = kafka_python_murmur2(data) & 0xFFFFFFFF
    assert module.murmur2(data) & 0xFFFFFFFF == unsigned
    assert -(1 << 31) <= module.murmur2(data) < 1 << 31
    assert module.partition_of(data, count) == (unsigned & 0x7FFFFFFF) % count
