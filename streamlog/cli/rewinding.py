"""What `rewind` does: finds the pipeline, shows the plan, carries it out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.cli.connection import open_connection
from streamlog.cli.embedded import brokers_or_embedded
from streamlog.cli.output import Table, note, write_table
from streamlog.cli.pipelines_here import alike, find_pipeline, is_file, load_one, state_home
from streamlog.doors import SystemClock, WorkerThreads
from streamlog.processing.dsl.windowed import utc
from streamlog.processing.errors import HistoryError, NeverRanError
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.rewind.refusals import impossible, who_runs
from streamlog.processing.rewind.rewinder import execute_rewind, plan_rewind
from streamlog.processing.rewind.target import Edge
from streamlog.processing.rewind.world import RewindWorld

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.cli.output import Cell
    from streamlog.cli.pipelines_here import PipelineHere
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
        try:
            if command.execute:
                decision = await execute_rewind(
                    around, here.outline, command.to, text=command.text, rebuild=command.rebuild
                )
                _show(command, decision, _said_done(command, decision))
                return 0
            decision = await plan_rewind(around, here.outline, command.to, rebuild=command.rebuild)
            said = [_said_planned(command, decision)]
            if decision.possible:
                said += _said_running(await who_runs(client, here.outline.name, here.folder))
            elif decision.out_of_reach:
                rebuilt = await plan_rewind(around, here.outline, command.to, rebuild=True)
                said.append(_said_rebuilt(rebuilt))
        except NeverRanError as error:
            raise _renamed(error, here, home / cluster) from error
    _show(command, decision, " ".join(said))
    return 0 if decision.possible else HistoryError.exit_code


def _show(command: Command, decision: Decision, said: str) -> None:
    write_table(plan_table(decision), as_json=command.as_json)
    late = [
        f"{choice.name} at offset {each.read_from} of {each.topic}"
        for choice in decision.choices
        for each in choice.inputs
        if choice.anew and 0 < each.log_start == each.read_from
    ]
    if late:
        note(f"What the log does not hold any more stays out: {', '.join(late)} is the first left")
    note(said)


def _said_done(command: Command, decision: Decision) -> str:
    moved = sum(choice.moved for choice in decision.choices)
    if not moved:
        return "No task had to go back, and the group's offsets are where the state is"
    again = "run it"
    if is_file(command.target):
        again = f"streamlog run {command.target}{command.where}"
    return f"{moved} of {len(decision.choices)} tasks went back. Go on from there: {again}"


def _said_planned(command: Command, decision: Decision) -> str:
    moved = sum(choice.moved for choice in decision.choices)
    again = (
        f"streamlog rewind {command.target} --to {command.text}"
        f"{' --rebuild' if command.rebuild else ''} --execute{command.where}"
    )
    if not decision.possible:
        error = impossible(decision)
        return f"Not possible as it is: {error.message}. {error.hint}."
    if moved:
        return (
            f"Nothing was changed: {moved} of {len(decision.choices)} tasks would go back. "
            f"Do it: {again}"
        )
    absent = [
        str(each.name)
        for each in decision.choices
        if not each.now.sequence and any(at.log_end > at.log_start for at in each.inputs)
    ]
    if absent and command.to is not Edge.START:
        return (
            f"There is no state here of {', '.join(absent)}. What they had come to is restored "
            f"from their changelogs first, without history: {again}"
        )
    if command.to is Edge.END:
        return f"No task would go back. To put the group's offsets where the state is: {again}"
    return f"Nothing to do: no task has come further than {command.text}"


def _said_running(workers: list[str]) -> list[str]:
    return [f"(after stopping it: it is running, {', '.join(workers)})"] if workers else []


def _said_rebuilt(rebuilt: Decision) -> str:
    """What `--rebuild` would do where history does not reach."""
    anew = sum(each.anew for each in rebuilt.choices)
    copied = sum(each.from_snapshot for each in rebuilt.choices)
    records = sum(each.read_again for each in rebuilt.choices)
    return (
        f"That would take {copied} tasks to a snapshot and {anew} to the start of their log, and "
        f"read {records:,} records again"
    )


def _renamed(error: NeverRanError, here: PipelineHere, cluster: Path) -> NeverRanError:
    """The error, with the name that the pipeline may have run under."""
    names = alike(here, cluster)
    if not names:
        return error
    return NeverRanError(
        error.message,
        hint=f'There is state here of "{names[0]}", which reads the same. If the pipeline was '
        f'renamed, its state stays with the name: @pipeline(name="{names[0]}"); or rewind it as it '
        f"was: streamlog rewind {names[0]} --to …. Under the new name it begins at the start "
        "when it runs",
    )


def plan_table(decision: Decision) -> Table:
    """Returns what becomes of each task."""
    table = Table(COLUMNS)
    for choice in decision.choices:
        table.rows.append(_row(choice, is_out_of_reach=choice.name in decision.out_of_reach))
    return table


def _row(choice: Choice, *, is_out_of_reach: bool) -> list[Cell]:
    stands = _offsets({each.topic: each.stands for each in choice.inputs})
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
        _offsets({each.topic: each.read_from for each in choice.inputs}),
        choice.read_again,
        choice.undone_rows,
        _reached(choice),
    ]


def _offsets(by_topic: dict[str, int]) -> Cell:
    """An offset; of several inputs, with their topics."""
    if len(by_topic) == 1:
        return next(iter(by_topic.values()))
    return ", ".join(f"{topic} {offset}" for topic, offset in by_topic.items())


def _reached(choice: Choice) -> str:
    if choice.missing:
        return "gone"
    if choice.from_snapshot:
        return "snapshot"
    if choice.anew or (choice.moved and not choice.to.sequence):
        return "start"
    return "yes" if choice.moved else "stays"


def _instant(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return utc(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
