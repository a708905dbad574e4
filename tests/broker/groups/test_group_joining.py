"""JoinGroup and the barrier: rules 1 to 14, 37 and 38 of the classic protocol."""

from __future__ import annotations

import pytest
from group_harness import DEFAULT, NONE, REBALANCE_MS, SESSION_MS, Harness, reading

from streamlog.wire.error_codes import ErrorCode

AB = (("a", b"1"), ("b", b"2"))
B = (("b", b"2"),)


@pytest.mark.parametrize("session_ms", [5_999, 1_800_001, 0, -1])
def test_a_session_timeout_outside_the_limits_is_refused(session_ms: int) -> None:
    h = Harness()
    assert h.error(h.join(session_ms=session_ms)) == ErrorCode.INVALID_SESSION_TIMEOUT
    assert h.coordinator.get("g") is None


@pytest.mark.parametrize("session_ms", [6_000, 1_800_000])
def test_a_session_timeout_at_the_limits_is_fine(session_ms: int) -> None:
    h = Harness()
    assert h.is_parked(h.join(session_ms=session_ms))


def test_an_empty_group_id_is_refused() -> None:
    h = Harness()
    assert h.error(h.join(group="")) == ErrorCode.INVALID_GROUP_ID
    assert h.error(h.join(group="é" * 100)) == ErrorCode.INVALID_GROUP_ID  # too long to be stored


def test_a_member_id_never_makes_a_group() -> None:
    h = Harness()
    assert h.error(h.join("somebody")) == ErrorCode.UNKNOWN_MEMBER_ID
    assert h.coordinator.get("g") is None


def test_an_unknown_member_id_is_refused_by_a_group_that_is_there() -> None:
    h = Harness()
    h.members(1)
    assert h.error(h.join("somebody")) == ErrorCode.UNKNOWN_MEMBER_ID


def test_from_version_4_the_first_join_only_gets_an_id() -> None:
    h = Harness()
    answer = h.joined(h.join(version=4, client="app"))
    assert answer.error_code == ErrorCode.MEMBER_ID_REQUIRED
    assert answer.member_id == "app-id1"
    assert h.state == "Empty"
    again = h.join(answer.member_id, version=4)
    assert h.is_parked(again)
    h.wait(0)
    assert h.joined(again).member_id == "app-id1"
    assert h.joined(again).generation_id == 1


def test_an_id_that_is_not_used_expires_with_the_session_timeout() -> None:
    h = Harness()
    member_id = h.joined(h.join(version=4)).member_id
    h.wait(SESSION_MS - 1)
    assert h.group.roster.pending == {member_id}
    h.wait(1)
    assert h.error(h.join(member_id, version=4)) == ErrorCode.UNKNOWN_MEMBER_ID


def test_an_id_belongs_to_no_static_member() -> None:
    h = Harness()
    member_id = h.joined(h.join(version=4)).member_id
    refused = h.join(member_id, version=5, instance="i")
    assert h.error(refused) == ErrorCode.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_below_version_4_a_member_is_in_at_once(version: int) -> None:
    h = Harness()
    ticket = h.join(version=version)
    assert h.is_parked(ticket)
    h.wait(0)
    assert h.joined(ticket).member_id == "c-id1"


def test_a_static_member_is_in_at_once_under_its_instance_id() -> None:
    h = Harness()
    ticket = h.join(instance="desk-7", version=9)
    h.wait(0)
    assert h.joined(ticket).member_id == "desk-7-id1"
    assert h.joined(ticket).members[0].group_instance_id == "desk-7"


def test_members_of_another_protocol_type_or_without_a_common_protocol_are_refused() -> None:
    h = Harness()
    h.members(1)
    inconsistent = ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert h.error(h.join(protocol_type="connect")) == inconsistent
    assert h.error(h.join(protocols=[("sticky", b"")])) == inconsistent
    assert h.error(h.join(protocols=[])) == inconsistent
    assert h.is_parked(h.join(protocols=[("sticky", b""), ("range", b"")]))


@pytest.mark.parametrize(("kind", "protocols"), [("", DEFAULT), ("consumer", ())])
def test_the_first_member_needs_a_protocol_type_and_protocols(
    kind: str, protocols: tuple[tuple[str, bytes], ...]
) -> None:
    h = Harness()
    ticket = h.join(protocol_type=kind, protocols=protocols)
    assert h.error(ticket) == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert h.coordinator.get("g") is None


