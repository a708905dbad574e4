"""DescribeCluster (key 60): the brokers and the controller, for admin clients.

Version notes: 1 endpoint type; only brokers (1) can be asked for here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterResponse,
)

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.describe_cluster import DescribeClusterRequest

BROKER_ENDPOINTS = 1


def handle_describe_cluster(
    request: DescribeClusterRequest, context: RequestContext
) -> DescribeClusterResponse:
    """Describes the one broker."""
    broker = context.broker
    if request.endpoint_type != BROKER_ENDPOINTS:
        return DescribeClusterResponse(
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE,
            error_message="This is a broker; its controller has no address of its own.",
            endpoint_type=BROKER_ENDPOINTS,
        )
    host, port = context.address
    return DescribeClusterResponse(
        cluster_id=broker.cluster_id,
        controller_id=broker.config.node_id,
        brokers=[
            DescribeClusterBroker(
                broker_id=broker.config.node_id, host=host, port=port, rack=broker.config.rack
            )
        ],
    )
