"""Ports that stay free until a server that is started later listens on them.

A port that the system gives out for 0 and that is given back may go to any client the next moment.
Those below its range of such ports go to nobody who does not ask for them by number; which of them
are in use is tried, and processes that run tests at the same time begin at different ones.
"""

from __future__ import annotations

import os
import socket

FIRST, COUNT = 15_000, 15_000


class _Ports:
    def __init__(self) -> None:
        self._next = os.getpid() * 997

    def take(self) -> int:
        for _ in range(COUNT):
            port = FIRST + self._next % COUNT
            self._next += 1
            with socket.socket() as probe:
                # As servers do: connections that have just ended do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            return port
        raise AssertionError(f"all {COUNT} ports from {FIRST} on are in use")


_ports = _Ports()


def free_port() -> int:
    """Returns a port that nobody listens on, and that this process has not returned lately."""
    return _ports.take()
