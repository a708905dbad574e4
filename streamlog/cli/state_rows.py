"""What `state` shows: pipelines, stores, and rows, read from LMDB beside the workers."""

from __future__ import annotations

import csv
import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TextIO

from streamlog.cli.offsets import parse_time
from streamlog.cli.output import Table, note, text_of, write_table
from streamlog.cli.pipelines_here import find_state, is_file, load_one, nothing_here, state_home
from streamlog.cli.standing import who
from streamlog.config import did_you_mean
from streamlog.errors import NotFoundError, UsageError
from streamlog.processing.dsl.windowed import utc
from streamlog.processing.state.readable import DECISIONS, read_store, stores_of
from streamlog.processing.state.snapshots import find_snapshots
from streamlog.processing.state.view import open_view, task_folders
from streamlog.processing.worker.left_here import states_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streamlog.cli.known_versions import KnownVersions
    from streamlog.cli.output import Cell
    from streamlog.config import Settings
    from streamlog.processing.state.readable import ReadableRow, Store
    from streamlog.processing.state.view import StateView

ROW_COLUMNS: Final = ("TASK", "STORE", "KEY", "START", "END", "TIMES", "VALUE")
EVER: Final = (-(1 << 62), 1 << 62)


@dataclass(frozen=True, slots=True)
class Look:
    """A pipeline's state on this machine."""

    pipeline: str
    folder: Path

    def tasks(self) -> Iterator[tuple[str, StateView]]:
        """Yields its tasks, each open while it is looked at."""
        for sub, partition, home in task_folders(self.folder):
            with open_view(home) as view:
                if view is not None:
                    yield f"{sub}[{partition}]", view


def open_look(
    target: str,
    state: Path | None,
    cluster: str | None,
    settings: Settings,
    known: KnownVersions,
) -> Look:
    """Finds a pipeline's state by what the user typed: its live version's if no other is named."""
    name = load_one(target).name if is_file(target) else target
    home = state_home(state, settings)
    wanted = known.cluster if cluster is None else cluster
    if wanted is not None:
        meant = known.resolve(name).name if wanted == known.cluster else name
        if task_folders(home / wanted / meant):
            return Look(name, home / wanted / meant)
        if meant != name:
            raise nothing_here(f"{name} ({meant})", [home / wanted])
    folder = find_state(name, home)
    others = sorted(each.name for each in folder.parent.glob(f"{name}.*") if task_folders(each))
    if others and known.cluster is None:
        note(
            f"No broker says which version is live: this is the state in {folder}. There is also "
            f"that of {', '.join(others)}"
        )
    return Look(name, folder)


def span_of(begin: str | None, end: str | None) -> tuple[int, int]:
    """Returns the times from and until which rows are wanted, in milliseconds."""
    now_ms = time.time_ns() // 1_000_000
    found = list(EVER)
    for index, text in enumerate((begin, end)):
        if text is not None:
            moment = parse_time(text.removeprefix("@"), now_ms)
            if moment is None:
                raise UsageError(
                    f"{text!r} is no time", hint="Write 2013-07-01T00:00, 2013-07-01 or -2h"
                )
            found[index] = moment
    return found[0], found[1]


# Tables.


def pipelines_table(
    state: Path | None, cluster: str | None, settings: Settings, known: KnownVersions
) -> Table:
    """Returns the pipelines that have state here."""
    table = Table(
        [
            *("CLUSTER", "PIPELINE", "VERSION", "ROLE"),
            *("TASKS", "ROWS", "BYTES", "LAST-CHECKPOINT", "SNAPSHOTS", "SNAPSHOT-BYTES"),
        ]
    )
    home = state_home(state, settings)
    for folder in sorted(home.glob("*/*")):
        if cluster not in (None, folder.parent.name) or not task_folders(folder):
            continue
        views = [
            (*view.size(), view.about.time_ms) for _, view in Look(folder.name, folder).tasks()
        ]
        copies = [each for *_, at in task_folders(folder) for each in find_snapshots(at)]
        identity = known.identify(folder)
        table.rows.append(
            [
                folder.parent.name,
                *((folder.name, None, None) if identity is None else who(identity)),
                len(views),
                sum(rows for rows, _, _ in views),
                sum(size for _, size, _ in views),
                instant(max((at for _, _, at in views), default=0) or None),
                len(copies),
                sum(each.size_bytes for each in copies),
            ]
        )
    return table


