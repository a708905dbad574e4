"""Plans under other names than the pipeline's own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from streamlog import Output, Stream, count, pipeline, tumbling
from streamlog.errors import UsageError
from streamlog.processing.errors import PlanError
from streamlog.processing.plan.naming import Naming, beside, check_version


@pipeline
def hits(clicks: Stream[str]) -> Output:
    """Counts what is read, and passes it on."""
    clicks.to("copies")
    counted = clicks.key_by(lambda click: click, name="by-url").window(tumbling(timedelta(hours=1)))
    return counted.aggregate(dict, hits=count(), name="hits").to("hits-out")


def test_a_version_shares_only_its_sources_with_the_pipeline() -> None:
    plan = hits.plan(beside("hits", "v2"))
    assert plan.name == "hits.v2"
    assert plan.source_topics == ("clicks",)
    assert plan.output_topics == ("copies.v2", "hits-out.v2")
    owned = {
        topic
        for sub in plan.sub_topologies
        for topic in (sub.changelog_topic, *sub.repartition_topics)
    }
    assert owned == {
        "hits.v2.clicks.changelog",
        "hits.v2.by-url.changelog",
        "hits.v2.by-url.repartition",
    }


def test_a_version_in_the_pipelines_place_keeps_its_state_and_writes_the_live_topics() -> None:
    version, swapped = hits.plan(beside("hits", "v2")), hits.plan(Naming("hits.v2"))
    assert swapped.output_topics == hits.plan().output_topics == ("copies", "hits-out")
    for mine, theirs in zip(version.sub_topologies, swapped.sub_topologies, strict=True):
        assert mine.layout == theirs.layout
        assert mine.changelog_topic == theirs.changelog_topic
        assert mine.input_topics == theirs.input_topics


def test_plans_are_drawn_once_for_each_name() -> None:
    assert hits.plan() is hits.plan(Naming("hits"))
    assert hits.plan(beside("hits", "v2")) is hits.plan(beside("hits", "v2"))


@pytest.mark.parametrize("version", ["", "a.b", "v 2", "v/2", "x" * 31])
def test_a_version_that_cannot_be_part_of_a_topics_name_is_refused(version: str) -> None:
    with pytest.raises(UsageError, match="--as v2"):
        check_version(version)


def test_a_topic_whose_name_would_be_too_long_is_refused() -> None:
    @pipeline
    def long(clicks: Stream[str]) -> Output:
        return clicks.to("x" * 249)

    assert long.plan().output_topics
    with pytest.raises(PlanError, match="cannot name a topic"):
        long.plan(beside("long", "v2"))