def test_an_emptied_group_may_be_of_another_type() -> None:
    h = Harness()
    h.leave(*h.members(1))
    assert h.state == "Empty"
    assert h.is_parked(h.join(protocol_type="connect", protocols=[("x", b"")]))


def test_a_full_group_takes_nobody_but_its_members() -> None:
    h = Harness(group_size_max=2)
    first, second = h.members(2)
    assert h.error(h.join()) == ErrorCode.GROUP_MAX_SIZE_REACHED
    rejoined = [h.join(first), h.join(second)]
    assert [h.error(ticket) for ticket in rejoined] == [NONE, NONE]


def test_ids_that_are_handed_out_are_bounded() -> None:
    h = Harness(group_size_max=2)
    answers = [h.error(h.join(version=4)) for _ in range(3)]
    assert answers[:2] == [ErrorCode.MEMBER_ID_REQUIRED] * 2
    assert answers[2] == ErrorCode.GROUP_MAX_SIZE_REACHED


def test_a_group_that_outgrew_its_limit_shrinks_in_the_barrier() -> None:
    h = Harness(group_size_max=2)
    h.join()
    h.join()
    assert h.error(h.join()) == ErrorCode.GROUP_MAX_SIZE_REACHED


def test_groups_are_bounded() -> None:
    h = Harness(groups_max=1)
    assert h.is_parked(h.join())
    assert h.error(h.join(group="other")) == ErrorCode.GROUP_MAX_SIZE_REACHED


def test_an_instance_id_of_another_member_is_fenced() -> None:
    h = Harness()
    first, second = h.statics("i", "j")
    assert h.error(h.join(second, instance="i", version=5)) == ErrorCode.FENCED_INSTANCE_ID
    assert h.error(h.join(first, instance="k", version=5)) == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_rejoining_leader_always_starts_a_rebalance() -> None:
    h = Harness()
    leader, follower = h.members(2)
    ticket = h.join(leader)
    assert h.is_parked(ticket)
    assert h.state == "PreparingRebalance"
    h.join(follower)
    assert h.joined(ticket).generation_id == 2


def test_a_follower_that_rejoins_unchanged_gets_the_current_generation() -> None:
    h = Harness()
    leader, follower = h.members(2)
    answer = h.joined(h.join(follower))
    assert (answer.error_code, answer.generation_id) == (NONE, 1)
    assert (answer.leader, answer.members) == (leader, [])
    assert h.state == "Stable"


def test_a_follower_that_changed_its_metadata_starts_a_rebalance() -> None:
    h = Harness()
    leader, follower = h.members(2)
    ticket = h.join(follower, protocols=[("range", reading("other"))])
    assert h.is_parked(ticket)
    h.join(leader)
    assert h.joined(ticket).generation_id == 2


def test_whoever_lost_its_answer_gets_it_again_while_the_leader_computes() -> None:
    h = Harness()
    tickets = [h.join(), h.join()]
    h.wait(0)
    leader, follower = (h.joined(ticket).member_id for ticket in tickets)
    again = h.joined(h.join(leader))
    assert (again.generation_id, len(again.members)) == (1, 2)
    again = h.joined(h.join(follower))
    assert (again.generation_id, again.members) == (1, [])
    assert h.state == "CompletingRebalance"


def test_changed_metadata_while_the_leader_computes_starts_anew() -> None:
    h = Harness()
    tickets = [h.join(), h.join()]
    h.wait(0)
    leader, follower = (h.joined(ticket).member_id for ticket in tickets)
    parked = h.sync(follower)
    ticket = h.join(leader, protocols=[("range", reading("new"))])
    assert h.error(parked) == ErrorCode.REBALANCE_IN_PROGRESS
    h.join(follower)
    assert h.joined(ticket).generation_id == 2


def test_the_barrier_waits_for_every_known_member() -> None:
    h = Harness()
    first, second, third = h.members(3)
    tickets = [h.join(first), h.join(second)]
    assert all(map(h.is_parked, tickets))
    h.wait(5_000)
    tickets.append(h.join(third))
    assert [h.joined(ticket).generation_id for ticket in tickets] == [2, 2, 2]


