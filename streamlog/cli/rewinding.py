"""What `rewind` does: finds the pipeline, shows the plan, carries it out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.cli.connection import open_connection
from streamlog.cli.embedded import brokers_or_embedded
from streamlog.cli.output import Table, note, write_table
from streamlog.cli.pipelines_here import find_pipeline, is_file, load_one, state_home
from streamlog.doors import SystemClock, WorkerThreads
from streamlog.processing.dsl.windowed import utc
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.rewind.rewinder import (
    RewindWorld,
    execute_rewind,
    impossible,
    plan_rewind,
)

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.cli.output import Cell
    from streamlog.config import Settings
    from streamlog.processing.rewind.decide import Choice, Decision
    from streamlog.processing.rewind.target import Target

STATE_THREADS = 2
COLUMNS = (
    *("TASK", "CHECKPOINT", "TO", "TAKEN-AT", "STREAM-TIME"),
    *("OFFSET", "TO-OFFSET", "READ-AGAIN", "UNDO-ROWS", "REACHED"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the command line asked for."""

    target: str
    to: Target
    text: str
    rebuild: bool
    execute: bool
    settings: Settings
    state: Path | None
    data: Path | None
    as_json: bool

    @property
    def where(self) -> str:
        """The flags that a command needs to mean the same brokers and folders."""
        brokers = self.settings.brokers
        found = "" if brokers is None else f" -b {brokers[0]}"
        found += "" if self.state is None else f" --state {self.state}"
        return found if self.data is None else f"{found} --data {self.data}"


def now_ms() -> int:
    """Returns the wall time."""
    return time.time_ns() // 1_000_000


async def run_rewind(command: Command) -> int:
    """Shows what a rewind would do, or does it; returns the exit code."""
    pipeline = load_one(command.target) if is_file(command.target) else None
    if pipeline is not None:
        pipeline.plan()  # What is wrong with the file is said before anything is started.
    async with (
        brokers_or_embedded(command.settings, command.data) as brokers,
        open_connection(command.settings, brokers) as (client, admin),
    ):
        cluster = (await admin.describe_cluster()).cluster_id or "unnamed-cluster"
        home = state_home(command.state, command.settings)
        registry = await read_registry(client)
        here = find_pipeline(command.target, pipeline, home, cluster, registry)
        around = RewindWorld(
            client=client,
            clock=SystemClock(),
            threads=WorkerThreads(STATE_THREADS),
            folder=here.folder,
            retention=here.retention,
        )
        if command.execute:
            decision = await execute_rewind(
                around, here.outline, command.to, text=command.text, rebuild=command.rebuild
            )
        else:
            decision = await plan_rewind(around, here.outline, command.to, rebuild=command.rebuild)
    write_table(plan_table(decision), as_json=command.as_json)
    _say(command, decision)
    return 0


def _say(command: Command, decision: Decision) -> None:
    moved = sum(choice.moved for choice in decision.choices)
    if command.execute:
        tasks = f"{moved} of {len(decision.choices)} tasks went back"
        again = "run it"
        if is_file(command.target):
            again = f"streamlog run {command.target}{command.where}"
        note(f"{tasks}. Go on from there: {again}" if moved else tasks)
    elif not decision.possible:
        error = impossible(decision)
        note(f"Not possible as it is: {error.message}. {error.hint}")
    else:
        again = " --rebuild" if command.rebuild else ""
        note(
            f"Nothing was changed: {moved} of {len(decision.choices)} tasks would go back. Do it: "
            f"streamlog rewind {command.target} --to {command.text}{again} --execute{command.where}"
        )


def plan_table(decision: Decision) -> Table:
    """Returns what becomes of each task."""
    table = Table(COLUMNS)
    for choice in decision.choices:
        table.rows.append(_row(choice, is_out_of_reach=choice.name in decision.out_of_reach))
    return table


def _row(choice: Choice, *, is_out_of_reach: bool) -> list[Cell]:
    stands = choice.now.positions().get((choice.topic, choice.name.partition), choice.log_start)
    row: list[Cell] = [str(choice.name), choice.now.sequence]
    if is_out_of_reach:
        return [*row, None, None, None, stands, None, None, None, "no"]
    to = choice.to
    return [
        *row,
        to.sequence if choice.moved else choice.now.sequence,
        _instant(to.time_ms or None),
        _instant(to.meta.stream_time_ms),
        stands,
        choice.read_from,
        max(stands - choice.read_from, 0),
        choice.undone_rows,
        _reached(choice),
    ]


def _reached(choice: Choice) -> str:
    if choice.anew or (choice.moved and not choice.to.sequence):
        return "start"
    return "yes" if choice.moved else "stays"


def _instant(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return utc(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
