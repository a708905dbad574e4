"""Where to rewind to, as the user says it.

* `start`: empty state, and all input to be read again;
* `end`: the last checkpoint; for putting right what somebody did to the group's offsets;
* an event time: every source at its newest checkpoint before any record of that time or later;
* a clock time: every task at its newest checkpoint that was taken by then;
* a number of checkpoints: as many as that back in the source task that had them last, the other
  sources to where they stood then.

What is behind the sources follows them; see `decide`. With a clock time it goes at least as far.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Edge(Enum):
    """One of the two ends of what there is."""

    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class EventTime:
    """Milliseconds since 1970 in the time of the records."""

    time_ms: int


@dataclass(frozen=True, slots=True)
class ClockTime:
    """Milliseconds since 1970 on the wall clock, when checkpoints were taken."""

    time_ms: int


@dataclass(frozen=True, slots=True)
class Back:
    """A number of checkpoints."""

    checkpoints: int


Target: TypeAlias = Edge | EventTime | ClockTime | Back