def test_the_barrier_waits_for_ids_that_were_handed_out() -> None:
    h = Harness()
    (leader,) = h.members(1)
    pending = h.joined(h.join(version=4)).member_id
    ticket = h.join(leader)
    assert h.is_parked(ticket)
    h.join(pending, version=4)
    assert len(h.joined(ticket).members) == 2


def test_the_barrier_opens_when_a_handed_out_id_expires() -> None:
    h = Harness()
    (leader,) = h.members(1)
    h.join(version=4)
    ticket = h.join(leader)
    h.wait(SESSION_MS)
    assert h.joined(ticket).generation_id == 2


def test_the_barrier_ends_after_the_longest_rebalance_timeout_without_the_silent() -> None:
    h = Harness()
    tickets = [h.join(rebalance_ms=20_000), h.join(rebalance_ms=30_000, session_ms=60_000)]
    h.wait(0)
    quick, silent = (h.joined(ticket).member_id for ticket in tickets)
    h.sync_all([quick, silent])
    ticket = h.join(quick, rebalance_ms=20_000)
    h.wait(29_999)
    assert h.is_parked(ticket)
    h.wait(1)
    assert [each.member_id for each in h.joined(ticket).members] == [quick]
    assert h.beat(silent) == ErrorCode.UNKNOWN_MEMBER_ID


def test_version_0_has_its_session_timeout_for_rebalances() -> None:
    h = Harness()
    h.join(version=0, rebalance_ms=-1, session_ms=7_000)
    assert h.group.roster.rebalance_timeout_ms == 7_000


def test_static_members_outlive_the_barrier() -> None:
    h = Harness()
    first, second = h.statics("i", "j")
    ticket = h.join(first, instance="i", version=5)
    for _ in range(7):  # the second one lives but does not rejoin in time
        h.beat(second, 1)
        h.wait(9_000)
    answer = h.joined(ticket)
    assert {each.member_id for each in answer.members} == {first, second}


def test_an_empty_group_waits_for_more_members_and_longer_while_they_come() -> None:
    h = Harness(delay_ms=3_000)
    tickets = [h.join()]
    h.wait(2_000)
    tickets.append(h.join())
    h.wait(1_000)  # 3 s: somebody came, so 3 s more
    assert h.is_parked(tickets[0])
    h.wait(2_999)
    assert h.is_parked(tickets[0])
    h.wait(1)
    assert [h.joined(ticket).generation_id for ticket in tickets] == [1, 1]
    assert len(h.joined(tickets[0]).members) == 2


def test_waiting_for_more_members_ends_with_the_rebalance_timeout() -> None:
    h = Harness(delay_ms=3_000)
    first = h.join(rebalance_ms=7_000)
    for _ in range(6):
        h.wait(1_000)
        h.join(rebalance_ms=7_000)
    h.wait(999)
    assert h.is_parked(first)
    h.wait(1)
    assert len(h.joined(first).members) == 7


def test_a_group_that_was_there_before_waits_once() -> None:
    h = Harness(delay_ms=3_000)
    first = h.join()
    h.wait(3_000)
    h.leave(h.joined(first).member_id)
    tickets = [h.join()]
    h.wait(2_000)
    tickets.append(h.join())
    h.wait(1_000)
    assert [h.joined(ticket).generation_id for ticket in tickets] == [3, 3]


def test_kafkas_default_delay_is_three_seconds() -> None:
    h = Harness(delay_ms=3_000)
    ticket = h.join()
    h.wait(2_999)
    assert h.is_parked(ticket)
    h.wait(1)
    assert h.joined(ticket).generation_id == 1


def test_only_the_leader_gets_the_members() -> None:
    h = Harness()
    tickets = [h.join(protocols=[("range", bytes([i]))]) for i in range(3)]
    h.wait(0)
    leader, *followers = (h.joined(ticket) for ticket in tickets)
    assert leader.leader == leader.member_id
    assert [each.metadata for each in leader.members] == [b"\0", b"\1", b"\2"]
    assert all(each.members == [] and each.leader == leader.member_id for each in followers)
    assert {each.protocol_name for each in (leader, *followers)} == {"range"}
    assert {each.protocol_type for each in (leader, *followers)} == {"consumer"}


def test_the_protocol_with_most_votes_among_the_common_ones_wins() -> None:
    h = Harness()
    tickets = [
        h.join(protocols=[("a", b""), ("b", b""), ("only", b"")]),
        h.join(protocols=[("b", b""), ("a", b"")]),
        h.join(protocols=[("b", b""), ("a", b"")]),
    ]
    h.wait(0)
    assert {h.joined(ticket).protocol_name for ticket in tickets} == {"b"}