def stores_table(look: Look) -> Table:
    """Returns the stores of a pipeline's tasks."""
    table = Table(["TASK", "STORE", "ROWS", "CHECKPOINT", "TAKEN-AT", "USED-BY", "LAYOUT"])
    used = {str(each.task): each.used_by for each in states_here(look.folder)}
    for task, view in look.tasks():
        about = view.about
        for store in stores_of(about.meta.layout):
            count = view.count(store.identity)
            if store.name == DECISIONS and not count:
                continue
            moment = instant(about.time_ms or None)
            row: list[Cell] = [task, store.name, count, about.meta.sequence, moment]
            table.rows.append([*row, used.get(task), store.layout])
    return table


def rows_table(
    look: Look,
    store: str,
    *,
    key: str | None = None,
    prefix: str = "",
    span: tuple[int, int] = EVER,
    rows_max: int | None = None,
) -> Table:
    """Returns rows of a store, over all tasks.

    Raises:
        NotFoundError: If the pipeline has no such store.
    """
    table = Table(ROW_COLUMNS)
    for task, row in _rows(look, store):
        if key is not None and row.key != key:
            continue
        if not (row.key or "").startswith(prefix) or not _is_within(row, span):
            continue
        if rows_max is not None and len(table.rows) >= rows_max:
            break
        table.rows.append(_cells(task, row))
    return table


def export_rows(look: Look, store: str | None, file: TextIO, *, as_csv: bool) -> int:
    """Writes all rows; returns how many."""
    writer = csv.writer(file) if as_csv else None
    if writer is not None:
        writer.writerow([column.lower() for column in ROW_COLUMNS])
    count = 0
    for task, row in _rows(look, store):
        count += 1
        cells = _cells(task, row)
        if writer is not None:
            writer.writerow(["" if cell is None else text_of(cell) for cell in cells])
        else:
            record = Table(ROW_COLUMNS, [cells]).records()[0]
            file.write(json.dumps({**record, "value": row.value}, ensure_ascii=False) + "\n")
    return count


def write_rows(table: Table, form: str) -> None:
    """Writes a table in one of three forms."""
    if form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow([column.lower().replace("-", "_") for column in table.columns])
        writer.writerows(
            [["" if cell is None else text_of(cell) for cell in row] for row in table.rows]
        )
        return
    write_table(table, as_json=form == "json")


def _rows(look: Look, store: str | None) -> Iterator[tuple[str, ReadableRow]]:
    known: dict[str, None] = {}
    found = False
    for task, view in look.tasks():
        for each in stores_of(view.about.meta.layout):
            known[each.name] = None
            if store in (None, each.name):
                found = True
                yield from _of_store(task, view, each)
    if not found:
        meant = did_you_mean(store or "", known)
        raise NotFoundError(
            f'pipeline "{look.pipeline}" has no store "{store}" here',
            hint=meant or f"It has {', '.join(known)}" if known else "It has no state yet",
        )


def _of_store(task: str, view: StateView, store: Store) -> Iterator[tuple[str, ReadableRow]]:
    for row in read_store(view, store):
        yield task, row


def _is_within(row: ReadableRow, span: tuple[int, int]) -> bool:
    if span == EVER:
        return True
    times = [row.start_ms] if row.start_ms is not None else row.times_ms
    return any(span[0] <= each < span[1] for each in times)


def _cells(task: str, row: ReadableRow) -> Sequence[Cell]:
    value = row.value
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    return [
        task,
        row.store,
        row.key,
        instant(row.start_ms),
        instant(row.end_ms),
        " ".join([*(str(instant(each)) for each in row.times_ms), row.rest]).strip() or None,
        value,
    ]


def instant(time_ms: int | None) -> str | None:
    """A moment as RFC 3339 has it, in UTC."""
    if time_ms is None:
        return None
    return utc(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
