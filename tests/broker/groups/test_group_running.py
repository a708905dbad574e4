"""SyncGroup, Heartbeat, LeaveGroup, sessions: rules 15 to 22 and 35 of the classic protocol."""

from __future__ import annotations

import pytest
from group_harness import DEFAULT, NONE, REBALANCE_MS, SESSION_MS, Harness, reading

from streamlog.broker.groups.coordinator import Status
from streamlog.broker.groups.states import GroupState
from streamlog.wire.error_codes import ErrorCode

UNKNOWN = ErrorCode.UNKNOWN_MEMBER_ID
REBALANCING = ErrorCode.REBALANCE_IN_PROGRESS


def computing(h: Harness, number: int = 2) -> list[str]:
    """Brings a group to where the leader computes."""
    tickets = [h.join() for _ in range(number)]
    h.wait(0)
    assert h.state == "CompletingRebalance"
    return [h.joined(ticket).member_id for ticket in tickets]


def test_sync_checks_the_member_then_the_generation_then_the_names() -> None:
    h = Harness()
    first, second = h.statics("i", "j")
    wrong = ("x", "y")
    assert h.error(h.sync("nobody", 7, version=5, names=wrong)) == UNKNOWN
    fenced = h.sync(first, 7, instance="j", version=5, names=wrong)
    assert h.error(fenced) == ErrorCode.FENCED_INSTANCE_ID
    assert h.error(h.sync(second, 7, version=5, names=wrong)) == ErrorCode.ILLEGAL_GENERATION


@pytest.mark.parametrize(
    "names", [("x", "range"), ("consumer", "x"), (None, "range"), ("consumer", None), (None, None)]
)
def test_from_version_5_sync_names_type_and_protocol(names: tuple[str | None, str | None]) -> None:
    h = Harness()
    (member,) = h.members(1)
    refused = h.sync(member, version=5, names=names)
    assert h.error(refused) == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    answer = h.synced(h.sync(member, version=5, names=("consumer", "range")))
    assert (answer.protocol_type, answer.protocol_name) == ("consumer", "range")
    assert h.error(h.sync(member, version=4, names=names)) == NONE


def test_an_older_generation_does_not_sync() -> None:
    h = Harness()
    (member,) = h.members(1)
    for generation in (0, 2, -1):
        assert h.error(h.sync(member, generation)) == ErrorCode.ILLEGAL_GENERATION


def test_sync_of_an_empty_or_unknown_group_is_of_no_member() -> None:
    h = Harness()
    assert h.error(h.sync("m")) == UNKNOWN
    (member,) = h.members(1)
    h.leave(member)
    assert h.error(h.sync(member)) == UNKNOWN


def test_sync_while_members_gather_sends_them_to_join() -> None:
    h = Harness()
    leader, follower = h.members(2)
    h.join(leader)
    assert h.error(h.sync(follower)) == REBALANCING


def test_syncs_wait_until_the_leaders_assignment_is_stored() -> None:
    h = Harness(autostore=False)
    leader, follower = computing(h)
    waiting = h.sync(follower)
    assert h.is_parked(waiting)
    parts = {leader: b"L", follower: b"F"}
    leading = h.sync(leader, assignments=parts)
    assert h.is_parked(waiting)
    assert h.is_parked(leading)
    h.store()
    assert (h.synced(leading).assignment, h.synced(waiting).assignment) == (b"L", b"F")
    assert h.state == "Stable"
    assert {each.member_id: each.assignment for each in h.stored[-1].members} == parts


def test_in_a_stable_group_sync_returns_the_stored_assignment_at_once() -> None:
    h = Harness()
    _, follower = h.members(2)
    assert h.synced(h.sync(follower)).assignment == f"part of {follower}".encode()


def test_only_the_leaders_assignment_counts() -> None:
    h = Harness()
    leader, follower = computing(h)
    parked = h.sync(follower, assignments={follower: b"everything"})
    h.sync(leader, assignments={leader: b"L"})
    assert h.synced(parked).assignment == b""


