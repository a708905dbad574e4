"""`streamlog describe`: the plan as text, JSON and Mermaid."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from streamlog.cli.main import run

FLIGHTS = str(Path(__file__).parent.parent.parent / "pipelines" / "flights.py")

TEXT = """\
pipeline delays_per_carrier
  reads     flights
  looks up  airlines
  writes    delays-per-carrier

  sub-topology flights
    input         flights
    steps         filter dep-delay
                  key_by by-carrier -> delays_per_carrier.by-carrier.repartition
    repartitions  delays_per_carrier.by-carrier.repartition
    changelog     delays_per_carrier.flights.changelog

  sub-topology by-carrier
    input         delays_per_carrier.by-carrier.repartition
    tables        airlines
    steps         join airlines
                  window delays
                  to delays-per-carrier
    stores        delays: tumbling 1 d, grace 1 d: airline=last, flights=count, \
mean_delay=mean, max_delay=max
    output        delays-per-carrier
    changelog     delays_per_carrier.by-carrier.changelog
"""


def test_text_names_sub_topologies_topics_steps_and_stores(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["describe", f"{FLIGHTS}:delays_per_carrier"]) == 0
    out = capsys.readouterr().out
    assert out.count("flights.py:") == 5
    assert re.sub(r" \(\S*flights\.py:\d+\)", "", out) == TEXT


@pytest.mark.parametrize("arguments", [["--format", "json"], []])
def test_json_has_the_same(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = [] if arguments else ["--format", "json"]
    assert run([*before, "describe", FLIGHTS, *arguments]) == 0
    plans = json.loads(capsys.readouterr().out)
    assert [plan["pipeline"] for plan in plans] == [
        "delays_per_carrier",
        "cancellations_per_origin",
    ]
    assert plans[0]["tables"] == ["airlines"]
    source, windowed = plans[1]["sub_topologies"]
    assert windowed["upstream"] == [source["name"]] == ["flights"]
    assert source["repartitions"] == windowed["input"]


def test_mermaid_draws_every_topic_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["describe", FLIGHTS, "--format", "mermaid"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "flowchart LR"
    assert sum('[("flights")]' in line for line in lines) == 1
    assert sum("[(" in line for line in lines) == 10
    assert sum(line.endswith("end") for line in lines) == 2


def test_a_plan_that_cannot_be_is_refused_with_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("from streamlog import pipeline\n\n@pipeline\ndef p(lines):\n    pass\n")
    assert run(["describe", str(file)]) == 2
    err = capsys.readouterr().err
    assert "parameter lines of p has no annotation" in err
    assert "wrong.py:" in err
