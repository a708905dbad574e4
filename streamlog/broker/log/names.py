"""What files and directories of a log directory are called: Kafka's names.

A partition lives in `<topic>-<partition>`; in it a segment's files bear its base offset in 20
digits. What is to go is renamed first (`.deleted` for a segment's file, `-delete` for a partition,
`-stray` for a partition that no topic claims), because a rename happens at once or not at all.
"""

from __future__ import annotations

import base64
import re
import uuid

LOG, INDEX, TIME_INDEX, TXN_INDEX, SNAPSHOT = (
    ".log",
    ".index",
    ".timeindex",
    ".txnindex",
    ".snapshot",
)
SEGMENT_SUFFIXES = (LOG, INDEX, TIME_INDEX, TXN_INDEX)
DELETED = ".deleted"
CLEANED = ".cleaned"
SWAP = ".swap"
TEMPORARY = ".tmp"
LEADER_EPOCHS = "leader-epoch-checkpoint"
PARTITION_METADATA = "partition.metadata"
META_PROPERTIES = "meta.properties"
CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
LOCK = ".lock"
RECOVERY_POINTS = "recovery-point-offset-checkpoint"
LOG_STARTS = "log-start-offset-checkpoint"
HIGH_WATERMARKS = "replication-offset-checkpoint"
NAME_BYTES_MAX = 255
"""The longest file name that Linux's file systems take."""

_PARTITION = re.compile(r"([a-zA-Z0-9._-]{1,249})-(0|[1-9][0-9]{0,8})")
_OFFSET_FILE = re.compile(r"([0-9]{20})(\.log|\.index|\.timeindex|\.txnindex|\.snapshot)")


def offset_name(offset: int, suffix: str) -> str:
    """Returns the name of a segment's file.

    >>> offset_name(42, ".log")
    '00000000000000000042.log'
    """
    return f"{offset:020d}{suffix}"


def parse_offset_name(name: str) -> tuple[int, str] | None:
    """Returns the offset and suffix of a segment's file, or None for other names."""
    match = _OFFSET_FILE.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def partition_dir(topic: str, partition: int) -> str:
    """Returns the name of a partition's directory.

    >>> partition_dir("orders", 3)
    'orders-3'
    """
    return f"{topic}-{partition}"


def parse_partition_dir(name: str) -> tuple[str, int] | None:
    """Returns topic and partition, or None if it is not a partition's directory.

    >>> parse_partition_dir("orders.eu-west-3")
    ('orders.eu-west', 3)
    """
    match = _PARTITION.fullmatch(name)
    if match is None or match[1] in (".", ".."):
        return None
    return match[1], int(match[2])


def departing_dir(topic: str, partition: int, unique: str, ending: str) -> str:
    """Returns the name of a partition's directory on its way out; `ending` is delete or stray.

    A long topic name is cut so that the whole fits into a file name.

    >>> departing_dir("orders", 3, "0f", "delete")
    'orders-3.0f-delete'
    """
    tail = f"-{partition}.{unique}-{ending}"
    return topic[: NAME_BYTES_MAX - len(tail)] + tail


def is_departing_dir(name: str, ending: str) -> bool:
    """Tells whether a directory was on its way out."""
    return name.endswith(f"-{ending}") and "." in name


def encode_topic_id(topic_id: uuid.UUID) -> str:
    """Writes a topic id as Kafka does: base64 for URLs, without padding.

    >>> encode_topic_id(uuid.UUID(int=1))
    'AAAAAAAAAAAAAAAAAAAAAQ'
    """
    return base64.urlsafe_b64encode(topic_id.bytes).decode().rstrip("=")


def decode_topic_id(text: str) -> uuid.UUID:
    """Reads a topic id; raises `ValueError` if it is none."""
    data = base64.urlsafe_b64decode(text + "==")
    if len(data) != 16:
        raise ValueError(f"{text!r} is no topic id")
    return uuid.UUID(bytes=data)
