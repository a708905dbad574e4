"""Records of several sources in one order, as one task reads them; see `merge`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.records.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.dsl.nodes import Value
    from streamlog.processing.errors import RecordFailure
    from streamlog.records.columns import Headers


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a value that cannot be had, or of one whose event time cannot.

    Attributes:
        failure: Why.
    """

    failure: RecordFailure


class MergedColumns(Columns):
    """Records of several inputs in the order in which a task takes them.

    Their offsets are places in that order: how many records the task had taken before.

    Attributes:
        inputs: From which input each comes.
        places: Its offset there.
        decoded: Its value, or an `Unreadable`.
        moments: Its event time.
        times: The largest event time of its input so far.
        has_unreadable: Whether there may be an `Unreadable` among the values.
    """

    __slots__ = ("decoded", "has_unreadable", "inputs", "moments", "places", "times")

    def __init__(
        self,
        offsets: list[int],
        timestamps: list[int],
        keys: list[bytes | None],
        values: list[bytes | None],
        headers: list[Headers] | None,
        inputs: list[int],
        places: list[int],
        decoded: list[Value],
        moments: list[int],
        times: list[int],
        has_unreadable: bool,
    ) -> None:
        super().__init__(offsets, timestamps, keys, values, headers)
        self.inputs = inputs
        self.places = places
        self.decoded = decoded
        self.moments = moments
        self.times = times
        self.has_unreadable = has_unreadable

    def slice(self, start: int, stop: int | None = None) -> MergedColumns:
        """Returns a copy of the rows from `start` up to `stop`."""
        plain = super().slice(start, stop)
        return MergedColumns(
            plain.offsets,
            plain.timestamps,
            plain.keys,
            plain.values,
            plain.headers,
            self.inputs[start:stop],
            self.places[start:stop],
            self.decoded[start:stop],
            self.moments[start:stop],
            self.times[start:stop],
            self.has_unreadable,
        )

    def pick(self, indices: Sequence[int]) -> Columns:
        """Nothing picks among merged records."""
        raise AssertionError(f"{len(indices)} records were picked out of merged ones")