def test_whom_the_leader_does_not_mention_gets_empty_bytes() -> None:
    h = Harness()
    leader, follower = computing(h)
    parked = h.sync(follower)
    h.sync(leader, assignments={leader: b"L", "a stranger": b"S"})
    assert (h.error(parked), h.synced(parked).assignment) == (NONE, b"")
    assert len(h.stored[-1].members) == 2


def test_if_storing_fails_everybody_is_told_and_a_rebalance_starts() -> None:
    h = Harness(autostore=False)
    leader, follower = computing(h)
    tickets = [h.sync(follower), h.sync(leader)]
    h.store(ErrorCode.NOT_COORDINATOR)
    assert [h.error(ticket) for ticket in tickets] == [ErrorCode.NOT_COORDINATOR] * 2
    assert h.state == "PreparingRebalance"
    rejoined = [h.join(leader), h.join(follower)]
    assert [h.joined(ticket).generation_id for ticket in rejoined] == [2, 2]


def test_an_assignment_that_a_rebalance_overtook_is_not_given_out() -> None:
    h = Harness(autostore=False)
    leader, follower = computing(h)
    leading = h.sync(leader, assignments={leader: b"old"})
    h.join()
    assert h.error(leading) == REBALANCING
    h.store()
    assert h.state == "PreparingRebalance"
    h.join(follower)
    ticket = h.join(leader)
    assert h.joined(ticket).generation_id == 2
    h.store()
    assert h.state == "CompletingRebalance"


def test_a_retried_sync_takes_the_place_of_the_first() -> None:
    h = Harness()
    leader, follower = computing(h)
    first, second = h.sync(follower), h.sync(follower)
    assert h.error(first) == REBALANCING
    h.sync(leader, assignments={follower: b"F"})
    assert h.synced(second).assignment == b"F"


def test_who_does_not_sync_within_the_rebalance_timeout_is_removed() -> None:
    h = Harness()
    tickets = [h.join(session_ms=600_000, rebalance_ms=20_000) for _ in range(3)]
    h.wait(0)
    leader, follower, silent = (h.joined(ticket).member_id for ticket in tickets)
    h.sync(leader, assignments={})
    h.sync(follower)
    assert h.state == "Stable"
    h.wait(19_999)
    assert h.state == "Stable"
    h.wait(1)
    assert h.state == "PreparingRebalance"
    assert silent not in h.group.roster
    assert len(h.group.roster) == 2


def test_when_all_have_synced_the_group_is_left_in_peace() -> None:
    h = Harness()
    h.members(2, session_ms=600_000, rebalance_ms=20_000)
    h.wait(599_999)
    assert (h.state, h.group.generation) == ("Stable", 1)


def test_if_the_leader_does_not_sync_those_who_did_are_sent_to_join() -> None:
    h = Harness()
    tickets = [h.join(session_ms=600_000, rebalance_ms=20_000) for _ in range(2)]
    h.wait(0)
    leader, follower = (h.joined(ticket).member_id for ticket in tickets)
    parked = h.sync(follower)
    h.wait(20_000)
    assert h.error(parked) == REBALANCING
    assert leader not in h.group.roster
    again = h.join(follower)
    assert h.joined(again).leader == follower


def test_a_rebalance_while_the_leader_computes_answers_all_parked_syncs() -> None:
    h = Harness()
    _, second, third = computing(h, 3)
    tickets = [h.sync(second), h.sync(third)]
    h.join()
    assert [h.error(ticket) for ticket in tickets] == [REBALANCING] * 2


def test_the_parked_sync_of_a_member_that_is_removed_is_answered() -> None:
    h = Harness()
    tickets = [h.join(instance=each, version=5) for each in "ij"]
    h.wait(0)
    second = h.joined(tickets[1]).member_id
    parked = h.sync(second)
    h.leave(("", "j"))
    assert h.error(parked) == UNKNOWN


