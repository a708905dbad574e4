"""InitProducerId (key 22): gives an idempotent producer its id and epoch.

A producer without a transactional id gets a new id with epoch 0 each time, also when it names the
one it had (KIP-360): what it sent under the old one is settled by then. Transactions are not
served, and a request for them says so.

Version notes: 0 must be there for aiokafka; 2 flexible; 3 id and epoch of a producer that recovers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.init_producer_id import InitProducerIdResponse

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.init_producer_id import InitProducerIdRequest


async def handle_init_producer_id(
    request: InitProducerIdRequest, context: RequestContext
) -> InitProducerIdResponse:
    """Hands out a new producer id."""
    if request.transactional_id is not None:
        return InitProducerIdResponse(
            error_code=ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            producer_id=-1,
            producer_epoch=-1,
        )
    producer_id = await context.broker.producer_ids.take()
    return InitProducerIdResponse(producer_id=producer_id, producer_epoch=0)
