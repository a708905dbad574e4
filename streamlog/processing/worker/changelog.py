"""Reading a changelog back into a task's local state, and the records that fence and close it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlog.processing.state.store import TaskStore
    from streamlog.records.columns import Columns


def fence_record(epoch: int) -> tuple[bytes, bytes]:
    """Returns the key and value by which an owner makes older owners' later writes void."""
    return b"", epoch.to_bytes(4, "big")


class ChangelogReplay:
    """Applies whole checkpoints of a changelog to a store; begins at `store.changelog_position`.

    Attributes:
        highest_epoch: The highest epoch seen so far in fences and markers.
    """

    def __init__(self, store: TaskStore) -> None:
        self.highest_epoch = store.epoch

    def feed(self, columns: Columns) -> None:
        """Takes the next records."""

    def finish(self, next_offset: int) -> None:
        """Ends: the changelog was read up to `next_offset`, where the owner's next write begins."""
