"""Which APIs are served, in which versions: the one table behind the broker and the client.

The versions are those of the messages' declarations. The broker advertises them in its answer to
ApiVersions, with one exception: Produce from 0 on. librdkafka before 2.11 looks at Produce's lowest
version to decide whether it may compress, and sends everything uncompressed when it is 3. No client
that lives sends 0 to 2; one that did would be told that the version is not served.

Every lowest version is low enough for Debian's librdkafka 2.0.2, whose features hang on single
versions being in range, and every highest one is one that a client of today accepts.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamlog.wire.api_keys import ApiKey as ApiKey
from streamlog.wire.messages.alter_configs import AlterConfigsRequest, AlterConfigsResponse
from streamlog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from streamlog.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
)
from streamlog.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse
from streamlog.wire.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
from streamlog.wire.messages.delete_records import DeleteRecordsRequest, DeleteRecordsResponse
from streamlog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from streamlog.wire.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from streamlog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse
from streamlog.wire.messages.describe_groups import DescribeGroupsRequest, DescribeGroupsResponse
from streamlog.wire.messages.describe_log_dirs import (
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
)
from streamlog.wire.messages.fetch import FetchRequest, FetchResponse
from streamlog.wire.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from streamlog.wire.messages.incremental_alter_configs import (
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from streamlog.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from streamlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from streamlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from streamlog.wire.messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse
from streamlog.wire.messages.metadata import MetadataRequest, MetadataResponse
from streamlog.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from streamlog.wire.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
from streamlog.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse
from streamlog.wire.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from streamlog.wire.messages.produce import ProduceRequest, ProduceResponse
from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from streamlog.wire.schema import Request, Response, VersionRange, schema_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSpec:
    """One API: its number, its two messages and its versions."""

    key: ApiKey
    request: type[Request[Response]]
    response: type[Response]
    versions: VersionRange
    """The versions that both messages are declared for."""
    advertised: VersionRange
    """The versions that the broker tells clients."""
    flexible: VersionRange
    """The versions with compact lengths and tagged fields, in body and header."""


def _spec(
    key: ApiKey,
    request: type[Request[Response]],
    response: type[Response],
    *,
    advertised_first: int | None = None,
) -> ApiSpec:
    versions, flexible = schema_of(request).versions, schema_of(request).flexible
    assert schema_of(response).versions == versions
    assert schema_of(response).flexible == flexible
    first = versions.first if advertised_first is None else advertised_first
    return ApiSpec(
        key=key,
        request=request,
        response=response,
        versions=versions,
        advertised=VersionRange(first, versions.last),
        flexible=flexible,
    )


_SPECS = (
    _spec(ApiKey.PRODUCE, ProduceRequest, ProduceResponse, advertised_first=0),
    _spec(ApiKey.FETCH, FetchRequest, FetchResponse),
    _spec(ApiKey.LIST_OFFSETS, ListOffsetsRequest, ListOffsetsResponse),
    _spec(ApiKey.METADATA, MetadataRequest, MetadataResponse),
    _spec(ApiKey.OFFSET_COMMIT, OffsetCommitRequest, OffsetCommitResponse),
    _spec(ApiKey.OFFSET_FETCH, OffsetFetchRequest, OffsetFetchResponse),
    _spec(ApiKey.FIND_COORDINATOR, FindCoordinatorRequest, FindCoordinatorResponse),
    _spec(ApiKey.JOIN_GROUP, JoinGroupRequest, JoinGroupResponse),
    _spec(ApiKey.HEARTBEAT, HeartbeatRequest, HeartbeatResponse),
    _spec(ApiKey.LEAVE_GROUP, LeaveGroupRequest, LeaveGroupResponse),
    _spec(ApiKey.SYNC_GROUP, SyncGroupRequest, SyncGroupResponse),
    _spec(ApiKey.DESCRIBE_GROUPS, DescribeGroupsRequest, DescribeGroupsResponse),
    _spec(ApiKey.LIST_GROUPS, ListGroupsRequest, ListGroupsResponse),
    _spec(ApiKey.API_VERSIONS, ApiVersionsRequest, ApiVersionsResponse),
    _spec(ApiKey.CREATE_TOPICS, CreateTopicsRequest, CreateTopicsResponse),
    _spec(ApiKey.DELETE_TOPICS, DeleteTopicsRequest, DeleteTopicsResponse),
    _spec(ApiKey.DELETE_RECORDS, DeleteRecordsRequest, DeleteRecordsResponse),
    _spec(ApiKey.INIT_PRODUCER_ID, InitProducerIdRequest, InitProducerIdResponse),
    _spec(
        ApiKey.OFFSET_FOR_LEADER_EPOCH, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse
    ),
    _spec(ApiKey.DESCRIBE_CONFIGS, DescribeConfigsRequest, DescribeConfigsResponse),
    _spec(ApiKey.ALTER_CONFIGS, AlterConfigsRequest, AlterConfigsResponse),
    _spec(ApiKey.DESCRIBE_LOG_DIRS, DescribeLogDirsRequest, DescribeLogDirsResponse),
    _spec(ApiKey.CREATE_PARTITIONS, CreatePartitionsRequest, CreatePartitionsResponse),
    _spec(ApiKey.DELETE_GROUPS, DeleteGroupsRequest, DeleteGroupsResponse),
    _spec(
        ApiKey.INCREMENTAL_ALTER_CONFIGS,
        IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse,
    ),
    _spec(ApiKey.OFFSET_DELETE, OffsetDeleteRequest, OffsetDeleteResponse),
    _spec(ApiKey.DESCRIBE_CLUSTER, DescribeClusterRequest, DescribeClusterResponse),
)

API: dict[int, ApiSpec] = {spec.key: spec for spec in _SPECS}
"""The table, by an API's number."""

_OF_CLASS: dict[type, ApiSpec] = {
    cls: spec for spec in _SPECS for cls in (spec.request, spec.response)
}


def spec_of(cls: type) -> ApiSpec:
    """The API that a request's or response's class belongs to."""
    return _OF_CLASS[cls]
