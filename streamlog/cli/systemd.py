"""Tells systemd how a service is, by the datagrams of sd_notify(3); elsewhere it does nothing.

A unit with `Type=notify` then counts as started when the broker answers, not when its process is
there.
"""

from __future__ import annotations

import os
import socket

READY = "READY=1"
STOPPING = "STOPPING=1"


def notify(state: str) -> None:
    """Sends a state to the socket that systemd named, if it named one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        # An abstract socket's name begins with a null byte.
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode(), address)
        except OSError:
            # Whoever started us does not listen any more; the service goes on without it.
            return