def test_heartbeats_are_checked_like_syncs() -> None:
    h = Harness()
    assert h.beat("m") == UNKNOWN  # no group
    first, second = h.statics("i", "j")
    assert h.beat("nobody") == UNKNOWN
    assert h.beat(second, instance="i") == ErrorCode.FENCED_INSTANCE_ID
    assert h.beat(first, 0) == ErrorCode.ILLEGAL_GENERATION
    assert h.beat(first, 2) == ErrorCode.ILLEGAL_GENERATION
    assert h.beat(first, instance="i") == NONE


def test_heartbeats_by_state() -> None:
    h = Harness()
    leader, follower = computing(h)
    assert h.beat(follower) == NONE  # the leader computes
    h.sync_all([leader, follower])
    assert h.beat(follower) == NONE  # stable
    h.join(leader)
    assert h.beat(follower) == REBALANCING  # members gather
    group = h.group
    h.leave(leader, follower)
    assert h.state == "Empty"
    assert h.beat(follower) == UNKNOWN
    group.die(h.now)
    assert h.beat(follower) == ErrorCode.COORDINATOR_NOT_AVAILABLE


@pytest.mark.parametrize("stage", ["computing", "stable", "gathering"])
def test_heartbeats_keep_a_member_alive(stage: str) -> None:
    h = Harness()
    if stage == "computing":
        leader, follower = computing(h)
    else:
        leader, follower = h.members(2)
        if stage == "gathering":
            h.join(leader)
    for _ in range(4):
        h.wait(SESSION_MS - 1)
        h.beat(leader)
        h.beat(follower)
    assert {leader, follower} <= {each.member_id for each in h.group.roster}


def test_a_silent_member_is_removed_after_its_session() -> None:
    h = Harness()
    leader, follower = h.members(2)
    h.wait(SESSION_MS - 1)
    h.beat(leader)
    assert h.state == "Stable"
    h.wait(1)
    assert h.state == "PreparingRebalance"
    assert follower not in h.group.roster
    assert h.beat(leader) == REBALANCING


@pytest.mark.parametrize("sign", ["join", "sync", "commit"])
def test_other_requests_are_signs_of_life_too(sign: str) -> None:
    h = Harness()
    leader, follower = h.members(2)
    for _ in range(4):
        h.wait(SESSION_MS - 1)
        h.beat(leader)
        match sign:
            case "join":
                h.join(follower)
            case "sync":
                h.sync(follower)
            case _:
                assert h.commit_error(follower, 1) == NONE
    assert h.state == "Stable"


def test_who_waits_in_the_barrier_is_alive() -> None:
    h = Harness()
    leader, follower = h.members(2)
    ticket = h.join(leader)
    for _ in range(5):
        h.wait(SESSION_MS - 1)
        h.beat(follower)
    assert h.is_parked(ticket)
    h.join(follower)
    assert len(h.joined(ticket).members) == 2


def test_a_heartbeat_beside_a_waiting_join_does_not_start_a_session() -> None:
    h = Harness()
    leader, follower = h.members(2)
    ticket = h.join(leader)
    for _ in range(5):
        h.beat(leader)
        h.beat(follower)
        h.wait(SESSION_MS - 1)
    h.beat(follower)
    h.wait(SESSION_MS - 1)
    assert h.is_parked(ticket)
    assert leader in h.group.roster


def test_who_waits_for_its_assignment_is_alive() -> None:
    h = Harness()
    leader, follower = computing(h)
    parked = h.sync(follower)
    for _ in range(4):
        h.wait(SESSION_MS - 1)
        h.beat(leader)
    h.sync(leader, assignments={})
    assert h.error(parked) == NONE


def test_sessions_begin_anew_with_the_assignments() -> None:
    h = Harness()
    leader, follower = computing(h)
    h.wait(SESSION_MS - 1)
    h.sync(follower)
    h.sync(leader)
    h.wait(SESSION_MS - 1)
    assert h.state == "Stable"
    h.wait(1)
    assert len(h.group.roster) == 0


