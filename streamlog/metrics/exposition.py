"""Prometheus' text exposition format, version 0.0.4: what `/metrics` answers.

A family is a metric's name, kind and meaning, with a sample for each set of labels:

    # HELP streamlog_pipeline_records_total Records read.
    # TYPE streamlog_pipeline_records_total counter
    streamlog_pipeline_records_total{pipeline="delays",task="flights[0]"} 336776

A family without samples is not written: a name that never has a value only puzzles. Names and
labels are checked when they are made, so that what is written can always be read.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.metrics.histogram import Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Kind(Enum):
    """What may be done with a metric's values."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family:
    """One metric with its samples.

    >>> lag = Family("lag", Kind.GAUGE, "Records not read yet.")
    >>> lag.add(3, topic="flights", partition=0)
    >>> print(render([lag]).decode(), end="")
    # HELP lag Records not read yet.
    # TYPE lag gauge
    lag{topic="flights",partition="0"} 3
    """

    __slots__ = ("help", "kind", "lines", "name")

    def __init__(self, name: str, kind: Kind, help_text: str) -> None:
        assert _NAME.fullmatch(name), name
        assert kind is not Kind.COUNTER or name.endswith("_total"), name
        self.name = name
        self.kind = kind
        self.help = help_text
        self.lines: list[str] = []

    def add(self, value: float | None, **labels: object) -> None:
        """Adds a sample; nothing if there is no value."""
        if value is not None:
            self.lines.append(f"{self.name}{_labels(labels)} {_number(value)}")

    def add_histogram(self, histogram: Histogram, **labels: object) -> None:
        """Adds a histogram's buckets, its sum and its count."""
        assert self.kind is Kind.HISTOGRAM, self.name
        below = 0
        for bound, count in zip((*histogram.bounds, math.inf), histogram.counts, strict=True):
            below += count
            le = _labels({**labels, "le": _number(bound)})
            self.lines.append(f"{self.name}_bucket{le} {below}")
        self.lines.append(f"{self.name}_sum{_labels(labels)} {_number(histogram.sum)}")
        self.lines.append(f"{self.name}_count{_labels(labels)} {below}")


def render(families: Iterable[Family]) -> bytes:
    """Writes families as a body for `/metrics`."""
    lines: list[str] = []
    for family in families:
        if family.lines:
            meaning = family.help.replace("\\", r"\\").replace("\n", r"\n")
            lines.append(f"# HELP {family.name} {meaning}")
            lines.append(f"# TYPE {family.name} {family.kind.value}")
            lines += family.lines
    return "".join(f"{line}\n" for line in lines).encode()


def _labels(labels: dict[str, object]) -> str:
    if not labels:
        return ""
    assert all(_LABEL.fullmatch(name) for name in labels), labels
    pairs = (f'{name}="{str(value).translate(_ESCAPED)}"' for name, value in labels.items())
    return f"{{{','.join(pairs)}}}"


def _number(value: float) -> str:
    """Writes a value as Go reads it."""
    if isinstance(value, int):
        return str(int(value))
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
