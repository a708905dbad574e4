"""The states of a consumer group: which may follow which, and what each answers.

    Empty ──────────────► PreparingRebalance ──► CompletingRebalance ──► Stable
      ▲  first join         │    ▲  ▲   barrier     │   leader's          │
      └─────────────────────┘    │  └───────────────┘   assignment stored │
        nobody came              └────────────────────────────────────────┘
                                   join, leave, expiry

* Empty: no members; there may be committed offsets.
* PreparingRebalance: members are being gathered; their JoinGroup requests wait.
* CompletingRebalance: the generation stands, the leader computes; SyncGroup requests wait.
* Stable: every member has its assignment, or can fetch it with SyncGroup.
* Dead: deleted; whoever still holds it looks for another one.

Who asks for something in a state that has no place for it finds the answer in a table here, so that
the machine itself only deals with what is to be done.
"""

from __future__ import annotations

from enum import Enum

from streamlog.wire.error_codes import ErrorCode


class GroupState(Enum):
    """A state; the value is the name that clients see."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


MAY_FOLLOW: dict[GroupState, frozenset[GroupState]] = {
    GroupState.EMPTY: frozenset({GroupState.PREPARING}),
    GroupState.PREPARING: frozenset({GroupState.EMPTY, GroupState.COMPLETING, GroupState.STABLE}),
    GroupState.COMPLETING: frozenset({GroupState.PREPARING}),
    GroupState.STABLE: frozenset({GroupState.COMPLETING}),
    GroupState.DEAD: frozenset(GroupState),
}
"""By state: those from which it may be entered."""

HEARTBEAT_ANSWERS: dict[GroupState, ErrorCode] = {
    GroupState.EMPTY: ErrorCode.UNKNOWN_MEMBER_ID,
    GroupState.PREPARING: ErrorCode.REBALANCE_IN_PROGRESS,
    GroupState.COMPLETING: ErrorCode.NONE,
    GroupState.STABLE: ErrorCode.NONE,
    GroupState.DEAD: ErrorCode.COORDINATOR_NOT_AVAILABLE,
}
"""What a member of the current generation is told."""

SYNC_REFUSALS: dict[GroupState, ErrorCode] = {
    GroupState.EMPTY: ErrorCode.UNKNOWN_MEMBER_ID,
    GroupState.PREPARING: ErrorCode.REBALANCE_IN_PROGRESS,
    GroupState.DEAD: ErrorCode.COORDINATOR_NOT_AVAILABLE,
}

COMMIT_REFUSALS: dict[GroupState, ErrorCode] = {
    # Its generation is newer than what the offsets were read in: the member commits again once it
    # has its assignment.
    GroupState.COMPLETING: ErrorCode.REBALANCE_IN_PROGRESS,
    GroupState.DEAD: ErrorCode.COORDINATOR_NOT_AVAILABLE,
}