def test_expiry_in_the_barrier_may_complete_it() -> None:
    h = Harness()
    leader, follower = h.members(2)
    ticket = h.join(leader)
    h.wait(SESSION_MS)
    assert [each.member_id for each in h.joined(ticket).members] == [leader]
    assert h.beat(follower) == UNKNOWN


def test_leaving_starts_a_rebalance_at_once() -> None:
    h = Harness()
    leader, follower = h.members(2)
    answer = h.leave(leader)
    assert (answer.error_code, answer.members[0].error_code) == (NONE, NONE)
    assert h.beat(follower) == REBALANCING
    assert h.group.roster.leader_id == follower


def test_leaving_an_unknown_group_is_no_error_of_the_request() -> None:
    h = Harness()
    answer = h.leave("m", ("", "i"))
    assert answer.error_code == NONE
    assert [each.error_code for each in answer.members] == [UNKNOWN, UNKNOWN]
    assert [each.member_id for each in answer.members] == ["m", ""]


def test_several_leave_each_with_its_own_error() -> None:
    h = Harness()
    first, second = h.statics("i", "j")
    answer = h.leave((first, "j"), ("nobody", None), (first, "i"), ("x", "k"))
    codes = [each.error_code for each in answer.members]
    assert codes == [ErrorCode.FENCED_INSTANCE_ID, UNKNOWN, NONE, UNKNOWN]
    assert [each.member_id for each in h.group.roster] == [second]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_up_to_version_2_the_one_members_error_is_the_requests(version: int) -> None:
    h = Harness()
    (member,) = h.members(1)
    assert h.leave("nobody", version=version).error_code == UNKNOWN
    answer = h.leave(member, version=version)
    assert (answer.error_code, answer.members) == (NONE, [])
    assert h.state == "Empty"


def test_an_administrator_removes_a_static_member_by_its_instance_id() -> None:
    h = Harness()
    _, second = h.statics("i", "j")
    answer = h.leave(("", "i"), ("", "nobody"))
    assert [each.error_code for each in answer.members] == [NONE, UNKNOWN]
    assert [each.member_id for each in h.group.roster] == [second]


def test_an_id_that_was_handed_out_may_be_given_back() -> None:
    h = Harness()
    (leader,) = h.members(1)
    pending = h.joined(h.join(version=4)).member_id
    ticket = h.join(leader)
    assert h.leave(pending).members[0].error_code == NONE
    assert h.joined(ticket).generation_id == 2


def test_a_static_member_that_just_closes_keeps_its_place_until_its_session_ends() -> None:
    h = Harness()
    first, second = h.statics("i", "j")
    h.wait(SESSION_MS - 1)
    h.beat(first)
    assert h.state == "Stable"
    assert h.group.roster[second].assignment == f"part of {second}".encode()
    h.wait(1)
    assert second not in h.group.roster


def test_a_loading_coordinator_lets_members_live_and_sends_them_to_join() -> None:
    h = Harness()
    h.members(1)
    h.coordinator.status = Status.LOADING
    loading = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    assert h.beat("m", 1) == NONE
    assert h.error(h.sync("m")) == REBALANCING
    assert h.error(h.join()) == loading
    assert h.leave("m").error_code == loading


@pytest.mark.parametrize("status", [Status.STOPPED, Status.RESIGNED])
def test_who_is_no_coordinator_says_so(status: Status) -> None:
    h = Harness()
    h.members(1)
    h.coordinator.status = status
    assert h.beat("m", 1) == status.value
    assert h.error(h.sync("m")) == status.value
    assert h.error(h.join()) == status.value
    assert h.error(h.join(group="")) == ErrorCode.INVALID_GROUP_ID


