"""The commands against a broker in a process of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from command_runner import Shell

pytest_plugins = ("cli_fixtures",)


def test_a_topic_is_created_listed_described_and_deleted(shell: Shell) -> None:
    shell("topic", "create", "orders", "-p", "3", "-c", "retention.ms=5000")
    assert shell.err == 'topic "orders" created\n'
    assert {"name": "orders", "partitions": 3, "replicas": 1} in shell.json("topic", "list")  # type: ignore[operator]
    assert "orders\t3\t1\n" in shell("topics")
    shell("produce", "orders", "-p", "1", stdin="a\nb\n")
    described = shell.json("topic", "describe", "orders")
    assert isinstance(described, dict)
    assert [p["records"] for p in described["partitions"]] == [0, 2, 0]
    assert {"setting": "retention.ms", "value": "5000"}.items() <= described["configs"][0].items()
    assert shell("topic", "delete", "orders") == "NAME\tPARTITIONS\tRECORDS\norders\t3\t2\n"
    assert "Nothing was deleted" in shell.err
    assert "orders" in shell("topic", "list")
    shell("topic", "delete", "orders", "--execute")
    assert "orders" not in shell("topic", "list")


def test_a_topic_that_exists_is_not_created_again(shell: Shell) -> None:
    shell("topic", "create", "twice")
    shell("topic", "create", "twice", code=5)
    assert "exists already" in shell.err
    shell("topic", "create", "twice", "--if-not-exists")
    assert shell.err == 'topic "twice" was there already\n'


@pytest.mark.parametrize(
    "arguments", [("consume", "ordres"), ("produce", "ordres"), ("topic", "describe", "ordres")]
)
def test_a_topic_that_does_not_exist_is_named_with_the_nearest(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    shell("topic", "create", "order", "--if-not-exists")
    shell(*arguments, code=4)
    assert shell.err == (
        'streamlog: topic "ordres" does not exist. Did you mean "order"? '
        "Create it: streamlog topic create ordres\n"
    )


def test_what_kafka_refuses_is_said_in_its_words(shell: Shell) -> None:
    shell("topic", "create", "no/slash", code=2)
    assert "no/slash" in shell.err
    shell("topic", "create", "odd", "-c", "retention.ms=soon", code=2)
    assert "retention.ms" in shell.err


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_lines_become_records_and_lines_again(shell: Shell, codec: str) -> None:
    topic = f"lines-{codec}"
    shell("topic", "create", topic)
    lines = "".join(f"line {number}\n" for number in range(100))
    out = shell("produce", topic, "-z", codec, stdin=lines)
    assert out == f"TOPIC\tPARTITION\tFIRST\tLAST\tRECORDS\n{topic}\t0\t0\t99\t100\n"
    assert shell("consume", topic, "-e") == lines


def test_keys_headers_and_nulls(shell: Shell) -> None:
    shell("topic", "create", "rich", "-p", "4")
    shell("produce", "-t", "rich", "-K", ":", "-H", "a=1", "-H", "b=", "-Z", stdin="k:v\nk:\nplain")
    out = shell("consume", "-t", "rich", "-e", "-J")
    first, second, third = sorted(
        map(json.loads, out.splitlines()),
        key=lambda record: (record["key"] is None, record["offset"]),
    )
    assert (first["key"], first["payload"], first["headers"]) == ("k", "v", ["a", "1", "b", ""])
    assert (second["key"], second["payload"]) == ("k", None)
    assert first["partition"] == second["partition"]
    assert (third["key"], third["payload"]) == (None, "plain")
    assert shell("consume", "rich", "-e", "-J") == shell(
        "consume", "rich", "-e", "--format", "json"
    )


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ("start", "0123456789"),
        ("+7", "789"),
        ("-2", "89"),
        ("-100", "0123456789"),
        ("4", "456789"),
        (":3", "012"),
        ("4:6", "45"),
        ("8:end", "89"),
        (":end", "0123456789"),
        ("@2020-01-01:end", "0123456789"),
        ("@1h:2h", ""),
        ("@-1h:end", "0123456789"),
        ("end", ""),
        ("50", ""),
    ],
)
def test_a_range_of_offsets(shell: Shell, offsets: str, expected: str) -> None:
    shell("topic", "create", "digits", "--if-not-exists")
    if not shell("consume", "digits", "-e"):
        shell("produce", "digits", stdin="\n".join("0123456789"))
    assert shell("consume", "digits", "-o", offsets, "-e", "-f", "%s") == expected


def test_so_many_records_and_no_more(shell: Shell) -> None:
    shell("topic", "create", "many")
    shell("produce", "many", stdin="a\n" * 50)
    assert shell("consume", "many", "-n", "3") == "a\n" * 3
    assert shell("consume", "many", "-o", "10", "-n", "2", "-f", r"%o\n") == "10\n11\n"


def test_only_some_partitions(shell: Shell) -> None:
    shell("topic", "create", "split", "-p", "3")
    for partition in range(3):
        shell("produce", "split", "-p", str(partition), stdin=f"in {partition}\n")
    assert sorted(shell("consume", "split", "-p", "0,2", "-e").splitlines()) == ["in 0", "in 2"]
    shell("consume", "split", "-p", "7", code=4)
    assert "no partition 7" in shell.err
    shell("produce", "split", "-p", "7", code=4)
    assert "only 0 to 2" in shell.err


@pytest.mark.slow
def test_a_group_goes_on_where_it_was(shell: Shell) -> None:
    shell("topic", "create", "tasks", "-p", "2")
    shell("produce", "tasks", "-p", "0", stdin="a\nb\nc\n")
    assert shell("consume", "tasks", "-g", "team", "-n", "2") == "a\nb\n"
    described = shell.json("group", "describe", "team")
    assert isinstance(described, dict)
    assert described["lag"] == 1
    listed = shell.json("group", "list")
    assert isinstance(listed, list)
    (team,) = (each for each in listed if each["group"] == "team")
    assert (team["state"], team["protocol_type"], team["pipeline"]) == ("Empty", "consumer", None)
    shell("produce", "tasks", "-p", "1", stdin="d\n")
    out = shell("consume", "tasks", "-g", "team", "-e")
    assert sorted(out.splitlines()) == ["c", "d"]
    assert shell.json("lag", "team")["lag"] == 0  # type: ignore[index]
    assert shell("consume", "tasks", "-g", "team", "-e") == ""


@pytest.mark.slow
def test_a_group_that_does_not_exist_is_named_with_the_nearest(shell: Shell) -> None:
    shell("topic", "create", "for-group", "--if-not-exists")
    shell("consume", "for-group", "-g", "billing", "-e")
    shell("group", "describe", "biling", code=4)
    assert shell.err == 'streamlog: group "biling" does not exist. Did you mean "billing"?\n'
