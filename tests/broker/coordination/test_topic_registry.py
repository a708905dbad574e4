"""Topics: what may be created and changed, what survives, and what names are refused."""

from __future__ import annotations

import uuid

import msgspec
import pytest
import trio
import trio.testing

from streamlog.broker.coordination.errors import StoreDamaged, StoreFailed, TopicError
from streamlog.broker.coordination.memory_store import MemoryStore
from streamlog.broker.coordination.topics import TopicRegistry, check_topic_name
from streamlog.wire.error_codes import ErrorCode


async def code_of(change: object) -> ErrorCode:
    with pytest.raises(TopicError) as refusal:
        await change  # type: ignore[misc]
    return refusal.value.code


async def test_a_topic_is_found_by_name_and_id_and_survives_a_restart() -> None:
    store = MemoryStore()
    registry = await TopicRegistry.load(store)
    made = await registry.create("flights", 3, {"retention.ms": "1000"})
    for seen in (registry, await TopicRegistry.load(store)):
        assert seen.get("flights") == made
        assert seen.by_id(made.topic_id) == made
        assert seen.partition_count("flights") == 3
        assert [topic.name for topic in seen] == ["flights"]
        assert dict(made.configs) == {"retention.ms": "1000"}


async def test_unknown_topics_are_unknown() -> None:
    registry = await TopicRegistry.load(MemoryStore())
    assert registry.get("nope") is None
    assert registry.partition_count("nope") is None
    assert "nope" not in registry
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert await code_of(registry.delete("nope")) == unknown
    assert await code_of(registry.add_partitions("nope", 2)) == unknown
    assert await code_of(registry.alter_configs("nope", {})) == unknown


async def test_a_topic_created_anew_has_a_new_id() -> None:
    registry = await TopicRegistry.load(MemoryStore())
    first = await registry.create("t", 1)
    assert await registry.delete("t") == first
    second = await registry.create("t", 1)
    assert second.topic_id != first.topic_id
    assert registry.by_id(first.topic_id) is None


async def test_partitions_only_grow() -> None:
    store = MemoryStore()
    registry = await TopicRegistry.load(store)
    made = await registry.create("t", 2, {"a": "b"})
    for count in (0, 1, 2, 10_001):
        assert await code_of(registry.add_partitions("t", count)) == ErrorCode.INVALID_PARTITIONS
    grown = await registry.add_partitions("t", 5)
    assert (grown.partition_count, grown.topic_id) == (5, made.topic_id)
    again = await registry.add_partitions("t", 6)
    assert (await TopicRegistry.load(store)).get("t") == again


@pytest.mark.parametrize("count", [0, -1, 10_001])
async def test_a_topic_has_a_sensible_number_of_partitions(count: int) -> None:
    registry = await TopicRegistry.load(MemoryStore())
    assert await code_of(registry.create("t", count)) == ErrorCode.INVALID_PARTITIONS


async def test_settings_are_replaced_whole() -> None:
    store = MemoryStore()
    registry = await TopicRegistry.load(store)
    await registry.create("t", 1, {"a": "1", "b": "2"})
    await registry.alter_configs("t", {"b": "3"})
    topic = (await TopicRegistry.load(store)).get("t")
    assert topic is not None
    assert dict(topic.configs) == {"b": "3"}


async def test_growing_after_new_settings_keeps_them() -> None:
    registry = await TopicRegistry.load(MemoryStore())
    await registry.create("t", 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.alter_configs, "t", {"a": "1"})
        nursery.start_soon(registry.add_partitions, "t", 2)
    topic = registry.get("t")
    assert topic is not None
    assert (dict(topic.configs), topic.partition_count) == ({"a": "1"}, 2)


async def test_a_name_is_taken_once_also_by_concurrent_requests() -> None:
    registry = await TopicRegistry.load(MemoryStore())
    refused: list[ErrorCode] = []

    async def create(name: str) -> None:
        try:
            await registry.create(name, 1)
        except TopicError as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(create, "t")
    assert refused == [ErrorCode.TOPIC_ALREADY_EXISTS] * 4
    assert len(registry) == 1


