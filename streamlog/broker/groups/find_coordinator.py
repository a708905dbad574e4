"""FindCoordinator 0-4: who coordinates a group or a transactional id.

A broker that stands alone coordinates everything, so every key has an answer, whether the group is
there yet or not. Versions 0-3 ask for one key and are answered in the response itself; from 4 a
request holds many keys and the answer is a list.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)

GROUP_KEY, TRANSACTION_KEY = 0, 1
_BATCHED_FROM = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorAddress:
    """Where a coordinator is reached."""

    node_id: int
    host: str
    port: int


NOBODY = CoordinatorAddress(node_id=-1, host="", port=-1)


def find_coordinator(
    request: FindCoordinatorRequest, version: int, coordinator: CoordinatorAddress | None
) -> FindCoordinatorResponse:
    """Answers with `coordinator` for every key; None means that no broker could be one now."""
    error, message = ErrorCode.NONE, None
    if request.key_type not in (GROUP_KEY, TRANSACTION_KEY):
        error = ErrorCode.INVALID_REQUEST
        message = f"key type {request.key_type} is neither 0 (group) nor 1 (transaction)"
    elif coordinator is None:
        error, message = ErrorCode.COORDINATOR_NOT_AVAILABLE, "no coordinator is available"
    address = coordinator if coordinator is not None and not error else NOBODY
    if version < _BATCHED_FROM:
        return FindCoordinatorResponse(
            error_code=error,
            error_message=message,
            node_id=address.node_id,
            host=address.host,
            port=address.port,
        )
    return FindCoordinatorResponse(
        coordinators=[
            Coordinator(
                key=key,
                node_id=address.node_id,
                host=address.host,
                port=address.port,
                error_code=error,
                error_message=message,
            )
            for key in request.coordinator_keys
        ]
    )
