"""InitProducerId: a producer gets an id and an epoch.

Versions: 2 flexible; 3 a producer says which id and epoch it has, to go on with a higher epoch; 4
tells a fenced producer so (error 90).
"""

from streamlog.wire.schema import Int16, Int32, Int64, Request, Response, String, field, message


@message(versions="0-4", flexible="2+")
class InitProducerIdResponse(Response):
    """Its id and epoch."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = 0
    producer_id: Int64 = -1
    producer_epoch: Int16 = 0


@message(versions="0-4", flexible="2+")
class InitProducerIdRequest(Request[InitProducerIdResponse]):
    """A producer starts."""

    transactional_id: String | None = ""
    transaction_timeout_ms: Int32 = 0
    producer_id: Int64 = field("3+", default=-1)
    producer_epoch: Int16 = field("3+", default=-1)
