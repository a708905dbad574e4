"""The records of a chunk, or the results of a step, on their way through a tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlog.processing.dsl.nodes import Value
    from streamlog.records.columns import Headers


@dataclass(slots=True, kw_only=True)
class Batch:
    """Columns; each list has one entry for each record, but `ends`.

    Attributes:
        offsets: Of the input that caused each.
        times: The stream time by which its lateness is judged: its writer's.
        task_times: The task's stream time.
        writers: Who wrote it.
        ports: By which input it comes, where the tree's root has several.
        headers: Of records from a source.
        places: The offset of each in its own input, where it comes from one of several sources;
            `offsets` then is its place in the order of all of them.
        ends: For each plain window of the tree, the end of each record's window, as far as it was
            run.
    """

    values: list[Value]
    keys: list[bytes | None]
    timestamps: list[int]
    offsets: list[int]
    times: list[int]
    task_times: list[int]
    writers: list[int]
    ports: list[int] = field(default_factory=list)
    headers: list[Headers] | None = None
    places: list[int] | None = None
    ends: list[list[int]] = field(default_factory=list)
