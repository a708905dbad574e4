"""Settings that cannot be are refused with words that help."""

from __future__ import annotations

import pytest

from streamlog.client.cluster.versions import BrokerVersions
from streamlog.client.config import ClientConfig, GroupConfig, ProducerConfig, parse_address
from streamlog.client.errors import UnsupportedVersionError
from streamlog.errors import UsageError
from streamlog.wire.api import ApiKey
from streamlog.wire.messages.api_versions import ApiVersion


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        ("localhost:9092", ("localhost", 9092)),
        ("localhost", ("localhost", 9092)),
        ("[::1]:1", ("::1", 1)),
        ("[fe80::1]", ("fe80::1", 9092)),
    ],
)
def test_addresses_are_read(address: str, parsed: tuple[str, int]) -> None:
    assert parse_address(address) == parsed


@pytest.mark.parametrize("address", ["", ":9092", "host:", "host:x", "host:0", "host:65536"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"is not a broker address\. Write it as host:port"):
        ClientConfig(brokers=(address,))


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="no broker address"):
        ClientConfig(brokers=())
    with pytest.raises(UsageError, match="an idempotent producer needs acks=-1, not acks=1"):
        ProducerConfig(acks=1)
    with pytest.raises(UsageError, match="in_flight_max=6"):
        ProducerConfig(in_flight_max=6)
    with pytest.raises(UsageError, match="acks=2 is none of -1, 0 and 1"):
        ProducerConfig(acks=2)
    with pytest.raises(UsageError, match="is not below session_timeout_ms=1000"):
        GroupConfig(group="g", topics=(), session_timeout_ms=1_000, heartbeat_interval_ms=1_000)
    with pytest.raises(UsageError, match="a consumer group needs a name"):
        GroupConfig(group="", topics=())


def speaks(api: ApiKey, lowest: int, highest: int) -> BrokerVersions:
    return BrokerVersions([ApiVersion(api_key=api, min_version=lowest, max_version=highest)])


def test_the_highest_common_version_is_spoken() -> None:
    assert speaks(ApiKey.FETCH, 4, 18).choose(ApiKey.FETCH, "b") == 12
    assert speaks(ApiKey.FETCH, 0, 7).choose(ApiKey.FETCH, "b") == 7
    assert speaks(ApiKey.PRODUCE, 0, 13).choose(ApiKey.PRODUCE, "b") == 9


def test_a_broker_with_nothing_in_common_is_named() -> None:
    with pytest.raises(
        UnsupportedVersionError, match="at b speaks FETCH 15 to 18, streamlog 4 to 12"
    ):
        speaks(ApiKey.FETCH, 15, 18).choose(ApiKey.FETCH, "b")
    with pytest.raises(UnsupportedVersionError, match="at b does not know PRODUCE"):
        speaks(ApiKey.FETCH, 4, 12).choose(ApiKey.PRODUCE, "b")
