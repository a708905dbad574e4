"""How a group is shown to administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.groups.states import GroupState
from streamlog.wire.messages.describe_groups import DescribedGroup, DescribedGroupMember

if TYPE_CHECKING:
    from streamlog.broker.groups.group import Group


def described(group: Group) -> DescribedGroup:
    """Shows a group; metadata and assignments only when they belong together."""
    stable = group.state is GroupState.STABLE
    protocol = group.roster.protocol_name if stable else None
    return DescribedGroup(
        group_id=group.group_id,
        group_state=group.state.value,
        protocol_type=group.protocol_type or "",
        protocol_data=protocol or "",
        members=[
            DescribedGroupMember(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                member_metadata=member.protocols[protocol] if protocol is not None else b"",
                member_assignment=member.assignment if stable else b"",
            )
            for member in group.roster
        ],
    )
