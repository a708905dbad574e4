"""A small pipeline of sessions, an interval join and a table, and a worker that runs it.

`python mixed_pipeline.py ADDRESS STATE CHUNK [drain]` runs it in tasks' chunks of so many records,
to the end of what is there. `test_pipelines_mixed` runs it in many ways.

No two events of a topic have the same time. Much comes late or without a match.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import trio
from msgspec import Struct

from streamlog import Output, Stream, Table, count, first, last, pipeline, sessions, sum_
from streamlog.processing.worker import run
from streamlog.processing.worker.config import RunConfig
from streamlog.processing.worker.status import RunStatus

SESSION_TIMEOUT_MS = 1_000
CHECKPOINT_INTERVAL_S = 0.05


class Visit(Struct):
    """Somebody looks at a page."""

    user: str
    row: int
    seconds: float


class Order(Struct):
    """Somebody orders what a visit has shown; no two orders are of the same one.

    Otherwise both would come out at the same time, in the order in which writers were mixed.
    """

    user: str
    row: int
    visit: int


class Person(Struct):
    """Where somebody lives at a time; the key is the user."""

    town: str


class Sitting(Struct):
    """Visits in one go."""

    visits: int
    seconds: float
    first_row: int
    last_row: int


class Cause(Struct):
    """A visit, and the order behind it if there is one."""

    user: str
    visit: int
    order: int | None


class Placed(Struct):
    """The same, and where its user lived by then."""

    user: str
    visit: int
    order: int | None
    town: str | None


def cause(visit: Visit, order: Order | None) -> Cause:
    """Puts both together."""
    return Cause(visit.user, visit.row, None if order is None else order.row)


def placed(cause: Cause, person: Person | None) -> Placed:
    """Adds the town."""
    return Placed(cause.user, cause.visit, cause.order, None if person is None else person.town)


@pipeline(idle=None)
def mixed(visits: Stream[Visit], orders: Stream[Order], people: Table[Person]) -> Output:
    """Sittings of users, and their orders by town."""
    by_user = visits.key_by(lambda visit: visit.user, name="by-user")
    (
        by_user.window(sessions(timedelta(seconds=4)), grace=timedelta(seconds=1))
        .aggregate(
            Sitting,
            visits=count(),
            seconds=sum_(lambda visit: visit.seconds),
            first_row=first(lambda visit: visit.row),
            last_row=last(lambda visit: visit.row),
            name="sittings",
        )
        .to("sittings")
    )
    return (
        by_user.join(
            orders.key_by(lambda order: order.user, name="orders-by-user"),
            cause,
            before=timedelta(seconds=1),
            after=timedelta(seconds=3),
            grace=timedelta(seconds=1),
            where=lambda visit, order: visit.row == order.visit,
            how="left",
            name="causes",
        )
        .join(people, placed, how="left", name="towns")
        .to("placed")
    )


async def work(address: str, state: Path, chunk: int, *, drain: bool) -> None:
    """Runs to the end."""
    setattr(run, "CHUNK_RECORDS", chunk)  # noqa: B010
    config = RunConfig(
        brokers=(address,), state_dir=state, until_end=True, drain=drain,
        checkpoint_interval_s=CHECKPOINT_INTERVAL_S, session_timeout_ms=SESSION_TIMEOUT_MS,
    )  # fmt: skip
    await run.run_worker((mixed,), config, RunStatus(), trio.Event())


async def main() -> None:
    """Reads the arguments."""
    address, state, chunk, *drain = sys.argv[1:]
    await work(address, Path(state), int(chunk), drain=bool(drain))


if __name__ == "__main__":
    trio.run(main)
