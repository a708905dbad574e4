"""What went through a broker, by topic: the counters behind Kafka's BrokerTopicMetrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TopicTraffic:
    """One topic's counters since the broker started."""

    messages_in: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    produce_requests: int = 0
    fetch_requests: int = 0
    failed_produce_requests: int = 0
    failed_fetch_requests: int = 0


class BrokerTraffic:
    """The counters of all topics; there are as many as there were topics since the start."""

    def __init__(self) -> None:
        self._topics: dict[str, TopicTraffic] = {}

    def of(self, topic: str) -> TopicTraffic:
        """Returns a topic's counters, making them at its first mention."""
        found = self._topics.get(topic)
        if found is None:
            found = self._topics[topic] = TopicTraffic()
        return found

    def forget_all_but(self, topics: set[str]) -> None:
        """Drops the counters of topics that are gone, and of names that never were topics."""
        for name in self._topics.keys() - topics:
            del self._topics[name]

    def items(self) -> list[tuple[str, TopicTraffic]]:
        """Returns the topics with their counters, by name."""
        return sorted(self._topics.items())
