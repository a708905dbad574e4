"""Where a pipeline is cut, what its topics are called, and how many partitions they get."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from streamlog import GlobalTable, Pipeline, Stream, count, pipeline, sum_, tumbling

if TYPE_CHECKING:
    from streamlog.processing.plan.plan import SubTopologyPlan
    from streamlog.processing.plan.tree import Step


class Event(Struct):
    group: str
    number: int


class Name(Struct):
    name: str


HOUR = tumbling(timedelta(hours=1))
DAY = tumbling(timedelta(days=1))


def subs_of(declared: Pipeline[..., object]) -> dict[str, SubTopologyPlan]:
    return {sub.name: sub for sub in declared.plan().sub_topologies}


def names(steps: tuple[Step, ...]) -> list[object]:
    """A tree's steps by name; a list behind a name holds what follows it."""
    found: list[object] = []
    for step in steps:
        found.append(f"{step.node.name} > {step.topic}" if step.topic else step.node.name)
        if step.children:
            found.append(names(step.children))
    return found


def test_a_window_on_a_source_needs_no_topic() -> None:
    @pipeline
    def direct(events: Stream[Event]) -> None:
        events.filter(lambda e: e.number, name="some").window(HOUR).count().to("counts")

    (sub,) = direct.plan().sub_topologies
    assert (sub.name, sub.level, sub.input_topics, sub.upstream) == ("events", 0, ("events",), ())
    assert names(sub.entry.steps) == ["some", ["count"]]
    assert [names(tree.steps) for tree in sub.timed] == [["counts"]]


def test_the_cut_is_at_the_key_by_and_only_what_leads_to_the_window_is_behind_it() -> None:
    @pipeline
    def cut(events: Stream[Event], things: GlobalTable[Name]) -> None:
        keyed = events.key_by(lambda e: e.group)
        keyed.to("keyed")
        named = keyed.join(things, lambda e, n: Event(n.name, e.number))
        named.window(HOUR).count().to("counts")

    subs = subs_of(cut)
    assert list(subs) == ["events", "by-group"]
    assert names(subs["events"].entry.steps) == ["by-group > cut.by-group.repartition", ["keyed"]]
    assert names(subs["by-group"].entry.steps) == ["join-things", ["count"]]
    assert subs["events"].table_topics == ()
    assert subs["by-group"].table_topics == ("things",)
    assert subs["by-group"].upstream == ("events",)
    assert subs["by-group"].changelog_topic == "cut.by-group.changelog"


def test_windows_behind_one_key_by_share_its_topic() -> None:
    @pipeline
    def shared(events: Stream[Event]) -> None:
        keyed = events.key_by(lambda e: e.group)
        keyed.window(HOUR).count(name="hourly").to("hours")
        keyed.window(DAY).count(name="daily").to("days")

    subs = subs_of(shared)
    assert list(subs) == ["events", "by-group"]
    assert [tree.root.name for tree in subs["by-group"].timed] == ["hourly", "daily"]


def test_only_the_last_key_by_before_a_window_is_a_topic() -> None:
    @pipeline
    def rekeyed(events: Stream[Event]) -> None:
        first = events.key_by(lambda e: e.group)
        first.key_by(lambda e: e.number).window(HOUR).count().to("counts")

    assert list(subs_of(rekeyed)) == ["events", "by-number"]


def test_results_that_keep_their_key_stay_where_they_are() -> None:
    @pipeline
    def chained(events: Stream[Event]) -> None:
        hourly = events.key_by(lambda e: e.group).window(HOUR, grace=timedelta(minutes=5))
        daily = hourly.count(name="hourly").window(DAY, grace=timedelta(minutes=1))
        daily.aggregate(Event, name="daily", group=count(), number=sum_(lambda w: w.value)).to(
            "out"
        )

    subs = subs_of(chained)
    assert list(subs) == ["events", "by-group"]
    hourly_tree, daily_tree = subs["by-group"].timed
    assert (hourly_tree.root.name, daily_tree.root.name) == ("hourly", "daily")
    assert hourly_tree.lag_ms == 300_000
    assert daily_tree.lag_ms == 360_000


