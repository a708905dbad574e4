"""The history of a table's rows: what held for a key at a time, as far back as may be asked.

A version holds from its own time until that of the next one; a `None` ends a row. For a record that
is looked up, its time is not all: its *due* time is up to when versions were waited for, and one
that came later by its own writer's clock does not count. So what is found depends on the writers'
clocks, not on how the log has mixed them. Ties of time go to the larger writer, then to what came
later.

Nobody asks for what held before the *horizon*, the task's time less `history`. Of the versions of a
key that are older, the newest is kept, unless it is the end of a row. So an end is remembered for
`history` from its time, and from when it came: a version that is older than an end, and comes more
than `history` after that, is a row again, whether the end has been forgotten yet or not.

Rows of the first table: the versions.

    token of the key | time | writer | stream time of the writer  ->  row or nil

Rows of the second: which keys to look through when the horizon passes.

    time, floored to a step | token of the key  ->  nothing
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamlog.processing.operators.agenda import FAR_FUTURE
from streamlog.processing.operators.join_rows import decoder_of, encode_row
from streamlog.processing.state.row_table import (
    floor,
    time_name,
    time_of,
    token_of,
    writer_in,
    writer_name,
)

if TYPE_CHECKING:
    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.operators.agenda import Agenda
    from streamlog.processing.state.row_table import RowTable

KEYS_KEPT_MAX: Final = 50_000
"""Keys whose versions are kept decoded; beyond it they are forgotten all at once."""
STEPS_PER_HISTORY: Final = 10

Version: TypeAlias = tuple[int, int, int, Any]
"""Its time, its writer, the stream time of the writer, and the row."""


def forgetting_step(history_ms: int) -> int:
    """Returns in which steps the horizon goes."""
    return max(history_ms // STEPS_PER_HISTORY, 1)


class Versions:
    """The versions of all keys of one task.

    Args:
        rows: Where they are.
        due: When to look which through, in steps of `forgetting_step`.
        row_type: Of rows, `None` included.
        history_ms: How long before the task's time a time may be asked for.
        tolerance_ms: How old a version may be for whoever asks; `None`: as old as it is.
    """

    def __init__(
        self,
        rows: RowTable,
        due: Agenda,
        row_type: RuntimeType,
        history_ms: int,
        tolerance_ms: int | None,
    ) -> None:
        self._rows = rows
        self._due = due
        self._decode = decoder_of(row_type)
        self._history_ms = history_ms
        self._tolerance_ms = tolerance_ms
        self._step_ms = forgetting_step(history_ms)
        self._horizon = -FAR_FUTURE
        self._decoded: dict[bytes, list[Version]] = {}
        self._newest: dict[bytes, tuple[int, int, Any]] = {}
        """By key: the newest version, where it is a row that holds for however long."""

    def put(self, key: bytes, row: Value, timestamp: int, time: int, writer: int) -> None:
        """Adds a version; a later one of the same time and writer takes its place."""
        token = token_of(key)
        self._newest.pop(key, None)
        name = _name(token, (timestamp, writer, time, row))
        versions = self._decoded.get(token)
        if versions is not None:
            index = bisect_left(versions, (timestamp, writer, time))
            if index < len(versions) and versions[index][:3] == (timestamp, writer, time):
                versions[index] = (timestamp, writer, time, row)
            else:
                versions.insert(index, (timestamp, writer, time, row))
        self._rows.put(name, encode_row(row))
        needed = timestamp + (self._tolerance_ms or 0)
        moment = max(needed, time - self._history_ms)
        self._due.add(moment, token)

    def held(self, key: bytes, timestamp: int, due: int) -> Value:
        """Returns what held at a time, or `None`.

        Args:
            key: Of the row.
            timestamp: The time.
            due: What came later by its writer's clock does not count.
        """
        newest = self._newest.get(key)
        if newest is not None and newest[0] <= timestamp and newest[1] <= due:
            return newest[2]
        token = token_of(key)
        versions = self._of(token)
        index = self._index_held(versions, timestamp, due)
        if index is None:
            return None
        begun, _, time, row = versions[index]
        if index == len(versions) - 1 and self._tolerance_ms is None:
            if len(self._newest) >= KEYS_KEPT_MAX:
                self._newest.clear()
            self._newest[key] = (begun, time, row)
        return row

    def _index_held(self, versions: list[Version], timestamp: int, due: int) -> int | None:
        ended: int | None = None
        for index in range(bisect_left(versions, (timestamp + 1,)) - 1, -1, -1):
            begun, _, time, row = versions[index]
            if time > due or (ended is not None and time - self._history_ms <= ended):
                continue
            if self._tolerance_ms is not None and begun < timestamp - self._tolerance_ms:
                return None
            if row is not None:
                return index
            end = max(begun, time - self._history_ms)
            ended = end if ended is None else max(ended, end)
        return None

    def oldest(self, key: bytes) -> int | None:
        """Returns from when the first version of a key holds, if there is one."""
        versions = self._of(token_of(key))
        return versions[0][0] if versions else None

    def forget(self, now: int) -> None:
        """Removes what nobody asks for any more when the task's time is `now`."""
        horizon = floor(now - self._history_ms, self._step_ms)
        if horizon <= self._horizon:
            return
        self._horizon = horizon
        for _, token in self._due.take(horizon):
            self._forget(token, horizon)

    def _forget(self, token: bytes, horizon: int) -> None:
        """Looks through the versions of a key.

        The horizon goes in steps, so what is left does not depend on when a key is looked through.
        What came from a writer ahead of the task's time counts for few yet: it stays, whatever its
        own time is, until that time has come as well.
        """
        versions = self._of(token)
        now = horizon + self._history_ms
        if self._tolerance_ms is not None:
            last = horizon - self._tolerance_ms
            gone = [each for each in versions if each[0] < last and each[2] < now]
        else:
            held = self._index_held(versions, horizon - 1, now - 1)
            gone = [
                each
                for index, each in enumerate(versions)
                if each[0] < horizon and each[2] < now and index != held
            ]
        if not gone:
            return
        for each in gone:
            self._rows.delete(_name(token, each))
        removed = {each[:3] for each in gone}
        left = [each for each in versions if each[:3] not in removed]
        if left:
            self._decoded[token] = left
        else:
            self._decoded.pop(token, None)

    def _of(self, token: bytes) -> list[Version]:
        """The versions of a key, in the order of their times."""
        versions = self._decoded.get(token)
        if versions is None:
            if len(self._decoded) >= KEYS_KEPT_MAX:
                self._decoded.clear()
            size = len(token)
            versions = [
                (
                    time_of(name, size),
                    writer_in(name, size + 8),
                    time_of(name, size + 12),
                    self._decode(row),
                )
                for name, row in self._rows.scan_prefix(token)
            ]
            self._decoded[token] = versions
        return versions


def _name(token: bytes, version: Version) -> bytes:
    timestamp, writer, time, _ = version
    return token + time_name(timestamp) + writer_name(writer) + time_name(time)