def test_a_protocol_that_one_member_lacks_cannot_win() -> None:
    h = Harness()
    tickets = [h.join(protocols=AB), h.join(protocols=AB), h.join(protocols=B)]
    h.wait(0)
    assert h.joined(tickets[0]).protocol_name == "b"


def test_the_leader_stays_if_it_rejoined() -> None:
    h = Harness()
    leader, follower = h.members(2)
    tickets = [h.join(follower, protocols=[("range", b"new")]), h.join(leader)]
    assert h.joined(tickets[0]).leader == leader


def test_another_leads_if_the_leader_did_not_rejoin() -> None:
    h = Harness()
    leader, follower = h.members(2)
    ticket = h.join(follower, protocols=[("range", b"new")])
    h.wait(SESSION_MS)
    answer = h.joined(ticket)
    assert answer.leader == follower
    assert [each.member_id for each in answer.members] == [follower]
    assert h.error(h.join(leader)) == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_group_whose_last_member_goes_is_empty_with_a_new_generation() -> None:
    h = Harness()
    h.leave(*h.members(1))
    assert (h.state, h.group.generation) == ("Empty", 2)
    assert (h.stored[-1].generation, h.stored[-1].members) == (2, [])


def test_if_only_static_members_are_left_and_none_rejoined_the_group_waits_on() -> None:
    h = Harness()
    ticket = h.join(session_ms=6_000, rebalance_ms=7_000)
    other = h.join(instance="i", version=5, session_ms=60_000, rebalance_ms=7_000)
    h.wait(0)
    dynamic, static = h.joined(ticket).member_id, h.joined(other).member_id
    h.sync_all([dynamic, static])
    h.leave(dynamic)
    assert h.state == "PreparingRebalance"
    h.wait(50_000)
    assert (h.state, h.group.generation) == ("PreparingRebalance", 1)
    h.wait(10_000)
    assert (h.state, len(h.group.roster)) == ("Empty", 0)


def test_a_new_member_waits_longer_than_its_session() -> None:
    h = Harness()
    (member,) = h.members(1, rebalance_ms=400_000)
    ticket = h.join(session_ms=6_000, rebalance_ms=400_000)
    for _ in range(99):
        h.wait(3_000)
        h.beat(member)
    assert h.is_parked(ticket)
    assert len(h.group.roster) == 2


def test_a_new_member_that_waits_for_five_minutes_is_told_that_it_is_none() -> None:
    h = Harness()
    (member,) = h.members(1, rebalance_ms=400_000)
    ticket = h.join(session_ms=6_000, rebalance_ms=400_000)
    for _ in range(100):
        h.wait(3_000)
        h.beat(member)
    assert h.error(ticket) == ErrorCode.UNKNOWN_MEMBER_ID


def test_the_parked_join_of_a_member_that_leaves_is_answered() -> None:
    h = Harness()
    first, second, _ = h.members(3)
    ticket = h.join(first)
    h.leave(first)
    assert h.error(ticket) == ErrorCode.UNKNOWN_MEMBER_ID
    assert h.is_parked(h.join(second))


def test_a_retried_join_takes_the_place_of_the_first() -> None:
    h = Harness()
    leader, follower = h.members(2)
    first = h.join(leader)
    second = h.join(leader)
    assert h.error(first) == ErrorCode.REBALANCE_IN_PROGRESS
    h.join(follower)
    assert h.joined(second).generation_id == 2
    assert len(h.group.roster) == 2


def test_a_static_member_that_comes_back_to_a_stable_group_disturbs_nobody() -> None:
    h = Harness()
    leader, follower = h.statics("i", "j")
    answer = h.joined(h.join(instance="j", version=9))
    assert (answer.error_code, answer.generation_id, answer.leader) == (NONE, 1, leader)
    assert answer.member_id not in (leader, follower)
    assert (answer.members, answer.skip_assignment) == ([], False)
    assert h.state == "Stable"
    assert h.synced(h.sync(answer.member_id)).assignment == f"part of {follower}".encode()
    assert h.beat(follower, instance="j") == ErrorCode.FENCED_INSTANCE_ID
    assert h.stored[-1].members[1].member_id == answer.member_id


