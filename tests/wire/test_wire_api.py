"""The versions that the broker advertises."""

from __future__ import annotations

from streamlog.wire.api import API, ApiKey, spec_of
from streamlog.wire.messages.produce import ProduceRequest, ProduceResponse

ADVERTISED = {
    ApiKey.PRODUCE: (0, 9),
    ApiKey.FETCH: (4, 12),
    ApiKey.LIST_OFFSETS: (1, 7),
    ApiKey.METADATA: (0, 12),
    ApiKey.OFFSET_COMMIT: (2, 8),
    ApiKey.OFFSET_FETCH: (1, 8),
    ApiKey.FIND_COORDINATOR: (0, 4),
    ApiKey.JOIN_GROUP: (0, 9),
    ApiKey.HEARTBEAT: (0, 4),
    ApiKey.LEAVE_GROUP: (0, 5),
    ApiKey.SYNC_GROUP: (0, 5),
    ApiKey.DESCRIBE_GROUPS: (0, 5),
    ApiKey.LIST_GROUPS: (0, 5),
    ApiKey.API_VERSIONS: (0, 4),
    ApiKey.CREATE_TOPICS: (2, 7),
    ApiKey.DELETE_TOPICS: (1, 6),
    ApiKey.DELETE_RECORDS: (0, 2),
    ApiKey.INIT_PRODUCER_ID: (0, 4),
    ApiKey.OFFSET_FOR_LEADER_EPOCH: (2, 4),
    ApiKey.DESCRIBE_CONFIGS: (1, 4),
    ApiKey.ALTER_CONFIGS: (0, 2),
    ApiKey.DESCRIBE_LOG_DIRS: (1, 4),
    ApiKey.CREATE_PARTITIONS: (0, 3),
    ApiKey.DELETE_GROUPS: (0, 2),
    ApiKey.INCREMENTAL_ALTER_CONFIGS: (0, 1),
    ApiKey.OFFSET_DELETE: (0, 0),
    ApiKey.DESCRIBE_CLUSTER: (0, 1),
}

OLD_LIBRDKAFKA = {
    # Its features hang on these single versions being in range.
    ApiKey.PRODUCE: (0, 3, 7),
    ApiKey.FETCH: (4, 10),
    ApiKey.LIST_OFFSETS: (1,),
    ApiKey.FIND_COORDINATOR: (0,),
    ApiKey.INIT_PRODUCER_ID: (0,),
    ApiKey.JOIN_GROUP: (0,),
    ApiKey.OFFSET_COMMIT: (2,),
    ApiKey.OFFSET_FETCH: (1,),
    ApiKey.SYNC_GROUP: (0,),
    ApiKey.HEARTBEAT: (0,),
    ApiKey.LEAVE_GROUP: (0,),
    ApiKey.OFFSET_FOR_LEADER_EPOCH: (2,),
}


def test_the_advertised_versions() -> None:
    found = {spec.key: (spec.advertised.first, spec.advertised.last) for spec in API.values()}
    assert found == ADVERTISED


def test_what_is_advertised_is_served_but_for_the_first_produces() -> None:
    for spec in API.values():
        unserved = [
            version
            for version in range(spec.advertised.first, spec.advertised.last + 1)
            if version not in spec.versions
        ]
        assert unserved == ([0, 1, 2] if spec.key is ApiKey.PRODUCE else [])


def test_old_librdkafka_finds_its_features() -> None:
    for key, versions in OLD_LIBRDKAFKA.items():
        for version in versions:
            assert version in API[key].advertised


def test_a_class_leads_to_its_api() -> None:
    assert spec_of(ProduceRequest).key is spec_of(ProduceResponse).key is ApiKey.PRODUCE
