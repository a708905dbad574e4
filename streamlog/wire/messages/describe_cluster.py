"""DescribeCluster: the brokers and the controller.

Flexible from the start. Versions: 1 endpoint type (1 brokers, 2 controllers).
"""

from streamlog.wire.schema import (
    Bool,
    Int8,
    Int16,
    Int32,
    Request,
    Response,
    String,
    field,
    message,
    struct,
)


@struct
class DescribeClusterBroker:
    """An element of `DescribeClusterResponse.brokers`."""

    broker_id: Int32 = 0
    host: String = ""
    port: Int32 = 0
    rack: String | None = None


@message(versions="0-1", flexible="0+")
class DescribeClusterResponse(Response):
    """The cluster."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = None
    endpoint_type: Int8 = field("1+", default=1)
    cluster_id: String = ""
    controller_id: Int32 = -1
    brokers: list[DescribeClusterBroker] = field(default_factory=list)
    cluster_authorized_operations: Int32 = -2147483648


@message(versions="0-1", flexible="0+")
class DescribeClusterRequest(Request[DescribeClusterResponse]):
    """Asks for the cluster."""

    include_cluster_authorized_operations: Bool = False
    endpoint_type: Int8 = field("1+", default=1)
