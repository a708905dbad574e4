"""What is written is what Prometheus' own parser reads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.metrics.exposition import Family, Kind, render
from streamlog.metrics.histogram import Histogram

parser = pytest.importorskip("prometheus_client.parser")


def read(*families: Family) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = render(families).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.text(), st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False)))
def test_any_label_and_value_come_back(label: str, value: float) -> None:
    family = Family("lag", Kind.GAUGE, "With a \\ and\na line.")
    family.add(value, topic=label, partition=3)
    assert read(family) == {("lag", frozenset({("topic", label), ("partition", "3")})): value}


def test_special_values_are_written_as_go_reads_them() -> None:
    family = Family("age", Kind.GAUGE, "x")
    for name, value in (("a", math.inf), ("b", -math.inf), ("c", math.nan), ("d", True)):
        family.add(value, of=name)
    family.add(None, of="e")
    lines = render([family]).decode().splitlines()[2:]
    assert lines == ['age{of="a"} +Inf', 'age{of="b"} -Inf', 'age{of="c"} NaN', 'age{of="d"} 1']


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_everything_once(values: list[float]) -> None:
    histogram = Histogram((0.5, 1.0, 10.0))
    for value in values:
        histogram.observe(value)
    family = Family("took_seconds", Kind.HISTOGRAM, "x")
    family.add_histogram(histogram, task="a")
    found = read(family)
    for bound in (0.5, 1.0, 10.0, math.inf):
        le = "+Inf" if math.isinf(bound) else str(bound)
        key = ("took_seconds_bucket", frozenset({("task", "a"), ("le", le)}))
        assert found[key] == sum(value <= bound for value in values)
    assert found["took_seconds_count", frozenset({("task", "a")})] == len(values)
    assert found["took_seconds_sum", frozenset({("task", "a")})] == pytest.approx(sum(values))


def test_a_family_without_samples_is_not_written() -> None:
    assert render([Family("lag", Kind.GAUGE, "x")]) == b""


@pytest.mark.parametrize("name", ["", "a-b", "1a", "ä", "records"])
def test_names_that_nobody_could_read_are_refused(name: str) -> None:
    with pytest.raises(AssertionError):
        Family(name, Kind.COUNTER, "x")
