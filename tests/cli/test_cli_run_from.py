"""`streamlog run --from`: where a new pipeline begins, as a user types it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from command_runner import COMMAND, TIMEOUT_S, environment, server, streamlog

from streamlog.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

APP = """
from msgspec import Struct
from streamlog import Output, Stream, pipeline

class Word(Struct):
    text: str

@pipeline
def passed(words: Stream[Word]) -> Output:
    return words.map(lambda word: word.text).to("passed")

@pipeline
def others(words: Stream[Word]) -> Output:
    return words.to("others")
"""


def produce(address: str, *words: str) -> None:
    subprocess.run(
        [*COMMAND, "produce", "words", "-b", address],
        input="".join(json.dumps({"text": word}) + "\n" for word in words),
        text=True, check=True, capture_output=True, timeout=TIMEOUT_S, env=environment(),
    )  # fmt: skip


@pytest.mark.slow
def test_a_new_pipeline_begins_at_the_end_and_no_other_one_does(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(APP)
    with server(tmp_path / "data") as address:
        rest = ("-b", address, "--state", str(tmp_path / "state"), "--until", "end")
        streamlog("topic", "create", "words", "-p", "1", "-b", address)
        produce(address, "old", "older")
        begun = streamlog("run", f"{file}:passed", "--from", "end", *rest)
        assert "passed begins here: words[0] at 2" in begun.stderr
        produce(address, "new")
        refused = subprocess.run(
            [*COMMAND, "run", f"{file}:passed", "--from", "end", *rest],
            capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env=environment(),
        )  # fmt: skip
        assert refused.returncode == 5
        assert "words[0] at 2" in refused.stderr
        assert "streamlog rewind" in refused.stderr
        streamlog("run", f"{file}:passed", "--workers", "2", *rest)
        read = streamlog("consume", "passed", "-o", ":end", "-f", "%s\\n", "-b", address)
        assert read.stdout.split() == ["new"]
        streamlog("run", f"{file}:others", "--from", "-1", "--workers", "2", *rest)
        read = streamlog("consume", "others", "-o", ":end", "-f", "%s\\n", "-b", address)
        assert read.stdout.split() == ['{"text":"new"}']


def test_what_cannot_be_meant_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "app.py"
    file.write_text(APP)
    assert run(["run", f"{file}", "--from", "end"]) == 2
    assert f"Name one: {file}:passed" in capsys.readouterr().err
    assert run(["run", f"{file}:passed", "--from", "3:9"]) == 2
    assert "says an end as well" in capsys.readouterr().err
