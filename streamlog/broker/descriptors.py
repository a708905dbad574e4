"""How the file descriptors of the process are shared out between connections and segment files.

The system's limit is often 1024 while the server may have many more for the asking, so it asks.
What it gets is divided before anything is served: connections that come when theirs are used up are
refused with a reason, and never take those with which the log is written.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

from streamlog.errors import RefusedError

OWN_COUNT = 32
"""The event loop, the store, locks, listeners, and files that are open for a moment."""

LIMIT_MIN = 2 * OWN_COUNT
"""Below it there is nothing to share out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptors:
    """Who may have how many."""

    connections: int
    files: int
    """Segment files that are kept open; as many again may be held by fetches and flushes."""


def raise_descriptor_limit() -> int:
    """Takes as many descriptors as the system allows; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # some systems promise what they do not give
            return soft
    return hard


def share_out(limit: int, *, connections_max: int, files_max: int) -> Descriptors:
    """Divides the descriptors: half for connections, a quarter for segments and one in reserve.

    >>> share_out(1024, connections_max=4096, files_max=256)
    Descriptors(connections=496, files=248)

    Raises:
        RefusedError: There are too few to serve anybody.
    """
    if limit == resource.RLIM_INFINITY:
        return Descriptors(connections=connections_max, files=files_max)
    if limit < LIMIT_MIN:
        raise RefusedError(
            f"this process may have {limit} open files, and a server needs {LIMIT_MIN} at least",
            hint="Raise the limit: ulimit -n 4096",
        )
    shared = limit - OWN_COUNT
    return Descriptors(
        connections=min(connections_max, shared // 2), files=min(files_max, shared // 4)
    )