def test_results_under_another_key_go_a_level_down_with_their_lag() -> None:
    @pipeline
    def levels(events: Stream[Event]) -> None:
        hourly = events.key_by(lambda e: e.group).window(HOUR, grace=timedelta(minutes=5))
        by_count = hourly.count(name="hourly").key_by(lambda w: w.value)
        by_count.window(DAY).count(name="daily").to("out")

    subs = subs_of(levels)
    assert {name: sub.level for name, sub in subs.items()} == {
        "events": 0,
        "by-group": 1,
        "by-value": 2,
    }
    (write,) = subs["by-group"].writes
    assert (write.lag_ms, write.single, write.input_index) == (300_000, True, 0)
    assert subs["by-value"].writer_topics == ("levels.by-group.repartition",)


def test_a_merge_before_a_window_is_one_topic_with_all_its_writers() -> None:
    @pipeline
    def merging(events: Stream[Event], others: Stream[Event]) -> None:
        left = events.key_by(lambda e: e.group)
        left.merge(others.key_by(lambda e: e.number)).window(HOUR).count().to("counts")

    subs = subs_of(merging)
    (merged,) = (sub for sub in subs.values() if sub.level == 1)
    assert merged.name == "by-group-by-number"
    assert merged.upstream == ("events", "others")
    assert subs["events"].writes[0].input_index == 0
    assert subs["others"].writes[0].input_index == 1
    assert names(subs["others"].entry.steps) == [
        "by-number",
        ["by-group-by-number > merging.by-group-by-number.repartition"],
    ]


def test_a_merge_without_a_window_behind_it_is_no_topic() -> None:
    @pipeline
    def merging(events: Stream[Event], others: Stream[Event]) -> None:
        events.merge(others).map(lambda e: e.number).to("numbers")

    assert {name: sub.level for name, sub in subs_of(merging).items()} == {"events": 0, "others": 0}


def test_partitions_and_settings_of_topics() -> None:
    @pipeline
    def topics(events: Stream[Event], others: Stream[Event], things: GlobalTable[Name]) -> None:
        both = events.merge(others, name="both").join(things, lambda e, n: e)
        both.window(HOUR).count().to("counts")
        others.to("copies", partitions=2)

    plan = topics.plan()
    assert plan.source_topics == ("events", "others")
    assert plan.table_topics == ("things",)
    specs = {spec.name: spec for spec in plan.topic_specs({"events": 3, "others": 6, "things": 9})}
    assert {name: spec.partition_count for name, spec in specs.items()} == {
        "topics.events.changelog": 3,
        "topics.others.changelog": 6,
        "topics.both.repartition": 6,
        "topics.both.changelog": 6,
        "counts": 6,
        "copies": 2,
    }
    assert specs["topics.both.changelog"].configs["cleanup.policy"] == "compact"
    assert {spec.configs["retention.ms"] for spec in specs.values()} == {"-1"}
    assert [name for name, spec in specs.items() if not spec.fixed] == ["counts", "copies"]


def test_an_edit_elsewhere_changes_neither_names_nor_layout() -> None:
    @pipeline(name="p")
    def before(events: Stream[Event]) -> None:
        events.key_by(lambda e: e.group).window(HOUR).count().to("counts")

    @pipeline(name="p")
    def after(events: Stream[Event]) -> None:
        events.map(lambda e: e.number).to("numbers")
        some = events.filter(lambda e: e.number > 5)
        some.key_by(lambda e: e.number).window(HOUR).count(name="others").to("others")
        events.key_by(lambda e: e.group).window(HOUR).count().to("counts")

    old, new = subs_of(before)["by-group"], subs_of(after)["by-group"]
    assert new.layout == old.layout
    assert new.input_topics == old.input_topics
    assert new.changelog_topic == old.changelog_topic


def test_the_layout_tells_what_would_misread_the_state() -> None:
    def layout(size: timedelta, *, summed: bool = False) -> dict[str, str]:
        @pipeline
        def one(events: Stream[Event]) -> None:
            window = events.window(tumbling(size))
            if summed:
                window.sum_(lambda e: e.number, name="it").to("out")
            else:
                window.count(name="it").to("out")

        return one.plan().sub_topologies[0].layout

    hours = timedelta(hours=1)
    assert layout(hours) == layout(hours)
    assert layout(hours) != layout(hours * 2)
    assert layout(hours) != layout(hours, summed=True)
