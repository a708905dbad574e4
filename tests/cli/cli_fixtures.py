"""A broker in a process of its own for each module, and a shell to command it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from command_runner import Shell, server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("data")) as address:
        yield address


@pytest.fixture
def shell(
    address: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Shell]:
    path = tmp_path / "stdin"
    with path.open("w+") as stdin:

        def feed(text: str) -> None:
            stdin.seek(0)
            stdin.truncate()
            stdin.write(text)
            stdin.seek(0)

        monkeypatch.setattr(sys, "stdin", stdin)
        yield Shell(address, capsys, feed)
