"""What the tests with foreign clients share: a broker of ours, an Apache Kafka, and fresh names."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import apache_kafka
import pytest
import trio
from apache_kafka import Node
from interop_broker import own_broker

from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running broker."""
    with own_broker(tmp_path_factory.mktemp("interop") / "data") as address:
        yield address


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("apache")
    with apache_kafka.running(folder) as address:
        yield Node(address, folder / "data")


@pytest.fixture(scope="module")
def node(apache: Node) -> Iterator[Node]:
    """A running Apache Kafka that has no topics, for each module."""
    yield apache
    trio.run(delete_all_topics, apache.address)


@pytest.fixture(scope="module")
def kafka(node: Node) -> str:
    """Its address."""
    return node.address


async def delete_all_topics(address: str) -> None:
    async with open_client(ClientConfig(brokers=(address,))) as client:
        admin = Admin(client)
        topics = await admin.list_topics()
        await admin.delete_topics([each.name for each in topics if not each.internal])


@pytest.fixture
def topic() -> str:
    """A name that nobody uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group() -> str:
    """A name that nobody uses."""
    return f"g-{uuid.uuid4().hex[:12]}"
