"""A broker's figures are those that clients see, under the names that dashboards have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from streamlog.broker.broker import open_broker
from streamlog.broker.config import BrokerConfig
from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig, ConsumerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import EARLIEST, OffsetAndMetadata, TopicPartition
from streamlog.metrics.exposition import render

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.broker.broker import Broker

parser = pytest.importorskip("prometheus_client.parser")


def figures(broker: Broker) -> dict[str, float]:
    text = render(broker.families()).decode()
    return {
        ",".join(
            [sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items()))]
        ): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_records_groups_and_requests_are_counted(tmp_path: Path) -> None:
    config = BrokerConfig(data=tmp_path, listen=(("127.0.0.1", 0),))
    async with open_broker(config) as broker:
        address = f"127.0.0.1:{broker.port}"
        with trio.fail_after(30):
            async with open_client(ClientConfig(brokers=(address,))) as client:
                admin = Admin(client)
                await admin.create_topics([NewTopic("orders", 2), NewTopic("gone", 1)])
                async with open_producer(client) as producer:
                    for topic, partition in (("orders", 0), ("orders", 1), ("gone", 0)):
                        sent = await producer.send_columns(
                            topic, partition, [None] * 5, [b"x" * 100] * 5, [1] * 5
                        )
                        await sent.wait()
                place = TopicPartition("orders", 1)
                async with open_consumer(client, ConsumerConfig()) as consumer:
                    await consumer.assign({place: EARLIEST})
                    while (consumer.position(place) or 0) < 5:
                        await consumer.poll(100)
                    await consumer.commit("billing", {place: OffsetAndMetadata(3)})
                await admin.delete_topics(["gone"])
                found = figures(broker)
    assert found["kafka_brokers"] == 1
    assert found["kafka_topic_partitions,topic=orders"] == 2
    assert found["kafka_topic_partition_current_offset,partition=1,topic=orders"] == 5
    assert found["kafka_topic_partition_oldest_offset,partition=1,topic=orders"] == 0
    where = "consumergroup=billing,partition=1,topic=orders"
    assert found[f"kafka_consumergroup_current_offset,{where}"] == 3
    assert found[f"kafka_consumergroup_lag,{where}"] == 2
    assert found["kafka_consumergroup_lag_sum,consumergroup=billing,topic=orders"] == 2
    assert found["kafka_consumergroup_members,consumergroup=billing"] == 0
    topic_metrics = "kafka_server_brokertopicmetrics"
    assert found[f"{topic_metrics}_messagesin_total,topic=orders"] == 10
    assert found[f"{topic_metrics}_bytesin_total,topic=orders"] > 1000
    assert found[f"{topic_metrics}_bytesout_total,topic=orders"] > 500
    assert found[f"{topic_metrics}_failedproducerequests_total,topic=orders"] == 0
    assert not [name for name in found if "gone" in name]
    assert found["kafka_log_log_size,partition=0,topic=orders"] > 500
    assert found["kafka_network_requestmetrics_requests_total,request=CreateTopics"] == 1
    assert found["kafka_server_replicamanager_partitioncount"] == 2
    assert found["streamlog_broker_connections"] >= 1
    assert broker.why_ill() is None