async def test_dots_and_underscores_do_not_tell_topics_apart() -> None:
    registry = await TopicRegistry.load(MemoryStore())
    await registry.create("a.b", 1)
    assert await code_of(registry.create("a_b", 1)) == ErrorCode.INVALID_TOPIC_EXCEPTION
    await registry.create("a-b", 1)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../etc",
        "a/b",
        "a\0b",
        "a b",
        "a\n",
        "\x1b[31mred",
        "naïve",
        "x" * 250,
        "__consumer_offsets",
        "__transaction_state",
    ],
)
async def test_names_that_no_topic_can_have_are_refused(name: str) -> None:
    registry = await TopicRegistry.load(MemoryStore())
    assert await code_of(registry.create(name, 1)) == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert len(registry) == 0


@pytest.mark.parametrize("name", ["a", "...", "x" * 249, "A-z_0.9"])
def test_names_that_kafka_allows_are_allowed(name: str) -> None:
    check_topic_name(name)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/brokers/topics/a%2Fb", b'{"topic_id": "%s", "partition_count": 1}' % bytes(32)),
        ("/brokers/topics/t", b"not json"),
        ("/brokers/topics/t", b'{"topic_id": 5}'),
    ],
)
async def test_a_damaged_store_is_refused_by_the_nodes_path(path: str, value: bytes) -> None:
    store = MemoryStore()
    await store.create(path, value)
    with pytest.raises(StoreDamaged, match=path):
        await TopicRegistry.load(store)


async def test_ids_come_from_where_they_are_asked_to_come_from() -> None:
    ids = [uuid.UUID(int=7)]
    registry = await TopicRegistry.load(MemoryStore(), ids.pop)
    assert (await registry.create("t", 1)).topic_id == uuid.UUID(int=7)


class FailingStore(MemoryStore):
    async def transact(self, operations: object) -> None:
        raise StoreFailed("no space left on device")


async def test_what_could_not_be_stored_is_not_there() -> None:
    registry = await TopicRegistry.load(FailingStore())
    with pytest.raises(StoreFailed):
        await registry.create("t", 1)
    assert "t" not in registry


class SlowStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.go = trio.Event()

    async def transact(self, operations: object) -> None:
        await self.go.wait()
        await super().transact(operations)  # type: ignore[arg-type]


async def test_a_cancelled_change_is_done_in_memory_as_on_disk() -> None:
    store = SlowStore()
    registry = await TopicRegistry.load(store)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(registry.create, "t", 1)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            store.go.set()
    assert "t" in registry
    assert await store.get("/brokers/topics/t") is not None


async def test_the_stored_form_is_plain_json() -> None:
    store = MemoryStore()
    registry = await TopicRegistry.load(store, lambda: uuid.UUID(int=1))
    await registry.create("t", 2, {"a": "b"})
    node = await store.get("/brokers/topics/t")
    configs = await store.get("/config/topics/t")
    assert node is not None
    assert configs is not None
    assert msgspec.json.decode(node.value) == {
        "topic_id": "00000000-0000-0000-0000-000000000001",
        "partition_count": 2,
    }
    assert msgspec.json.decode(configs.value) == {"a": "b"}


async def test_topics_are_taken_over_with_their_ids_all_or_none() -> None:
    store = MemoryStore()
    registry = await TopicRegistry.load(store)
    assert registry.is_new
    kept = uuid.UUID(int=7)
    found = {"orders": (3, kept), "events": (1, None), "__consumer_offsets": (50, None)}
    taken = await registry.take_over(found, {"retention.ms": "-1"})
    assert [topic.name for topic in taken] == ["orders", "events"]
    again = await TopicRegistry.load(store)
    assert not again.is_new
    assert [(topic.name, topic.partition_count) for topic in again] == [
        ("events", 1),
        ("orders", 3),
    ]
    orders = again.get("orders")
    assert orders is not None
    assert (orders.topic_id, orders.configs) == (kept, {"retention.ms": "-1"})
