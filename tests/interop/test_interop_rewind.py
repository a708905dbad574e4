"""A rewind over a real Apache Kafka: the same files, the same results."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import apache_kafka
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from command_runner import COMMAND, environment, streamlog
from test_cli_rewind import APP

MISSING = apache_kafka.unavailable()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]
USERS = 7


def send(address: str, count: int) -> None:
    users = [f"u{number % USERS}" for number in range(count)]
    lines = "".join(f'{user}:{{"user": "{user}"}}\n' for user in users)
    command = [*COMMAND, "produce", "clicks", "-K:", "-b", address]
    subprocess.run(
        command, input=lines, text=True, check=True, capture_output=True, env=environment()
    )


def test_a_rewind_and_a_run_come_to_the_same_state(kafka: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    app, state = str(tmp_path / "app.py"), tmp_path / "state"
    there = ("-b", kafka, "--state", str(state))
    streamlog("topic", "create", "clicks", "-p", "2", "-b", kafka)

    def rows() -> list[str]:
        done = streamlog("state", "export", "clicks_per_user", "clicks", "--state", str(state))
        return sorted(done.stdout.splitlines())

    for count in (60, 40):
        send(kafka, count)
        streamlog("run", app, "--until", "end", "--quiet", *there)
    expected = rows()
    assert sum(json.loads(row)["value"]["clicks"] for row in expected) == 100

    plan = streamlog("rewind", "clicks_per_user", "--to", "-1", "--execute", *there)
    assert "tasks went back" in plan.stderr
    assert rows() != expected
    (folder,) = state.glob("*/clicks_per_user/by-user/0")
    shutil.rmtree(folder)
    streamlog("run", app, "--until", "end", "--quiet", *there)
    assert rows() == expected

    streamlog("rewind", f"{app}:clicks_per_user", "--to", "start", "--execute", *there)
    streamlog("run", app, "--until", "end", "--quiet", *there)
    assert rows() == expected
