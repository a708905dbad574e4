from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from handlers_harness import Harness, batch_of, running

from streamlog.broker.config import BrokerConfig
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages import alter_configs, incremental_alter_configs
from streamlog.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResult,
)

if TYPE_CHECKING:
    from pathlib import Path

TOPIC, BROKER, GROUP = 2, 4, 32
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3


async def describe(
    broker: Harness, kind: int, name: str, keys: list[str] | None = None
) -> DescribeConfigsResult:
    resource = DescribeConfigsResource(
        resource_type=kind, resource_name=name, configuration_keys=keys
    )
    request = DescribeConfigsRequest(
        resources=[resource], include_synonyms=True, include_documentation=True
    )
    return (await broker.ask(request)).results[0]


async def setting(broker: Harness, name: str) -> DescribeConfigsResourceResult:
    return (await describe(broker, TOPIC, "orders", [name])).configs[0]


async def change(
    broker: Harness,
    name: str,
    operation: int,
    value: str | None,
    *,
    topic: str = "orders",
    kind: int = TOPIC,
    validate_only: bool = False,
) -> int:
    resource = incremental_alter_configs.AlterConfigsResource(
        resource_type=kind,
        resource_name=topic,
        configs=[
            incremental_alter_configs.AlterableConfig(
                name=name, config_operation=operation, value=value
            )
        ],
    )
    request = incremental_alter_configs.IncrementalAlterConfigsRequest(
        resources=[resource], validate_only=validate_only
    )
    return (await broker.ask(request)).responses[0].error_code


async def test_settings_say_where_they_come_from(tmp_path: Path) -> None:
    config = BrokerConfig(data=tmp_path, topic_defaults={"segment.ms": "3600000"})
    async with running(tmp_path, config) as broker:
        await broker.create("orders", retention_ms="1000")
        by_name = {item.name: item for item in (await describe(broker, TOPIC, "orders")).configs}
        assert (by_name["retention.ms"].value, by_name["retention.ms"].config_source) == ("1000", 1)
        assert (by_name["segment.ms"].value, by_name["segment.ms"].config_source) == ("3600000", 4)
        assert by_name["max.message.bytes"].config_source == 5
        assert [item.source for item in by_name["retention.ms"].synonyms] == [1, 5]
        assert by_name["retention.ms"].config_type == 5
        assert by_name["retention.ms"].documentation
        assert broker.log("orders").config.segment_ms == 3_600_000


async def test_only_the_settings_that_were_asked_for_are_told(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        result = await describe(broker, TOPIC, "orders", ["cleanup.policy", "no.such"])
        assert [item.name for item in result.configs] == ["cleanup.policy"]


async def test_a_broker_tells_its_settings_and_refuses_to_change_them(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        result = await describe(broker, BROKER, "1")
        by_name = {item.name: item for item in result.configs}
        assert by_name["num.partitions"].value == "1"
        assert by_name["num.partitions"].read_only
        assert (await describe(broker, BROKER, "2")).error_code == ErrorCode.INVALID_REQUEST
        assert (await describe(broker, GROUP, "g")).error_code == ErrorCode.INVALID_REQUEST
        code = await change(broker, "num.partitions", SET, "5", topic="1", kind=BROKER)
        assert code == ErrorCode.INVALID_REQUEST


async def test_an_unknown_topic_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert (await describe(broker, TOPIC, "nothing")).error_code == unknown
        assert await change(broker, "retention.ms", SET, "1", topic="nothing") == unknown


async def test_a_changed_setting_holds_for_the_next_append_and_after_a_restart(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        assert await change(broker, "max.message.bytes", SET, "100") == 0
        answer = await broker.append("orders", batch_of(b"x" * 200))
        assert answer.error_code == ErrorCode.MESSAGE_TOO_LARGE
    async with running(tmp_path) as broker:
        assert (await setting(broker, "max.message.bytes")).value == "100"
        assert await change(broker, "max.message.bytes", DELETE, None) == 0
        assert (await broker.append("orders", batch_of(b"x" * 200))).error_code == 0


async def test_lists_are_added_to_and_taken_from(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        assert await change(broker, "cleanup.policy", APPEND, "compact") == 0
        assert (await setting(broker, "cleanup.policy")).value == "delete,compact"
        assert await change(broker, "cleanup.policy", SUBTRACT, "delete") == 0
        assert (await setting(broker, "cleanup.policy")).value == "compact"
        code = await change(broker, "retention.ms", APPEND, "5")
        assert code == ErrorCode.INVALID_CONFIG


@pytest.mark.parametrize(
    ("name", "operation", "value", "code"),
    [
        ("retention.ms", SET, "soon", ErrorCode.INVALID_CONFIG),
        ("no.such.setting", SET, "1", ErrorCode.INVALID_CONFIG),
        ("retention.ms", SET, None, ErrorCode.INVALID_REQUEST),
        ("retention.ms", 9, "1", ErrorCode.INVALID_REQUEST),
    ],
)
async def test_a_wrong_change_is_refused_and_changes_nothing(
    tmp_path: Path, name: str, operation: int, value: str | None, code: ErrorCode
) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", retention_ms="1000")
        assert await change(broker, name, operation, value) == code
        assert (await setting(broker, "retention.ms")).value == "1000"


async def test_validate_only_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", retention_ms="1000")
        assert await change(broker, "retention.ms", SET, "5", validate_only=True) == 0
        assert (await setting(broker, "retention.ms")).value == "1000"


async def test_alter_configs_replaces_all_settings(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", retention_ms="1000", segment_ms="5000")
        resource = alter_configs.AlterConfigsResource(
            resource_type=TOPIC,
            resource_name="orders",
            configs=[alter_configs.AlterableConfig(name="segment.ms", value="7000")],
        )
        request = alter_configs.AlterConfigsRequest(resources=[resource])
        assert (await broker.ask(request)).responses[0].error_code == 0
        found = broker.services.topics.get("orders")
        assert found is not None
        assert dict(found.configs) == {"segment.ms": "7000"}
        assert broker.log("orders").config.segment_ms == 7000
