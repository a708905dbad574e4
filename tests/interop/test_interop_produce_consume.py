"""Foreign producers and consumers, every codec, against our broker."""

from __future__ import annotations

import dataclasses

import pytest
from interop_clients import (
    CODECS,
    CONSUMERS,
    PRODUCERS,
    Record,
    consume_confluent,
    create_topic,
    supports,
)

pytestmark = pytest.mark.interop

BASE_MS = 1_700_000_000_000
PARTITIONS = 3


def records_of(count: int) -> list[Record]:
    return [
        Record(
            partition=index % PARTITIONS,
            offset=index // PARTITIONS,
            key=b"key-%d" % index,
            value=b"value-%d-" % index + b"x" * (index % 200),
            timestamp_ms=BASE_MS + index,
            headers=(("kind", b"test"), ("trace", b"abc")),
        )
        for index in range(count)
    ]


def without_times(records: list[Record]) -> list[Record]:
    return [dataclasses.replace(record, timestamp_ms=0) for record in records]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("client", PRODUCERS)
def test_what_a_producer_sends_is_stored(broker: str, topic: str, client: str, codec: str) -> None:
    if not supports(client, codec):
        pytest.skip(f"{client} lacks the library for {codec} on this machine")
    create_topic(broker, topic, PARTITIONS)
    sent = records_of(300)
    PRODUCERS[client](broker, topic, codec, sent)
    found = sorted(consume_confluent(broker, topic, PARTITIONS, len(sent)))
    if client == "kcat":  # it stamps records itself
        sent, found = without_times(sent), without_times(found)
    assert found == sorted(sent)


@pytest.mark.parametrize("client", CONSUMERS)
def test_what_is_stored_in_any_codec_is_read(broker: str, topic: str, client: str) -> None:
    create_topic(broker, topic, PARTITIONS)
    sent: list[Record] = []
    for codec in CODECS:
        if not supports(client, codec):
            continue
        batch = [
            dataclasses.replace(record, offset=record.offset + len(sent) // PARTITIONS)
            for record in records_of(150)
        ]
        PRODUCERS["confluent-kafka"](broker, topic, codec, batch)
        sent += batch
    found = CONSUMERS[client](broker, topic, PARTITIONS, len(sent))
    assert sorted(found) == sorted(sent)
    for partition in range(PARTITIONS):
        offsets = [record.offset for record in found if record.partition == partition]
        assert offsets == sorted(offsets)


@pytest.mark.parametrize("client", CONSUMERS)
def test_records_larger_than_a_fetch_are_read(broker: str, topic: str, client: str) -> None:
    create_topic(broker, topic, PARTITIONS)
    sent = [
        Record(0, index, b"k", bytes([65 + index]) * 900_000, BASE_MS + index)
        for index in range(12)
    ]
    PRODUCERS["confluent-kafka"](broker, topic, "none", sent)
    assert CONSUMERS[client](broker, topic, PARTITIONS, len(sent)) == sent


@pytest.mark.parametrize("client", [name for name in PRODUCERS if name != "kcat"])
def test_empty_values_and_missing_keys_survive(broker: str, topic: str, client: str) -> None:
    create_topic(broker, topic)
    sent = [
        Record(0, 0, None, b"no key", BASE_MS),
        Record(0, 1, b"tombstone", None, BASE_MS),
        Record(0, 2, b"", b"", BASE_MS),
    ]
    PRODUCERS[client](broker, topic, "none", sent)
    for consume in CONSUMERS.values():
        assert consume(broker, topic, 1, len(sent)) == sent
