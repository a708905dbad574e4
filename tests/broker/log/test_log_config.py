"""Topic settings: Kafka's names, defaults and limits."""

from __future__ import annotations

import dataclasses

import pytest

from streamlog.broker.log.config import CONFIG_DEFINITIONS, LogConfig
from streamlog.broker.log.errors import InvalidConfigError
from streamlog.wire.error_codes import ErrorCode


def test_the_table_and_the_class_say_the_same() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(LogConfig)}
    assert set(fields) == {definition.field for definition in CONFIG_DEFINITIONS.values()}
    for definition in CONFIG_DEFINITIONS.values():
        assert definition.parse(definition.default) == fields[definition.field], definition.name


def test_settings_go_over_a_base() -> None:
    base = LogConfig.from_mapping({"retention.ms": "5", "segment.bytes": "1000"})
    config = LogConfig.from_mapping({"retention.ms": "-1"}, base=base)
    assert (config.retention_ms, config.segment_bytes) == (-1, 1000)


def test_policies_are_lists() -> None:
    both = LogConfig.from_mapping({"cleanup.policy": "compact, delete"})
    assert both.is_compacted
    assert both.deletes
    neither = LogConfig.from_mapping({"cleanup.policy": ""})
    assert not neither.is_compacted
    assert not neither.deletes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cleanup.policy", "forget"),
        ("compression.type", "rar"),
        ("retention.ms", "-2"),
        ("retention.ms", "soon"),
        ("retention.ms", "1.5"),
        ("retention.ms", str(1 << 63)),
        ("segment.bytes", str(1 << 31)),
        ("segment.bytes", "13"),
        ("max.message.bytes", "-1"),
        ("min.insync.replicas", "0"),
        ("min.cleanable.dirty.ratio", "1.1"),
        ("min.cleanable.dirty.ratio", "nan"),
        ("message.timestamp.type", "createtime"),
        ("write.caching", "yes"),
        ("remote.storage.enable", "true"),
        ("no.such.setting", "1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        LogConfig.from_mapping({name: value})
    assert caught.value.name == name
    assert name in str(caught.value)
    assert caught.value.code is ErrorCode.INVALID_CONFIG


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidConfigError):
        LogConfig.from_mapping({"retention.ms": None})


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InvalidConfigError):
        LogConfig.from_mapping({"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"})
