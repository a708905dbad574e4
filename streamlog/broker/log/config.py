"""Topic settings: Kafka's names, types, defaults and limits, and the typed form that the log reads.

`CONFIG_DEFINITIONS` is the one table: validation, DescribeConfigs and the reference page come from
it. Settings of parts that a single log has no use for (throttles, tiered storage) are accepted at
the values that mean "off", so that tools which set them work. `write.caching` is our own: with it a
record counts as committed once it is in the page cache, which is quicker and loses the last moments
at a power failure.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from streamlog.broker.log.errors import InvalidConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1
DAY_MS = 24 * 60 * 60 * 1000


class ConfigType(StrEnum):
    """The kinds of value, by Kafka's names."""

    BOOLEAN = "BOOLEAN"
    STRING = "STRING"
    INT = "INT"
    LONG = "LONG"
    DOUBLE = "DOUBLE"
    LIST = "LIST"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDefinition:
    """One setting: what it is called, what it may be and what it is for."""

    name: str
    type: ConfigType
    default: str
    about: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """The name of the attribute of `LogConfig`."""
        return self.name.replace(".", "_")

    def parse(self, text: str | None) -> bool | str | int | float | tuple[str, ...]:
        """Turns the text of a setting into its value.

        Raises:
            InvalidConfigError: The text is not of the type, or out of range.
        """
        if text is None:
            raise InvalidConfigError(self.name, f"{self.name} has no value")
        text = text.strip()
        match self.type:
            case ConfigType.BOOLEAN:
                if text.lower() not in ("true", "false"):
                    raise self._refusal(text, "true or false")
                return text.lower() == "true"
            case ConfigType.INT | ConfigType.LONG:
                return int(self._number(text))
            case ConfigType.DOUBLE:
                return float(self._number(text))
            case ConfigType.LIST:
                items = tuple(item.strip() for item in text.split(",") if item.strip())
                for item in items:
                    self._check_choice(item)
                return items
            case ConfigType.STRING:
                self._check_choice(text)
                return text

    def _number(self, text: str) -> float:
        whole = self.type is not ConfigType.DOUBLE
        try:
            number = int(text) if whole else float(text)
        except ValueError:
            raise self._refusal(text, "a whole number" if whole else "a number") from None
        limit = {ConfigType.INT: INT32_MAX, ConfigType.LONG: INT64_MAX}.get(self.type)
        low, high = self.minimum, self.maximum if self.maximum is not None else limit
        if low is not None and not number >= low:
            raise self._refusal(text, f"at least {low}")
        if high is not None and not number <= high:
            raise self._refusal(text, f"at most {high}")
        return number

    def _check_choice(self, item: str) -> None:
        if self.choices and item not in self.choices:
            raise self._refusal(item, f"one of {', '.join(self.choices)}")

    def _refusal(self, text: str, expected: str) -> InvalidConfigError:
        return InvalidConfigError(
            self.name, f"Invalid value {text} for configuration {self.name}: it must be {expected}"
        )


