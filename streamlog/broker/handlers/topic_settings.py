"""What a topic's settings come to: its own, else the broker's, else Kafka's defaults."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from streamlog.broker.log.config import CONFIG_DEFINITIONS, ConfigDefinition, ConfigType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class SettingSource(Enum):
    """Where a setting's value comes from."""

    TOPIC = "topic"
    BROKER = "broker"
    DEFAULT = "default"


SETTING_SOURCES: Mapping[SettingSource, int] = {
    SettingSource.TOPIC: 1,
    SettingSource.BROKER: 4,
    SettingSource.DEFAULT: 5,
}
"""Kafka's numbers: DYNAMIC_TOPIC_CONFIG, STATIC_BROKER_CONFIG, DEFAULT_CONFIG."""

SETTING_TYPES: Mapping[ConfigType, int] = {
    ConfigType.BOOLEAN: 1,
    ConfigType.STRING: 2,
    ConfigType.INT: 3,
    ConfigType.LONG: 5,
    ConfigType.DOUBLE: 6,
    ConfigType.LIST: 7,
}
"""Kafka's numbers of types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting and where it comes from."""

    definition: ConfigDefinition
    value: str
    source: SettingSource
    chain: tuple[tuple[str, SettingSource], ...]
    """All values that are given for it, the one that counts first."""

    @property
    def name(self) -> str:
        """The setting's name."""
        return self.definition.name


def effective_settings(own: Mapping[str, str], of_broker: Mapping[str, str]) -> Iterator[Setting]:
    """Goes through all settings of a topic, in the order of their names."""
    for name, definition in sorted(CONFIG_DEFINITIONS.items()):
        chain = []
        if name in own:
            chain.append((own[name], SettingSource.TOPIC))
        if name in of_broker:
            chain.append((of_broker[name], SettingSource.BROKER))
        chain.append((definition.default, SettingSource.DEFAULT))
        value, source = chain[0]
        yield Setting(definition=definition, value=value, source=source, chain=tuple(chain))
