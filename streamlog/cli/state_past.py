"""What `state snapshots` and `state drop` show and do: kept copies, and what tasks left here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.cli.output import Table, note
from streamlog.cli.state_rows import instant
from streamlog.errors import NotFoundError, UsageError
from streamlog.processing.state.snapshots import find_snapshots
from streamlog.processing.worker.left_here import remove_states, states_here

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamlog.cli.state_rows import Look
    from streamlog.processing.worker.left_here import StateHere


def snapshots_table(look: Look) -> Table:
    """Returns the kept snapshots of a pipeline's tasks, the newest first."""
    table = Table(
        [
            *("TASK", "CHECKPOINT", "TAKEN-AT", "STREAM-TIME", "OFFSETS"),
            *("ROWS", "BYTES", "USABLE"),
        ]
    )
    for task, view in look.tasks():
        for each in find_snapshots(view.folder):
            then = each.checkpoint
            offsets = [str(offset) for _, _, offset in then.meta.positions]
            table.rows.append(
                [
                    *(task, then.sequence, instant(then.time_ms or None)),
                    *(instant(then.meta.stream_time_ms), offsets, then.rows, each.size_bytes),
                    each.leads_to(view.about),
                ]
            )
    return table


def say_what_is_left(look: Look) -> None:
    """Says which tasks have state here and do not run here."""
    left = [each for each in states_here(look.folder) if each.is_left]
    if left:
        size = sum(each.size_bytes + each.snapshots_bytes for each in left)
        note(
            f"{', '.join(str(each.task) for each in left)}: not run here any more, with "
            f"{size:,} bytes left. Remove them: streamlog state drop {look.pipeline} --execute"
        )


def states_to_drop(
    folder: Path, tasks: Sequence[str], *, all_tasks: bool, snapshots_only: bool
) -> list[StateHere]:
    """Returns the state that is meant: of named tasks, of all, or of those that moved away.

    Raises:
        NotFoundError: If a named task has no state here.
        UsageError: If nothing says which tasks are meant.
    """
    here = states_here(folder)
    known = {str(each.task): each for each in here}
    for task in tasks:
        if task not in known:
            raise NotFoundError(
                f"there is no state of task {task} here",
                hint=f"There is that of {', '.join(known)}",
            )
    if tasks:
        return [known[task] for task in tasks]
    if all_tasks or snapshots_only:
        return here
    if not any(each.is_left or each.holder is not None for each in here):
        raise UsageError(
            "no worker of the pipeline runs here, so no task can be told to have moved away",
            hint="Say which: --task 'NAME[0]', or --all. It is restored from the changelogs when "
            "the pipeline runs here; history and snapshots are not",
        )
    return [each for each in here if each.is_left]


def drop_states(
    look: Look, states: Sequence[StateHere], *, snapshots_only: bool, execute: bool
) -> Table:
    """Removes state, or says what would be removed."""
    table = Table(
        [*("TASK", "ROWS", "BYTES", "LAST-CHECKPOINT"), *("SNAPSHOTS", "SNAPSHOT-BYTES", "USED-BY")]
    )
    for each in states:
        table.rows.append(
            [
                *(str(each.task), each.rows, each.size_bytes, instant(each.time_ms or None)),
                *(each.snapshots, each.snapshots_bytes, each.used_by),
            ]
        )
    if execute:
        remove_states(look.folder, states, snapshots_only=snapshots_only)
    return table
