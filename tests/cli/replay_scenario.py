"""A pipeline, an edit of it, and the whole way from the one to the other by commands."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from command_runner import COMMAND, TIMEOUT_S, environment, streamlog

if TYPE_CHECKING:
    from pathlib import Path

APP = '''
"""Delays of each carrier and day."""

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Struct

from streamlog import Output, Stream, Topic, count, pipeline, sum_, tumbling


class Flight(Struct):
    carrier: str
    time: datetime
    delay: int | None


class Delays(Struct):
    flights: int
    minutes: int


Flights = Annotated[Stream[Flight], Topic(event_time=lambda flight: flight.time)]


@pipeline
def delays(flights: Flights) -> Output:
    return (
        flights.filter(lambda flight: KEPT)
        .key_by(lambda flight: flight.carrier)
        .window(tumbling(timedelta(days=1)))
        .aggregate(Delays, flights=count(), minutes=sum_(lambda flight: flight.delay))
        .to("delays-per-carrier")
    )
'''
LIVE = APP.replace("KEPT", "True")
EDITED = APP.replace("KEPT", "flight.delay is not None")

DAYS = 4
CARRIERS = ("AA", "B6", "UA")
Results = dict[tuple[str, str], tuple[int, int]]


def flights(first_day: int, days: int) -> list[dict[str, Any]]:
    """Eight flights of each carrier and day; every fourth of UA does not leave."""
    made = []
    for day in range(first_day, first_day + days):
        for number in range(8):
            for carrier in CARRIERS:
                moment = datetime(2013, 1, 1 + day, tzinfo=UTC) + timedelta(hours=3 * number)
                cancelled = carrier == "UA" and number % 4 == 0
                delay = None if cancelled else number + day
                made.append({"carrier": carrier, "time": moment.isoformat(), "delay": delay})
    return made


def recomputed(made: list[dict[str, Any]], *, edited: bool) -> Results:
    results: Results = {}
    for flight in made:
        if edited and flight["delay"] is None:
            continue
        key = flight["carrier"], f"{flight['time'][:10]}T00:00:00Z"
        count, minutes = results.get(key, (0, 0))
        results[key] = count + 1, minutes + (flight["delay"] or 0)
    return results


def produce(address: str, made: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(flight) + "\n" for flight in made)
    done = subprocess.run(
        [*COMMAND, "produce", "flights", "-b", address],
        input=lines, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def results(address: str, topic: str) -> tuple[Results, int]:
    """The newest result of each carrier and day, and how many records there are."""
    lines = streamlog("consume", topic, "-o", ":end", "-J", "-b", address).stdout.splitlines()
    found: Results = {}
    for line in lines:
        envelope = json.loads(line)
        result = json.loads(envelope["payload"])
        value = result["value"]
        found[envelope["key"], result["start"]] = value["flights"], value["minutes"]
    return found, len(lines)


def edit_replay_compare_swap_and_run_on(address: str, tmp_path: Path) -> None:
    """The whole way of an edit, by commands alone; the broker is whoever answers."""
    live_file, file = tmp_path / "live" / "app.py", tmp_path / "app.py"
    live_file.parent.mkdir()
    live_file.write_text(LIVE)
    file.write_text(EDITED)
    state = ("--state", str(tmp_path / "state"))

    def command(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments, "-b", address], capture_output=True, text=True,
            check=False, timeout=TIMEOUT_S, env=environment(),
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout

    def replay(*arguments: str, code: int = 0) -> str:
        return command("replay", f"{file}:delays", "--as", "v2", *arguments, code=code)

    first, second = flights(0, DAYS), flights(DAYS, DAYS)
    command("topic", "create", "flights", "-p", "1", "-c", "retention.ms=-1")
    produce(address, first)
    command("run", f"{live_file}:delays", "--until", "end", "-q", *state)
    # The last day is open: no record is behind it.
    closed = [flight for flight in first if int(flight["time"][8:10]) < DAYS]
    before, after = recomputed(closed, edited=False), recomputed(closed, edited=True)
    assert results(address, "delays-per-carrier")[0] == before

    replay("-q", *state)
    assert results(address, "delays-per-carrier.v2")[0] == after
    found = json.loads(replay("--diff", "--format", "json", code=1))
    (topic,) = found["topics"]
    differing = {key for key in before if before[key] != after[key]}
    assert {key for key, _ in differing} == {"UA"}
    assert (topic["same"], topic["changed"]) == (len(before) - len(differing), len(differing))
    assert (topic["missing"], topic["extra"], topic["not_compared"]) == (0, 0, 0)
    assert {(each["key"], each["start"]) for each in topic["sample"]} == differing
    assert topic["sample"][0]["live"]["value"]["flights"] == 8
    assert topic["sample"][0]["version"]["value"]["flights"] == 6

    assert "delays.v2" in replay("--swap")
    assert results(address, "delays-per-carrier")[0] == before
    replay("--swap", "--execute", "-q", *state)
    # Whoever reads the live topic sees the corrections, and nothing else again.
    assert results(address, "delays-per-carrier") == (after, len(before) + len(differing))
    replay("--diff")
    replay("--drop", "--execute", code=5)

    produce(address, second)
    command("run", f"{file}:delays", "--until", "end", "--drain", "-q", *state)
    expected = recomputed([*first, *second], edited=True)
    assert results(address, "delays-per-carrier")[0] == expected
    described = command("group", "describe", "delays.v2", "--format", "json")
    assert json.loads(described)["lag"] == 0

    # The name means the version from now on; the former one is told apart, and goes when asked.
    def listed(*arguments: str) -> list[tuple[object, ...]]:
        rows = json.loads(command(*arguments, "--format", "json"))
        return [(row["pipeline"], row["version"], row["role"]) for row in rows]

    live, former = ("delays", "v2", "live"), ("delays", "first", "former")
    assert listed("ps", "delays") == [live]
    assert listed("ps") == [live, former]
    assert {live, former} <= set(listed("group", "list"))
    assert set(listed("state", "list", *state)) == {live, former}
    assert json.loads(command("ps", "delays", "--format", "json"))[0]["lag"] == 0
    assert "sum" in command("state", "list", "delays", *state)
    drop = ("replay", f"{file}:delays", "--as", "first", "--drop", *state)
    assert "delays.flights.changelog" in command(*drop)
    command(*drop, "--execute")
    assert listed("ps") == [live]
    assert results(address, "delays-per-carrier")[0] == expected
