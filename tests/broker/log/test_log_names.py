"""Names of files and directories, and the small text files."""

from __future__ import annotations

import uuid

import pytest
from fake_disk import FakeDisk

from streamlog.broker.log import names
from streamlog.broker.log.checkpoints import (
    MetaProperties,
    read_meta_properties,
    read_offsets,
    read_partition_metadata,
    write_offsets,
    write_partition_metadata,
)
from streamlog.broker.log.disk import read_file
from streamlog.errors import StorageError


@pytest.fixture
def disk() -> FakeDisk:
    disk = FakeDisk()
    disk.make_dir("/d")
    return disk


def put(disk: FakeDisk, name: str, text: str) -> None:
    file = disk.open(f"/d/{name}", create=True)
    file.truncate(0)
    file.pwrite(text.encode(), 0)


def test_names_of_segments() -> None:
    assert names.offset_name(7, names.LOG) == "00000000000000000007.log"
    assert names.parse_offset_name("00000000000000000007.timeindex") == (7, ".timeindex")
    for other in ("7.log", "00000000000000000007.log.deleted", "leader-epoch-checkpoint", ""):
        assert names.parse_offset_name(other) is None


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("orders-0", ("orders", 0)),
        ("a-b.c_d-17", ("a-b.c_d", 17)),
        ("x-delete-3", ("x-delete", 3)),
        ("orders", None),
        ("orders-", None),
        ("-1", None),
        ("orders-01", None),
        ("orders-x", None),
        ("..-0", None),
        (".-0", None),
        ("orders-0.abc-delete", None),
        ("bad name-0", None),
        ("x" * 250 + "-0", None),
    ],
)
def test_names_of_partitions(name: str, parsed: tuple[str, int] | None) -> None:
    assert names.parse_partition_dir(name) == parsed


def test_a_departing_directory_fits_into_a_file_name() -> None:
    name = names.departing_dir("t" * 249, 99999, uuid.uuid4().hex, "delete")
    assert len(name) <= 255
    assert names.is_departing_dir(name, "delete")
    assert names.parse_partition_dir(name) is None
    assert not names.is_departing_dir("x-delete-0", "delete")


def test_topic_ids_are_kafkas_base64() -> None:
    topic_id = uuid.uuid4()
    text = names.encode_topic_id(topic_id)
    assert len(text) == 22
    assert names.decode_topic_id(text) == topic_id
    with pytest.raises(ValueError, match="no topic id"):
        names.decode_topic_id("AAAA")


def test_offsets_read_back(disk: FakeDisk) -> None:
    assert read_offsets(disk, "/d", "file") == {}
    offsets = {("a", 0): 5, ("a", 1): 0, ("b.c-d", 7): 1 << 40}
    write_offsets(disk, "/d", "file", offsets)
    assert read_file(disk, "/d/file") == b"0\n3\na 0 5\na 1 0\nb.c-d 7 1099511627776\n"
    assert read_offsets(disk, "/d", "file") == offsets


@pytest.mark.parametrize(
    "text", ["", "0\n", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na b c\n"]
)
def test_a_damaged_checkpoint_is_named(disk: FakeDisk, text: str) -> None:
    put(disk, "file", text)
    with pytest.raises(StorageError, match="/d/file"):
        read_offsets(disk, "/d", "file")


def test_partition_metadata(disk: FakeDisk) -> None:
    assert read_partition_metadata(disk, "/d") is None
    topic_id = uuid.uuid4()
    write_partition_metadata(disk, "/d", topic_id)
    assert read_partition_metadata(disk, "/d") == topic_id
    put(disk, "partition.metadata", "version: 0\n")
    with pytest.raises(StorageError, match="has no topic id"):
        read_partition_metadata(disk, "/d")


def test_meta_properties_of_both_versions(disk: FakeDisk) -> None:
    assert read_meta_properties(disk, "/d") is None
    put(disk, "meta.properties", "#\n#Fri\nversion=0\nbroker.id=3\ncluster.id=abc\n")
    found = read_meta_properties(disk, "/d")
    assert found == MetaProperties(cluster_id="abc", node_id=3, directory_id="")
    put(disk, "meta.properties", found.encode().decode())
    assert read_meta_properties(disk, "/d") == found
    put(disk, "meta.properties", "version=1\nnode.id=x\ncluster.id=abc\n")
    with pytest.raises(StorageError, match="does not name"):
        read_meta_properties(disk, "/d")