def test_a_static_leader_that_comes_back_skips_the_assignment_from_version_9() -> None:
    h = Harness()
    h.statics("i", "j")
    answer = h.joined(h.join(instance="i", version=9))
    assert answer.leader == answer.member_id
    assert answer.skip_assignment
    assert len(answer.members) == 2
    assert h.state == "Stable"


def test_a_static_leader_that_comes_back_below_version_9_sees_the_old_leader() -> None:
    h = Harness()
    leader, _ = h.statics("i", "j")
    answer = h.joined(h.join(instance="i", version=8))
    assert (answer.leader, answer.skip_assignment, answer.members) == (leader, False, [])
    assert answer.member_id != leader


def test_a_static_members_return_is_answered_when_it_is_stored() -> None:
    h = Harness()
    h.statics("i", "j")
    h.autostore = False
    ticket = h.join(instance="j", version=9)
    assert h.is_parked(ticket)
    h.store()
    assert h.error(ticket) == NONE
    ticket = h.join(instance="j", version=9)
    h.store(ErrorCode.NOT_COORDINATOR)
    assert h.error(ticket) == ErrorCode.NOT_COORDINATOR


def test_a_static_member_that_changes_the_protocol_starts_a_rebalance() -> None:
    h = Harness()
    tickets = [h.join(instance=each, version=5, protocols=AB) for each in "ij"]
    h.wait(0)
    h.sync_all([h.joined(ticket).member_id for ticket in tickets])
    assert h.group.roster.protocol_name == "a"
    ticket = h.join(instance="j", version=9, protocols=B)
    assert h.is_parked(ticket)
    assert h.state == "PreparingRebalance"


def test_a_static_member_that_comes_back_while_the_leader_computes_starts_a_rebalance() -> None:
    h = Harness()
    tickets = [h.join(instance=each, version=5) for each in "ij"]
    h.wait(0)
    first, second = (h.joined(ticket).member_id for ticket in tickets)
    parked = h.sync(second)
    ticket = h.join(instance="j", version=9)
    assert h.error(parked) == ErrorCode.FENCED_INSTANCE_ID
    h.join(first, instance="i", version=9)
    assert h.joined(ticket).generation_id == 2


def test_the_parked_join_under_an_old_id_is_fenced() -> None:
    h = Harness()
    first, second = h.statics("i", "j")
    parked = h.join(first, instance="i", version=9)
    ticket = h.join(instance="i", version=9)
    assert h.error(parked) == ErrorCode.FENCED_INSTANCE_ID
    assert h.joined(parked).member_id == first
    h.join(second, instance="j", version=9)
    assert h.joined(ticket).generation_id == 2
    assert len(h.group.roster) == 2


def test_cooperative_members_rejoin_twice_and_get_a_generation_each_time() -> None:
    h = Harness()
    leader, other = h.members(2)
    newcomer = h.join()
    tickets = [h.join(leader), h.join(other)]
    ids = [leader, other, h.joined(newcomer).member_id]
    assert {h.joined(ticket).generation_id for ticket in (*tickets, newcomer)} == {2}
    h.sync_all(ids)
    # One revoked partitions, commits them and joins again with what it owns now.
    assert h.commit_error(other, 2) == NONE
    again = h.join(other, protocols=[("range", b"owns less")])
    assert [h.beat(each) for each in (leader, ids[2])] == [ErrorCode.REBALANCE_IN_PROGRESS] * 2
    h.join(leader)
    h.join(ids[2])
    assert h.joined(again).generation_id == 3


def test_a_client_that_retries_its_first_join_leaves_no_ghosts_from_version_4() -> None:
    h = Harness()
    (leader,) = h.members(1)
    pending = h.joined(h.join(version=4)).member_id
    tickets = [h.join(pending, version=4) for _ in range(5)]
    h.join(leader)
    assert [h.error(ticket) for ticket in tickets[:-1]] == [ErrorCode.REBALANCE_IN_PROGRESS] * 4
    assert h.joined(tickets[-1]).generation_id == 2
    assert {each.member_id for each in h.group.roster} == {leader, pending}


def test_the_rebalance_timeout_is_what_members_last_said() -> None:
    h = Harness()
    (leader,) = h.members(1)
    h.join()
    h.join(leader, rebalance_ms=REBALANCE_MS * 2)
    assert h.group.roster.rebalance_timeout_ms == REBALANCE_MS * 2
