"""`streamlog replay` as a user types it: an edit, a version beside, the difference, the swap."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from command_runner import COMMAND, TIMEOUT_S, environment, server, streamlog

from streamlog.cli.main import run
from streamlog.cli.offsets import Anchor, Bound
from streamlog.cli.replaying import parse_from, parse_until
from streamlog.errors import UsageError

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


@pytest.mark.slow
def test_an_edit_is_replayed_compared_swapped_in_and_runs_on(tmp_path: Path) -> None:
    live_file, file = tmp_path / "live" / "app.py", tmp_path / "app.py"
    live_file.parent.mkdir()
    live_file.write_text(LIVE)
    file.write_text(EDITED)
    state = ("--state", str(tmp_path / "state"))
    with server(tmp_path / "data") as address:

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


@pytest.mark.slow
def test_a_part_is_replayed_and_dropped_again(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(EDITED)
    state = ("--state", str(tmp_path / "state"))
    with server(tmp_path / "data") as address:
        at = ("-b", address)
        replay = ("replay", str(file), "--as", "v2", *at)
        streamlog("topic", "create", "flights", "-p", "1", "-c", "retention.ms=-1", *at)
        made = flights(0, DAYS)
        produce(address, made)
        streamlog(*replay, "--from", "24", "--until", "72", "--drain", "-q", *state)
        part = recomputed(made[24:72], edited=True)
        assert results(address, "delays-per-carrier.v2")[0] == part
        planned = streamlog(*replay, "--drop", *state).stdout
        assert "delays.v2.flights.changelog" in planned
        streamlog(*replay, "--drop", "--execute", *state)
        left = streamlog("topic", "list", *at).stdout
        assert ".v2" not in left
        assert "flights" in left


# What is refused before anything is started.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--diff", "--swap"), "exclude each other"),
        (("--diff", "--from", "start"), "--from is for the replay itself"),
        (("--execute",), "goes with --swap or --drop"),
        (("--drop", "--tombstones"), "goes with --swap"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", "app.py", "--as", "v2", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_version_needs_a_name_and_one_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.py"
    file.write_text(LIVE + LIVE[LIVE.index("@pipeline") :].replace("def delays", "def others"))
    assert run(["replay", str(file)]) == 2
    assert "--as" in capsys.readouterr().err
    assert run(["replay", str(file), "--as", "v2"]) == 2
    assert f"Name one: {file}:delays" in capsys.readouterr().err
    assert run(["replay", f"{file}:delays", "--as", "v.2"]) == 2
    assert "--as v2" in capsys.readouterr().err


def test_bounds_are_those_of_consume() -> None:
    assert parse_from("start", 0) == Bound(Anchor.START)
    assert parse_from("@-1h", 7_200_000) == Bound(Anchor.TIME, 3_600_000)
    assert parse_until("end", 0) == Bound(Anchor.END)
    assert parse_until("47", 0) == Bound(Anchor.OFFSET, 47)
    assert parse_until("@2013-07-01T00:00", 0) == Bound(Anchor.TIME, 1_372_636_800_000)
    with pytest.raises(UsageError, match="Say that with --until"):
        parse_from("3:9", 0)
    with pytest.raises(UsageError):
        parse_until("+3", 0)
