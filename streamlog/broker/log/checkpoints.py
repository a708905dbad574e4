"""The small text files of a log directory, in Kafka's formats.

Offset checkpoints (recovery point, log start, high watermark; one file each per log directory)
and a partition's leader epochs share a shape: a version, a count, one line per entry.
`partition.metadata` and `meta.properties` are lines of name and value. All are replaced in one
step, so a crash leaves the old or the new content; what cannot be read is named, never guessed.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.broker.log.disk import join, read_file, write_file_atomically
from streamlog.broker.log.names import (
    META_PROPERTIES,
    PARTITION_METADATA,
    decode_topic_id,
    encode_topic_id,
)
from streamlog.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamlog.broker.log.disk import Disk

TopicPartition = tuple[str, int]


def encode_entries(lines: Iterable[str]) -> bytes:
    """Returns the bytes of a checkpoint file with these entries."""
    entries = list(lines)
    return "\n".join(["0", str(len(entries)), *entries, ""]).encode()


def decode_entries(data: bytes, path: str) -> list[list[str]]:
    """Returns the words of each entry.

    Raises:
        StorageError: The file is not a whole checkpoint file of version 0.
    """
    lines = data.decode("utf-8", "replace").split("\n")
    if len(lines) < 2 or lines[0].strip() != "0" or not lines[1].strip().isdigit():
        raise StorageError(f"{path} is not a checkpoint file of version 0")
    entries = [line.split() for line in lines[2:] if line.strip()]
    if len(entries) != int(lines[1]):
        raise StorageError(f"{path} promises {lines[1]} entries and holds {len(entries)}")
    return entries


def write_offsets(
    disk: Disk, directory: str, name: str, offsets: Mapping[TopicPartition, int]
) -> None:
    """Replaces an offset checkpoint."""
    lines = (f"{topic} {partition} {offset}" for (topic, partition), offset in offsets.items())
    write_file_atomically(disk, directory, name, encode_entries(sorted(lines)))


def read_offsets(disk: Disk, directory: str, name: str) -> dict[TopicPartition, int]:
    """Reads an offset checkpoint; there being none is an empty one.

    Raises:
        StorageError: The file is damaged.
    """
    path = join(directory, name)
    try:
        data = read_file(disk, path)
    except FileNotFoundError:
        return {}
    try:
        return {
            (topic, int(partition)): int(offset)
            for topic, partition, offset in decode_entries(data, path)
        }
    except ValueError as error:
        raise StorageError(f"{path} has a line that is not topic, partition, offset") from error


def write_partition_metadata(disk: Disk, directory: str, topic_id: uuid.UUID) -> None:
    """Notes in a partition's directory which topic it belongs to."""
    text = f"version: 0\ntopic_id: {encode_topic_id(topic_id)}\n"
    write_file_atomically(disk, directory, PARTITION_METADATA, text.encode())


def read_partition_metadata(disk: Disk, directory: str) -> uuid.UUID | None:
    """Returns the topic id of a partition's directory, or None if it was not noted.

    Raises:
        StorageError: The file is there and cannot be read.
    """
    path = join(directory, PARTITION_METADATA)
    try:
        text = read_file(disk, path).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    try:
        return decode_topic_id(values["topic_id"])
    except (KeyError, ValueError) as error:
        raise StorageError(f"{path} has no topic id") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaProperties:
    """Whose log directory this is."""

    cluster_id: str
    node_id: int
    directory_id: str

    def encode(self) -> bytes:
        """Returns the lines of `meta.properties`, version 1."""
        return (
            f"#\nversion=1\ncluster.id={self.cluster_id}\nnode.id={self.node_id}\n"
            f"directory.id={self.directory_id}\n"
        ).encode()


def read_meta_properties(disk: Disk, directory: str) -> MetaProperties | None:
    """Reads `meta.properties` of version 0 or 1; None if there is none."""
    path = join(directory, META_PROPERTIES)
    try:
        text = read_file(disk, path).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    lines = (line.strip() for line in text.splitlines())
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    try:
        return MetaProperties(
            cluster_id=values["cluster.id"],
            node_id=int(values.get("node.id") or values["broker.id"]),
            directory_id=values.get("directory.id", ""),
        )
    except (KeyError, ValueError) as error:
        raise StorageError(f"{path} does not name a cluster and a node") from error


def ensure_meta_properties(
    disk: Disk, directory: str, cluster_id: str | None, node_id: int
) -> MetaProperties:
    """Reads whose directory this is, or makes it ours.

    Raises:
        StorageError: The directory belongs to another cluster or node.
    """
    found = read_meta_properties(disk, directory)
    if found is None:
        found = MetaProperties(
            cluster_id=cluster_id or encode_topic_id(uuid.uuid4()),
            node_id=node_id,
            directory_id=encode_topic_id(uuid.uuid4()),
        )
        write_file_atomically(disk, directory, META_PROPERTIES, found.encode())
    if cluster_id is not None and found.cluster_id != cluster_id:
        raise StorageError(
            f"{directory} belongs to cluster {found.cluster_id}, not to {cluster_id}",
            hint="Give the server another data directory",
        )
    if found.node_id != node_id:
        raise StorageError(
            f"{directory} belongs to node {found.node_id}, not to {node_id}",
            hint="Give the server another data directory, or the node id that it had",
        )
    return found
