"""What `run` says when a pipeline cannot go on."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from command_runner import COMMAND, TIMEOUT_S, environment, server, streamlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = """
from msgspec import Struct
from streamlog import Output, Stream, pipeline

class Order(Struct):
    price: int

@pipeline
def totals(orders: Stream[Order]) -> Output:
    return orders.map(enrich).to("out")

def enrich(order: Order) -> Order:
    return Order(10 // order.price)

@pipeline(name="twin")
def one(orders: Stream[str]) -> Output:
    return orders.to("out")

@pipeline(name="twin")
def other(orders: Stream[str]) -> Output:
    return orders.to("out")

@pipeline
def lost(ordres: Stream[str]) -> Output:
    return ordres.to("out")
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("data")) as address:
        streamlog("topic", "create", "orders", "-p", "2", "-b", address)
        yield address


def produce(address: str, partition: int, line: str) -> None:
    subprocess.run(
        [*COMMAND, "produce", "orders", "-p", str(partition), "-b", address],
        input=line,
        text=True,
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
        env=environment(),
    )


def run(tmp_path: Path, address: str, names: str, app: str = APP) -> tuple[int, str]:
    (tmp_path / "app.py").write_text(app)
    done = subprocess.run(
        [*COMMAND, "run", f"app.py{names}", "-b", address, "--state", "state", "--until", "end"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env=environment(),
    )
    return done.returncode, done.stderr


@pytest.mark.slow
def test_a_record_that_fails_is_named_and_the_run_goes_on_after_the_fix(
    tmp_path: Path, address: str
) -> None:
    produce(address, 1, '{"price": 5}\n{"price": 0}\n')
    code, err = run(tmp_path, address, ":totals")
    assert code == 1
    assert err == (
        "streamlog: step map-enrich (app.py:10) failed for the record at offset 1 of orders "
        "partition 1: ZeroDivisionError: integer division or modulo by zero. "
        f"See it: streamlog consume orders -p 1 -o 1 -n 1 -b {address}. "
        "Retry after the fix: streamlog run app.py:totals. "
        "Or have such records set aside: @pipeline(on_error=dead_letter())\n"
    )
    seen = streamlog("consume", "orders", "-p", "1", "-o", "1", "-n", "1", "-b", address)
    assert seen.stdout == '{"price": 0}\n'
    fixed = APP.replace("10 // order.price", "10 // max(order.price, 1)")
    assert run(tmp_path, address, ":totals", fixed)[0] == 0
    assert streamlog("consume", "out", "-e", "-b", address).stdout.count("price") == 2
    produce(address, 0, "no JSON\n")
    code, err = run(tmp_path, address, ":totals", fixed)
    assert code == 6
    assert "offset 0 of orders partition 0 cannot be read" in err


@pytest.mark.parametrize(
    ("names", "code", "message"),
    [
        (":one:other", 2, 'two pipelines have the name "twin"'),
        (":lost", 4, 'topic "ordres" does not exist'),
        (":nothing", 4, 'app.py has no pipeline "nothing"'),
    ],
)
def test_what_cannot_be_run_is_refused(
    tmp_path: Path, address: str, names: str, code: int, message: str
) -> None:
    ended, err = run(tmp_path, address, names)
    assert ended == code
    assert err.startswith(f"streamlog: {message}")
    assert err.count("\n") == 1
