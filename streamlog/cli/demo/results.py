"""The demo's results, read from the topics into which the pipelines write.

Outputs are at-least-once: after a crash a result may stand in its topic twice, equal both times. So
results are kept by key and window, which makes the table right whatever happened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.cli.output import Table
from streamlog.client.values import EARLIEST, TopicPartition

if TYPE_CHECKING:
    from streamlog.client.admin.admin import Admin
    from streamlog.client.consumer.consumer import Consumer

DELAYS = "delays-per-carrier"
CANCELLATIONS = "cancellations-per-origin"
POLL_MS = 50


@dataclass(slots=True)
class Results:
    """Results by key and start of their window, and how far they have been read."""

    consumer: Consumer
    admin: Admin
    delays: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    cancellations: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    airlines: dict[str, str] = field(default_factory=dict)
    _positions: dict[TopicPartition, int] = field(default_factory=dict)

    async def catch_up(self) -> None:
        """Reads what has been written up to now."""
        topics = await self.admin.describe_topics([DELAYS, CANCELLATIONS])
        fresh = [
            place
            for topic in topics.values()
            for partition in topic.partitions
            if (place := TopicPartition(topic.name, partition.partition)) not in self._positions
        ]
        if fresh:
            await self.consumer.assign(dict.fromkeys(fresh, EARLIEST))
            self._positions.update(dict.fromkeys(fresh, 0))
        if not self._positions:
            return
        ends = await self.consumer.end_offsets(self._positions)
        while any(self._positions[place] < end for place, end in ends.items()):
            for chunk in await self.consumer.poll(POLL_MS):
                for key, value in zip(chunk.columns.keys, chunk.columns.values, strict=True):
                    if key is not None and value is not None:
                        self._note(chunk.topic, key.decode(), json.loads(value))
                self._positions[chunk.topic_partition] = chunk.next_offset

    def _note(self, topic: str, key: str, result: dict[str, object]) -> None:
        start, value = result["start"], result["value"]
        assert isinstance(start, str)
        assert isinstance(value, dict)
        if topic == DELAYS:
            self.airlines[key] = str(value["airline"])
            self.delays.setdefault(key, {})[start] = value
        else:
            self.cancellations.setdefault(key, {})[start] = value

    def newest_table(self) -> Table:
        """The carriers' newest days."""
        table = Table(["CARRIER", "AIRLINE", "DAY", "FLIGHTS", "MEAN DELAY", "MAX DELAY"])
        for carrier, days in sorted(self.delays.items()):
            day, value = max(days.items())
            table.rows.append(
                [
                    carrier,
                    self.airlines[carrier],
                    day[:10],
                    value["flights"],
                    float(value["mean_delay"]),
                    value["max_delay"],
                ]
            )
        return table

    def carriers_table(self) -> Table:
        """All days of each carrier taken together."""
        table = Table(["CARRIER", "AIRLINE", "DAYS", "FLIGHTS", "MEAN DELAY", "MAX DELAY"])
        for carrier, days in sorted(self.delays.items()):
            flights = sum(value["flights"] for value in days.values())
            minutes = sum(value["mean_delay"] * value["flights"] for value in days.values())
            table.rows.append(
                [
                    carrier,
                    self.airlines[carrier],
                    len(days),
                    flights,
                    minutes / flights,
                    max(value["max_delay"] for value in days.values()),
                ]
            )
        return table

    def origins_table(self) -> Table:
        """All hours of each airport taken together."""
        table = Table(["ORIGIN", "HOURS", "SCHEDULED", "CANCELLED", "CANCELLED %"])
        for origin, hours in sorted(self.cancellations.items()):
            scheduled = sum(value["scheduled"] for value in hours.values())
            cancelled = sum(value["cancelled"] for value in hours.values())
            table.rows.append(
                [origin, len(hours), scheduled, cancelled, 100 * cancelled / scheduled]
            )
        return table
