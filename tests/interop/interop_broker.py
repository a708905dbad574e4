"""A broker of ours in its own process: `python interop_broker.py FOLDER PORT`, until stdin ends.

As `streamlog server`, but groups gather without the usual three seconds of waiting.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from streamlog.broker.broker import open_broker
from streamlog.broker.config import BrokerConfig
from streamlog.broker.groups.config import GroupConfig

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def own_broker(data: Path, port: int = 0) -> Iterator[str]:
    """Starts one and yields its address; it is stopped in an orderly way."""
    command = [sys.executable, __file__, str(data), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().decode().strip()
            assert address, "the broker did not start"
            yield address
        finally:
            process.stdin.close()
            assert process.wait(timeout=30) == 0


async def main(data: Path, port: int) -> None:
    """Serves until stdin ends."""
    groups = GroupConfig(initial_rebalance_delay_ms=300)
    config = BrokerConfig(data=data, listen=(("127.0.0.1", port),), groups=groups)
    async with open_broker(config) as broker:
        os.write(1, f"{broker.host}:{broker.port}\n".encode())
        await trio.lowlevel.wait_readable(0)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
