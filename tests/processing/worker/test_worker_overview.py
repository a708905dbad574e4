"""Pipelines as brokers know them: who runs what, how far it is, and which groups are not ours."""

from __future__ import annotations

from streamlog.client.admin.values import GroupDescription, MemberDescription
from streamlog.client.assignors.assignor import MemberSubscription
from streamlog.client.values import OffsetAndMetadata, TopicPartition
from streamlog.processing.replay.versions import Identity, Role
from streamlog.processing.worker.note import Note, format_note
from streamlog.processing.worker.overview import Extent, Seen, is_pipeline, pipeline_of
from streamlog.processing.worker.word import WorkerWord, encode_word

TOTALS = Identity("totals", "totals", None, Role.LIVE)
PLACES = [TopicPartition("clicks", each) for each in range(3)]


def member(name: str, *places: TopicPartition, word: WorkerWord | None = None) -> MemberDescription:
    data = None if word is None else encode_word(word)
    return MemberDescription(
        member_id=name,
        instance_id=None,
        client_id="streamlog-totals",
        client_host="/10.0.0.9",
        assignment=places,
        subscription=MemberSubscription(name, ("clicks",), user_data=data),
    )


def group(
    *members: MemberDescription, assignor: str = "", state: str = "Empty"
) -> GroupDescription:
    return GroupDescription("totals", state, "consumer", assignor, 0, members)


def at(offset: int, note: Note | None) -> OffsetAndMetadata:
    return OffsetAndMetadata(offset, "" if note is None else format_note(note))


def test_pipelines_are_told_from_other_groups() -> None:
    assert is_pipeline(Seen(group(assignor="streamlog-tasks")))
    assert not is_pipeline(Seen(group(assignor="range"), {PLACES[0]: at(3, Note(1))}))
    assert is_pipeline(Seen(group(), {PLACES[0]: at(3, None), PLACES[1]: at(3, Note(1))}))
    assert not is_pipeline(Seen(group(), {PLACES[0]: at(3, None)}))
    assert not is_pipeline(Seen(group()))


def test_a_running_pipeline_is_put_together() -> None:
    word = WorkerWord(host="far", pid=7, metrics="far:9400")
    members = [member("m1", PLACES[0], PLACES[2], word=word), member("m2", PLACES[1])]
    seen = Seen(
        group(*members, assignor="streamlog-tasks", state="Stable"),
        {
            PLACES[0]: at(5, Note(3, at_ms=1_000, time_ms=70)),
            PLACES[1]: at(6, Note(4, at_ms=2_000)),
        },
    )
    extents = {PLACES[0]: Extent(0, 9), PLACES[1]: Extent(0, 6), PLACES[2]: Extent(2, 6)}
    found = pipeline_of(seen, extents, TOTALS)
    assert found.state == "running"
    # Who does not say where it is, is known by its address.
    assert [each.host for each in found.workers] == ["10.0.0.9", "far"]
    assert [task.lag for task in found.tasks] == [4, 0, 4]
    assert [task.sequence for task in found.tasks] == [3, 4, None]
    assert [task.worker and task.worker.member_id for task in found.tasks] == ["m1", "m2", "m1"]
    total = found.total()
    assert (total.tasks, total.offset, total.lag) == (3, 11, 8)
    assert (total.checkpoint_ms, total.stream_time_ms) == (2_000, 70)
    (far,) = [each for each in found.workers if each.host == "far"]
    assert found.total(far).tasks == 2
    assert found.total(far).checkpoint_ms == 1_000


def test_what_is_read_together_is_one_task() -> None:
    places = [TopicPartition(topic, n) for topic in ("prices", "sales") for n in (0, 1)]
    notes = [Note(3, sub_topology="prices-sales")] * 3 + [Note(0, begins=True)]
    seen = Seen(group(), {place: at(5, note) for place, note in zip(places, notes, strict=True)})
    found = pipeline_of(seen, {place: Extent(0, 7) for place in places}, TOTALS)
    assert [task.name for task in found.tasks] == [
        *("prices-sales[0]", "prices-sales[1]", "prices-sales[0]"),
        "sales[1]",
    ]
    assert (found.total().tasks, found.total().lag) == (3, 8)


def test_a_stopped_pipeline_has_tasks_and_no_workers() -> None:
    found = pipeline_of(Seen(group(), {PLACES[0]: at(5, Note(3))}), {}, TOTALS)
    assert (found.state, found.workers) == ("stopped", ())
    assert found.tasks[0].worker is None
    assert found.tasks[0].lag is None
    waiting = pipeline_of(Seen(group(state="PreparingRebalance")), {}, TOTALS)
    assert waiting.state == "rebalancing"


def test_lag_is_what_waits_where_it_was_counted() -> None:
    seen = Seen(group(), {PLACES[0]: at(5, Note(3)), PLACES[1]: at(5, Note(3))})
    found = pipeline_of(seen, {PLACES[0]: Extent(0, 9, 0), PLACES[1]: Extent(0, 9)}, TOTALS)
    assert [task.lag for task in found.tasks] == [0, 4]
    assert found.total().lag == 4


def test_what_was_deleted_unread_does_not_wait() -> None:
    committed = OffsetAndMetadata(2, "")
    assert (Extent(5, 9).lag(committed), Extent(1, 9).lag(committed)) == (4, 7)
    assert (Extent(5, 9).lag(None), Extent(9, 9).lag(committed)) == (4, 0)
