"""`streamlog dlq` against a broker: listed, shown, sent back in order and once, dropped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from streamlog.cli.dead_letters import table_of
from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import TopicPartition
from streamlog.processing.failures.dead_letters import Cause, headers_back, headers_with
from streamlog.processing.failures.returning import Letter, plan_return

if TYPE_CHECKING:
    from command_runner import Shell

    from streamlog.records.columns import Headers

pytest_plugins = ("cli_fixtures",)

OWN: Headers = (("trace", b"abc"),)


def cause(offset: int, partition: int = 0, **more: object) -> Cause:
    told: dict[str, object] = {
        "topic": "orders",
        "pipeline": "totals",
        "task": f"orders/{partition}",
        "step": "map-parse",
        "location": "app.py:14",
        "exception_class": "builtins.ValueError",
        "exception_message": "no price",
        "exception_stacktrace": "Traceback\n  in parse\nValueError: no price\n",
        "time": "2026-01-01T00:00:00.000Z",
        **more,
    }
    return Cause(partition=partition, offset=offset, **told)  # type: ignore[arg-type]


def letter(offset: int, at: Cause, sent: int = 0, *, of: int | None = None) -> Letter:
    """A letter at an offset of the dead letters; of a record that was sent back `sent` times."""
    headers = OWN
    for _ in range(sent):
        headers = headers_back(cause(at.offset if of is None else of), headers)
    headers = headers_with(at, headers)
    return Letter(TopicPartition("d", 0), offset, 0, b"k", b"v%d" % offset, headers, at)


def test_letters_go_back_in_the_order_in_which_the_records_stood() -> None:
    # Record 3 was sent back, stood at 20, and failed again: it comes before 7, which waits for it.
    again = letter(5, cause(20), 1, of=3)
    back = plan_return([letter(1, cause(7)), letter(2, cause(1, partition=1)), again])
    assert {
        place: [each.offset for each in letters] for place, letters in back.letters.items()
    } == {
        TopicPartition("orders", 0): [5, 1],
        TopicPartition("orders", 1): [2],
    }
    assert back.upto == {TopicPartition("d", 0): 6}
    assert table_of(back).rows == [["orders", 0, 2, 3, 7, 1], ["orders", 1, 1, 1, 1, 0]]


@given(st.lists(st.integers(0, 5), max_size=12))
def test_a_record_goes_back_once_however_many_letters_it_has(offsets: list[int]) -> None:
    letters = [letter(number, cause(offset)) for number, offset in enumerate(offsets)]
    back = plan_return(letters)
    sent = [each for some in back.letters.values() for each in some]
    assert [each.identity[2] for each in sent] == sorted(set(offsets))
    newest = {offset: number for number, offset in enumerate(offsets)}
    assert [each.offset for each in sent] == [newest[offset] for offset in sorted(newest)]


def test_what_cannot_go_back_is_passed_over_and_said() -> None:
    stranger = Letter(TopicPartition("d", 0), 8, 0, None, None, (), None)
    back = plan_return([letter(7, cause(1, left_bytes=2_000_000)), stranger])
    assert (back.count, back.upto) == (0, {TopicPartition("d", 0): 9})
    assert ["1 record " in note for note in back.notes] == [True, True]


@pytest.fixture
def letters(shell: Shell, request: pytest.FixtureRequest) -> str:
    """A topic of three dead letters of `orders-<name>`: offsets 4, 2 (twice), and one behind 2."""
    name: str = request.node.name.replace("_", "-")[:40]
    orders, topic = f"orders-{name}", f"totals-{name}.dlq"

    async def write() -> None:
        async with open_client(ClientConfig(brokers=(shell.address,))) as client:
            await Admin(client).create_topics([NewTopic(orders, 2), NewTopic(topic, 1)])
            causes = [
                cause(4, 1, topic=orders),
                cause(2, topic=orders, order="key"),
                cause(2, topic=orders, order="key"),
                cause(3, topic=orders, order="key", behind=2, exception_class="", step=""),
            ]
            async with open_producer(client) as producer:
                delivery = await producer.send_columns(
                    topic,
                    0,
                    [b"a", b"b", b"b", b"b"],
                    [b"four", b"two", b"two", b"three"],
                    [5_000] * 4,
                    [headers_with(each, OWN) for each in causes],
                )
                await delivery.wait()

    trio.run(write)
    return name


def test_letters_are_counted_by_what_went_wrong(shell: Shell, letters: str) -> None:
    rows = shell.json("dlq", "list", f"totals-{letters}")
    assert isinstance(rows, list)
    orders = f"orders-{letters}"
    assert [list(row.values())[:6] for row in rows] == [
        [orders, 0, None, "(behind another)", 1, 1],
        [orders, 0, "map-parse", "builtins.ValueError", 2, 2],
        [orders, 1, "map-parse", "builtins.ValueError", 1, 1],
    ]
    assert f"streamlog dlq retry totals-{letters}" in shell.err
    shell("dlq", "list", "nothing-like-it", code=4)
    assert 'there is no topic "nothing-like-it.dlq"' in shell.err


def test_a_letter_is_shown_with_its_cause(shell: Shell, letters: str) -> None:
    shown = shell("dlq", "show", f"totals-{letters}", "-n", "1")
    assert f"record     orders-{letters}[1] at offset 4" in shown
    assert "step       map-parse (app.py:14) of totals, task orders/1" in shown
    assert "exception  builtins.ValueError: no price" in shown
    assert "value      four" in shown
    assert "header     trace: abc" in shown
    assert "in parse" not in shown
    assert "3 more" in shell.err
    assert "in parse" in shell("dlq", "show", f"totals-{letters}", "-n", "1", "-v")
    rows = shell.json("dlq", "show", f"totals-{letters}.dlq", "-p", "0", "-o", "3")
    assert isinstance(rows, list)
    assert [(row["value"], row["error"]["behind"]) for row in rows] == [("three", 2)]
    shell("dlq", "show", f"totals-{letters}", "-o", "3", code=2)


def test_letters_are_sent_back_in_order_and_once(shell: Shell, letters: str) -> None:
    name, orders = f"totals-{letters}", f"orders-{letters}"
    plan = shell("dlq", "retry", name)
    assert plan.splitlines()[1:] == [f"{orders}\t0\t2\t2\t3\t0", f"{orders}\t1\t1\t4\t4\t0"]
    assert "Nothing was sent" in shell.err
    assert shell("consume", orders, "-e") == ""
    shell("dlq", "retry", name, "--execute")
    assert shell.err == "3 records sent back\n"
    lines = shell("consume", orders, "-p", "0", "-e", "-J").splitlines()
    sent = [json.loads(line) for line in lines]
    assert [(each["payload"], each["key"], each["ts"]) for each in sent] == [
        ("two", "b", 5_000),
        ("three", "b", 5_000),
    ]
    assert sent[0]["headers"] == [
        *("trace", "abc", "__streamlog.retry.pipeline", "totals"),
        *("__streamlog.retry.offset", "2", "__streamlog.retry.count", "1"),
    ]
    shell("dlq", "retry", name, "--execute")
    assert shell.err == "There is nothing to send back\n"
    rows = shell.json("dlq", "list", name)
    assert isinstance(rows, list)
    assert [row["pending"] for row in rows] == [0, 0, 0]


def test_a_limit_is_kept(shell: Shell, letters: str) -> None:
    name, orders = f"totals-{letters}", f"orders-{letters}"
    shell("dlq", "retry", name, "--limit", "1", "--execute")
    assert shell.err == "1 record sent back; 3 are left, for the next call\n"
    assert shell("consume", orders, "-e") == "four\n"


def test_letters_are_dropped_and_their_keys_let_go(shell: Shell, letters: str) -> None:
    name, orders = f"totals-{letters}", f"orders-{letters}"
    shell("dlq", "drop", name, code=2)
    shell("dlq", "drop", name, "--to", "2", code=2)
    shown = shell("dlq", "drop", name, "--to", "2", "-p", "0")
    assert shown.splitlines()[1] == f"{name}.dlq\t0\t0\t2\t2\t2"
    assert "Nothing was dropped" in shell.err
    shell("dlq", "drop", name, "--all", "--execute")
    assert shell.json("dlq", "list", name) == []
    # What held a key is sent back as given up; the letter that held none is just gone.
    lines = shell("consume", orders, "-e", "-J").splitlines()
    dropped = ["__streamlog.retry.drop" in json.loads(line)["headers"] for line in lines]
    assert dropped == [True, True]
