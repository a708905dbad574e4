"""The README's first pipeline, on a broker and on its own embedded one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from command_runner import COMMAND, TIMEOUT_S, environment, server, streamlog

ROOT = Path(__file__).parent.parent.parent
WORDCOUNT = str(ROOT / "pipelines" / "wordcount.py")
LINES = ["To be or not to be", "that is the question", ""]
WORDS = Counter(word.lower() for line in LINES for word in line.split())


@pytest.mark.slow
def test_words_are_counted_and_printed(tmp_path: Path) -> None:
    with server(tmp_path / "data") as address:
        streamlog("topic", "create", "lines", "-b", address)
        subprocess.run(
            [*COMMAND, "produce", "lines", "-b", address],
            input="\n".join(LINES),
            text=True,
            check=True,
            capture_output=True,
            timeout=TIMEOUT_S,
            env=environment(),
        )
        arguments = ["-b", address, "--state", str(tmp_path / "state"), "--until", "end", "--drain"]
        run = streamlog("run", WORDCOUNT, *arguments)
        results = streamlog("consume", "words", "-e", "-f", r"%k %s\n", "-b", address).stdout
    printed = re.findall(r"Count\(word='(\w+)', times=(\d+)\)", run.stdout)
    assert Counter({word.lower(): int(times) for word, times in printed}) == WORDS
    written = dict(line.split(" ", 1) for line in results.splitlines())
    assert {word: json.loads(text)["value"]["times"] for word, text in written.items()} == WORDS


@pytest.mark.slow
def test_without_a_broker_one_is_embedded_with_the_missing_inputs(tmp_path: Path) -> None:
    arguments = ["--data", str(tmp_path / "data"), "--state", str(tmp_path / "state")]
    run = streamlog("run", WORDCOUNT, *arguments, "--until", "end")
    assert re.search(r"embedded broker on 127\.0\.0\.1:\d+, data in ", run.stderr)
    assert "created lines; fill it: streamlog produce lines" in run.stderr
    assert "wordcount: stopped, 0 records in, 0 late" in run.stderr
    with server(tmp_path / "data") as address:
        assert "lines\t1\t1\n" in streamlog("topic", "list", "-b", address).stdout


def test_the_readme_shows_the_file_as_it_is() -> None:
    code = Path(WORDCOUNT).read_text().split('"""\n\n', 1)[1]
    shown = re.sub(r'    """.*"""\n\n?', "", code)
    assert shown in (ROOT / "README.md").read_text()
    assert len([line for line in shown.splitlines() if line]) <= 15
