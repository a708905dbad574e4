"""Disks that run full and system calls that fail, for real."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ATTACH_TIMEOUT_S = 20


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mounts a file system of so many bytes; skips the test where that is not allowed."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Ballast:
    """A file that takes all the space there is, and gives it back."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self) -> None:
        """Leaves not one free page."""
        with self._path.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    def remove(self) -> None:
        self._path.unlink()


@contextlib.contextmanager
def failing_calls(
    pid: int, injections: Sequence[str], *, paths: Sequence[Path] = ()
) -> Iterator[None]:
    """Lets system calls of a running process fail: as `fdatasync:error=EIO`, in strace's words.

    With `paths`, only calls on those files fail.
    """
    if shutil.which("strace") is None:
        pytest.skip("no strace on the PATH: system calls cannot be made to fail")
    names = ",".join(injection.split(":")[0] for injection in injections)
    command = ["strace", "-f", "-p", str(pid), "-e", f"trace={names}"]
    for injection in injections:
        command += ["-e", f"inject={injection}"]
    for path in paths:
        command += ["-P", str(path)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    settled, lines = threading.Event(), list[str]()

    def read(stream: Iterator[str]) -> None:
        for line in stream:
            lines.append(line)
            if re.search(r"attached", line):
                settled.set()
        settled.set()

    reader = threading.Thread(target=read, args=[tracer.stderr], daemon=True)
    reader.start()
    try:
        assert settled.wait(ATTACH_TIMEOUT_S), "strace did not attach"
        if not any("attached" in line for line in lines):
            pytest.skip(f"strace cannot be used here: {''.join(lines[:2]).strip()}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(ATTACH_TIMEOUT_S)
        reader.join(ATTACH_TIMEOUT_S)
        tracer.stderr.close()
    assert any("(INJECTED)" in line for line in lines), "no call was made to fail"


def flip_bit(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x10]))
        os.fsync(file.fileno())
