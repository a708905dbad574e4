"""Seats: one process each, the same name again after a crash."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from streamlog.processing.worker.slots import take_seat

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys; from pathlib import Path; from streamlog.processing.worker.slots import take_seat
print(take_seat(Path(sys.argv[1])).instance_id, flush=True); sys.stdin.read()
"""


def test_two_workers_sit_apart_and_a_released_seat_is_taken_again(tmp_path: Path) -> None:
    first, second = take_seat(tmp_path), take_seat(tmp_path)
    assert first.instance_id != second.instance_id
    first.release()
    again = take_seat(tmp_path)
    assert again.instance_id == first.instance_id
    again.release()
    second.release()


def test_a_killed_process_leaves_its_seat_under_the_same_name(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        beside = take_seat(tmp_path)
        assert beside.instance_id != name
        process.kill()
        process.wait()
    after = take_seat(tmp_path)
    assert after.instance_id == name
    after.release()
    beside.release()


def test_another_folder_is_another_machine(tmp_path: Path) -> None:
    one, other = take_seat(tmp_path / "a"), take_seat(tmp_path / "b")
    assert one.instance_id != other.instance_id
    one.release()
    other.release()
