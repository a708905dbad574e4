"""The table of leader epochs and its file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.log.epochs import LeaderEpochs
from streamlog.errors import StorageError


def epochs_of(*entries: tuple[int, int]) -> LeaderEpochs:
    epochs = LeaderEpochs()
    for epoch, start in entries:
        epochs.assign(epoch, start)
    return epochs


def test_an_epoch_is_noted_once() -> None:
    epochs = LeaderEpochs()
    assert epochs.latest == -1
    assert epochs.assign(2, 0)
    assert not epochs.assign(2, 5)
    assert epochs.assign(4, 9)
    assert epochs.entries == [(2, 0), (4, 9)]


def test_a_new_epoch_removes_what_it_contradicts() -> None:
    epochs = epochs_of((1, 0), (2, 10), (5, 20))
    assert epochs.assign(6, 10)
    assert epochs.entries == [(1, 0), (6, 10)]
    assert epochs.assign(3, 30)
    assert epochs.entries == [(1, 0), (3, 30)]


@pytest.mark.parametrize(
    ("epoch", "answer"),
    [
        (0, (0, 5)),  # below all: the epoch itself, where the first known one begins
        (1, (1, 10)),
        (2, (1, 10)),  # unknown in between: the one before, not the one asked for
        (3, (3, 20)),
        (4, (3, 20)),
        (7, (7, 99)),  # the latest ends at the log end
        (8, (-1, -1)),
        (-1, (-1, -1)),
    ],
)
def test_the_end_of_an_epoch_is_told_with_the_epoch_it_is_about(
    epoch: int, answer: tuple[int, int]
) -> None:
    assert epochs_of((1, 5), (3, 10), (7, 20)).end_offset(epoch, 99) == answer


def test_nothing_is_known_of_an_empty_table() -> None:
    assert LeaderEpochs().end_offset(0, 5) == (-1, -1)


def test_truncation_at_either_end() -> None:
    epochs = epochs_of((1, 0), (3, 10), (7, 20))
    assert not epochs.truncate_from_end(21)
    assert epochs.truncate_from_end(20)
    assert epochs.entries == [(1, 0), (3, 10)]
    assert epochs.truncate_from_start(12)
    assert epochs.entries == [(3, 12)]
    assert not epochs.truncate_from_start(12)
    assert not epochs.truncate_from_start(3)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 100)), max_size=12))
def test_the_table_always_grows_and_reads_back(entries: list[tuple[int, int]]) -> None:
    epochs = epochs_of(*entries)
    for left, right in zip(epochs.entries, epochs.entries[1:], strict=False):
        assert left[0] < right[0]
        assert left[1] < right[1]
    assert LeaderEpochs.decode(epochs.encode(), "file").entries == epochs.entries


def test_the_file_has_kafkas_form() -> None:
    assert epochs_of((0, 0), (3, 17)).encode() == b"0\n2\n0 0\n3 17\n"


@pytest.mark.parametrize(
    "data", [b"", b"1\n0\n", b"0\n2\n0 0\n", b"0\n1\nx y\n", b"0\n2\n3 0\n2 5\n", b"\xff\xfe"]
)
def test_a_damaged_file_is_named(data: bytes) -> None:
    with pytest.raises(StorageError, match="some/file"):
        LeaderEpochs.decode(data, "some/file")