def _define(
    name: str,
    kind: ConfigType,
    default: str,
    about: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> tuple[str, ConfigDefinition]:
    definition = ConfigDefinition(
        name=name,
        type=kind,
        default=default,
        about=about,
        minimum=minimum,
        maximum=maximum,
        choices=choices,
    )
    return name, definition


_B, _S, _I, _L = ConfigType.BOOLEAN, ConfigType.STRING, ConfigType.INT, ConfigType.LONG
_D, _LIST = ConfigType.DOUBLE, ConfigType.LIST
_CODECS = ("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd")
_FOREVER = str(INT64_MAX)

# fmt: off
CONFIG_DEFINITIONS: Mapping[str, ConfigDefinition] = dict([
    _define("cleanup.policy", _LIST, "delete",
            "What happens to old records: delete whole segments by age and size, compact to the "
            "newest record per key, or both; empty keeps everything.",
            choices=("delete", "compact")),
    _define("compression.gzip.level", _I, "-1", "How hard gzip tries, if the broker compresses.",
            -1, 9),
    _define("compression.lz4.level", _I, "9", "How hard lz4 tries, if the broker compresses.",
            1, 17),
    _define("compression.type", _S, "producer",
            "The codec that batches are stored in; producer keeps what the producer chose.",
            choices=_CODECS),
    _define("compression.zstd.level", _I, "3", "How hard zstd tries, if the broker compresses.",
            -131072, 22),
    _define("delete.retention.ms", _L, str(DAY_MS),
            "How long a compacted topic keeps the mark of a deleted key.", 0),
    _define("file.delete.delay.ms", _L, "60000",
            "How long the file of a removed segment stays before it is unlinked.", 0),
    _define("flush.messages", _L, _FOREVER,
            "Accepted; every record is flushed before it counts as committed anyway.", 1),
    _define("flush.ms", _L, _FOREVER,
            "Accepted; every record is flushed before it counts as committed anyway.", 0),
    _define("follower.replication.throttled.replicas", _LIST, "",
            "Accepted; nothing is throttled."),
    _define("index.interval.bytes", _I, "4096",
            "How many bytes of log lie between two entries of its index.", 0),
    _define("leader.replication.throttled.replicas", _LIST, "",
            "Accepted; nothing is throttled."),
    _define("local.retention.bytes", _L, "-2", "Accepted; there is no remote storage.", -2),
    _define("local.retention.ms", _L, "-2", "Accepted; there is no remote storage.", -2),
    _define("max.compaction.lag.ms", _L, _FOREVER,
            "The longest time that a record may wait for compaction.", 1),
    _define("max.message.bytes", _I, "1048588",
            "The largest batch that is accepted, as it is stored.", 0),
    _define("message.timestamp.after.max.ms", _L, "3600000",
            "How far ahead of the broker's clock a record's timestamp may be.", 0),
    _define("message.timestamp.before.max.ms", _L, _FOREVER,
            "How far behind the broker's clock a record's timestamp may be.", 0),
    _define("message.timestamp.type", _S, "CreateTime",
            "Whose time a record bears: its producer's, or the moment of its append.",
            choices=("CreateTime", "LogAppendTime")),
    _define("min.cleanable.dirty.ratio", _D, "0.5",
            "The share of not yet compacted bytes from which a log is compacted.", 0, 1),
    _define("min.compaction.lag.ms", _L, "0", "The time that a record is safe from compaction.", 0),
    _define("min.insync.replicas", _I, "1",
            "How many replicas must have a record before acks=all is answered.", 1),
    _define("preallocate", _B, "false", "Accepted; files grow as they are written."),
    _define("remote.storage.enable", _S, "false", "There is no remote storage.",
            choices=("false",)),
    _define("retention.bytes", _L, "-1",
            "The size of a partition above which its oldest segments go; -1: no limit.", -1),
    _define("retention.ms", _L, str(7 * DAY_MS),
            "The age of its newest record at which a segment goes; -1 is without limit.", -1),
    _define("segment.bytes", _I, str(1 << 30), "The size at which a new segment is begun.", 14),
    _define("segment.index.bytes", _I, str(10 << 20),
            "The size of an index at which a new segment is begun.", 4),
    _define("segment.jitter.ms", _L, "0",
            "The most that is taken off segment.ms, so that not all logs roll at once.", 0),
    _define("segment.ms", _L, str(7 * DAY_MS),
            "The span of time in one segment at which a new one is begun.", 1),
    _define("unclean.leader.election.enable", _B, "false",
            "Whether a replica that missed records may lead when no other is left."),
    _define("write.caching", _B, "false",
            "Whether a record counts as committed, and may be read, once it is in the page cache."),
])
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """The settings of one topic, parsed; an attribute is a setting's name with underscores."""

    cleanup_policy: tuple[str, ...] = ("delete",)
    compression_gzip_level: int = -1
    compression_lz4_level: int = 9
    compression_type: str = "producer"
    compression_zstd_level: int = 3
    delete_retention_ms: int = DAY_MS
    file_delete_delay_ms: int = 60_000
    flush_messages: int = INT64_MAX
    flush_ms: int = INT64_MAX
    follower_replication_throttled_replicas: tuple[str, ...] = ()
    index_interval_bytes: int = 4096
    leader_replication_throttled_replicas: tuple[str, ...] = ()
    local_retention_bytes: int = -2
    local_retention_ms: int = -2
    max_compaction_lag_ms: int = INT64_MAX
    max_message_bytes: int = 1_048_588
    message_timestamp_after_max_ms: int = 3_600_000
    message_timestamp_before_max_ms: int = INT64_MAX
    message_timestamp_type: str = "CreateTime"
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    min_insync_replicas: int = 1
    preallocate: bool = False
    remote_storage_enable: str = "false"
    retention_bytes: int = -1
    retention_ms: int = 7 * DAY_MS
    segment_bytes: int = 1 << 30
    segment_index_bytes: int = 10 << 20
    segment_jitter_ms: int = 0
    segment_ms: int = 7 * DAY_MS
    unclean_leader_election_enable: bool = False
    write_caching: bool = False

    @classmethod
    def from_mapping(
        cls, settings: Mapping[str, str | None], *, base: LogConfig | None = None
    ) -> LogConfig:
        """Reads settings as they come over the wire, over `base` or Kafka's defaults.

        >>> LogConfig.from_mapping({"retention.ms": "-1"}).retention_ms
        -1

        Raises:
            InvalidConfigError: A name is unknown, or a value is wrong for it.
        """
        values: dict[str, Any] = {}
        for name, text in settings.items():
            definition = CONFIG_DEFINITIONS.get(name)
            if definition is None:
                raise InvalidConfigError(name, f"Unknown topic config name: {name}")
            values[definition.field] = definition.parse(text)
        config = dataclasses.replace(base or cls(), **values)
        if config.min_compaction_lag_ms > config.max_compaction_lag_ms:
            raise InvalidConfigError(
                "min.compaction.lag.ms",
                f"min.compaction.lag.ms ({config.min_compaction_lag_ms}) is above "
                f"max.compaction.lag.ms ({config.max_compaction_lag_ms})",
            )
        return config

    @property
    def is_compacted(self) -> bool:
        """Whether the newest record of each key is kept for ever."""
        return "compact" in self.cleanup_policy

    @property
    def deletes(self) -> bool:
        """Whether retention by time and size removes segments."""
        return "delete" in self.cleanup_policy

    @property
    def is_log_append_time(self) -> bool:
        """Whether records bear the time of their append."""
        return self.message_timestamp_type == "LogAppendTime"
