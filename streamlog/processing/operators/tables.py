"""A global table as a worker holds it: the newest value of each key, decoded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from streamlog.processing.errors import UndecodableFailure
from streamlog.serde.errors import SerdeError

if TYPE_CHECKING:
    from streamlog.records.columns import Columns
    from streamlog.serde.base import Serde

logger = logging.getLogger(__name__)


class TableView:
    """The rows of one global table, by the bytes of their keys; records without a key are ignored.

    Args:
        topic: The table's topic.
        serde: How its values are read.
        skips: Whether a record that cannot be read leaves its key's row as it was.
    """

    def __init__(self, topic: str, serde: Serde[Any], *, skips: bool = False) -> None:
        self.topic = topic
        self._skips = skips
        self.rows: dict[bytes, object] = {}
        self._serde = serde

    def apply(self, columns: Columns, partition: int = -1) -> None:
        """Takes records of the table's topic: the newest of a key holds, a null value removes it.

        Raises:
            UndecodableFailure: If a value's bytes do not fit the table's type.
        """
        for index, (key, value) in enumerate(zip(columns.keys, columns.values, strict=True)):
            if key is None:
                continue
            if value is None:
                self.rows.pop(key, None)
                continue
            try:
                self.rows[key] = self._serde.decode(value)
            except SerdeError as error:
                offset = columns.offsets[index]
                if self._skips:
                    logger.warning(
                        "the record at offset %d of %s partition %d (a global table) was skipped: "
                        "%s",
                        *(offset, self.topic, partition, error.message),
                    )
                    continue
                raise UndecodableFailure(
                    f"the record at offset {offset} of {self.topic} partition {partition} (a "
                    f"global table) cannot be read: {error.message}",
                    topic=self.topic,
                    partition=partition,
                    offset=offset,
                    step=self.topic,
                    location="",
                ) from error