def test_losing_the_office_answers_all_who_wait() -> None:
    h = Harness(autostore=False)
    leader, follower = computing(h)
    syncs = [h.sync(leader), h.sync(follower)]
    for group_id, decision in h.coordinator.leave_office(Status.RESIGNED):
        h._take(group_id, decision)
    assert [h.error(ticket) for ticket in syncs] == [ErrorCode.NOT_COORDINATOR] * 2
    assert h.coordinator.next_deadline() is None

    h = Harness()
    h.members(2)
    join = h.join()
    h.coordinator.status = Status.ACTIVE
    for group_id, decision in h.coordinator.leave_office(Status.STOPPED):
        h._take(group_id, decision)
    assert h.error(join) == ErrorCode.NOT_COORDINATOR


def test_a_new_coordinator_goes_on_without_a_rebalance() -> None:
    h = Harness()
    leader, follower = h.members(2)
    h.wait(5_000)
    other = h.restart()
    assert other.state == "Stable"
    assert [other.beat(each, 1) for each in (leader, follower)] == [NONE, NONE]
    assert other.synced(other.sync(follower)).assignment == f"part of {follower}".encode()
    assert other.joined(other.join(follower)).leader == leader
    assert other.commit_error(follower, 1) == NONE


def test_sessions_begin_anew_with_a_new_coordinator() -> None:
    h = Harness()
    leader, follower = h.members(2)
    h.wait(SESSION_MS - 1)
    other = h.restart()
    other.wait(SESSION_MS - 1)
    assert other.beat(leader, 1) == NONE
    other.wait(1)
    assert follower not in other.group.roster


def test_an_empty_group_keeps_its_generation_across_coordinators() -> None:
    h = Harness()
    h.leave(*h.members(2))
    other = h.restart()
    assert (other.state, other.group.generation) == ("Empty", 2)
    ticket = other.join()
    other.wait(0)
    assert other.joined(ticket).generation_id == 3


def test_static_members_are_known_to_a_new_coordinator() -> None:
    h = Harness()
    h.statics("i", "j")
    other = h.restart()
    answer = other.joined(other.join(instance="j", version=9))
    assert (answer.generation_id, other.state) == (1, "Stable")


def test_members_whose_last_generation_was_not_stored_join_again() -> None:
    h = Harness()
    leader, _ = h.members(2)
    newcomer = h.join()
    h.join(leader)
    h.wait(SESSION_MS)
    assert h.joined(newcomer).generation_id == 2
    other = h.restart()
    assert other.beat(leader, 2) == ErrorCode.ILLEGAL_GENERATION
    assert other.beat(h.joined(newcomer).member_id, 2) == UNKNOWN


def test_subscriptions_are_read_and_nonsense_is_tolerated() -> None:
    h = Harness()
    h.members(2, protocols=[("range", reading("t", "u"))])
    assert h.group.subscribed == frozenset({"t", "u"})
    h = Harness()
    h.members(2, protocols=[("range", b"\xff nonsense")])
    assert h.group.subscribed is None
    assert h.group.subscribes_to("anything")
    h = Harness()
    h.members(1, protocol_type="connect", protocols=[("x", reading("t"))])
    assert h.group.subscribed is None


def test_metadata_and_assignments_are_passed_on_byte_for_byte() -> None:
    h = Harness()
    raw = bytes(range(256))
    ticket = h.join(protocol_type="connect", protocols=[("x", raw)])
    h.wait(0)
    answer = h.joined(ticket)
    assert answer.members[0].metadata == raw
    sync = h.sync(answer.member_id, assignments={answer.member_id: raw[::-1]})
    assert h.synced(sync).assignment == raw[::-1]


def test_every_deadline_is_gone_when_nobody_is_left() -> None:
    h = Harness()
    h.leave(*h.members(3))
    h.join(version=4)
    h.wait(REBALANCE_MS)
    assert (h.state, h.coordinator.next_deadline()) == ("Empty", None)


def test_states_have_kafkas_names() -> None:
    names = ["Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"]
    assert [state.value for state in GroupState] == names


def test_a_protocol_named_twice_counts_once() -> None:
    h = Harness()
    ticket = h.join(protocols=[*DEFAULT, ("range", b"again")])
    h.wait(0)
    assert h.joined(ticket).members[0].metadata == DEFAULT[0][1]
    assert h.is_parked(h.join())
