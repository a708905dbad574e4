"""A fetch session with one broker (KIP-227): say once what to fetch, and then only what changes.

The broker remembers the partitions of a session and their offsets. A request with epoch 0 says all
of them and may open a session; those with epochs 1, 2, ... say what is new, moved or no longer
wanted. Where a broker has no room for a session (it answers with id 0) every request says all.
After any doubt (a lost answer, an unknown id, a wrong epoch) everything is said anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.client.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.values import TopicPartition

NO_SESSION = 0
FULL = 0
EPOCH_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fetch of one partition."""

    offset: int
    max_bytes: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What goes into the next fetch request."""

    session_id: int
    epoch: int
    partitions: dict[TopicPartition, Wanted]
    forgotten: tuple[TopicPartition, ...]


class FetchSession:
    """See the module."""

    def __init__(self) -> None:
        self._session_id = NO_SESSION
        self._epoch = FULL
        self._known: dict[TopicPartition, Wanted] = {}

    def next_request(self, wanted: Mapping[TopicPartition, Wanted]) -> SessionRequest:
        """Returns what to say so that the broker fetches exactly `wanted`."""
        known, self._known = self._known, dict(wanted)
        if self._epoch == FULL:
            return SessionRequest(self._session_id, FULL, dict(wanted), ())
        changed = {each: what for each, what in wanted.items() if known.get(each) != what}
        forgotten = tuple(each for each in known if each not in wanted)
        return SessionRequest(self._session_id, self._epoch, changed, forgotten)

    def answered(self, code: ErrorCode, session_id: int) -> None:
        """The broker has answered the last request."""
        if code is ErrorCode.FETCH_SESSION_ID_NOT_FOUND:
            self._session_id, self._epoch = NO_SESSION, FULL
        elif code is not ErrorCode.NONE:
            self.lost()
        elif session_id == NO_SESSION:
            self._session_id, self._epoch = NO_SESSION, FULL
        else:
            self._session_id = session_id
            self._epoch = 1 if self._epoch == EPOCH_MAX else self._epoch + 1

    def lost(self) -> None:
        """The last request was not answered: replace the session by a new one."""
        self._epoch = FULL
