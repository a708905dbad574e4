"""Positions as text: every format that is written is read again, and what is wrong is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.client.positions import as_json, format_csv, parse_positions
from streamlog.client.values import TopicPartition
from streamlog.errors import DataError

places = st.builds(
    TopicPartition,
    st.text("abcXYZ019._-", min_size=1, max_size=12),
    st.integers(0, 2**31 - 1),
)
positions = st.dictionaries(places, st.integers(0, 2**63 - 1), max_size=5)


@given(positions)
def test_what_is_written_is_read_again(kept: dict[TopicPartition, int]) -> None:
    assert parse_positions(format_csv(kept)) == kept
    assert parse_positions(json.dumps(as_json("g", kept))) == kept
    words = "# kept\n" + "".join(f"{t}\t{p}  {o}\n\n" for (t, p), o in kept.items())
    assert parse_positions(words) == kept


def test_lines_of_several_groups_are_told_apart() -> None:
    text = "a,t,0,1\nb,t,0,2\na,t,1,3\n"
    assert parse_positions(text, "a") == {TopicPartition("t", 0): 1, TopicPartition("t", 1): 3}
    assert parse_positions("a,t,0,1\n", "other") == {TopicPartition("t", 0): 1}
    with pytest.raises(DataError, match=r"several groups \(a, b\), none of which is \"c\""):
        parse_positions(text, "c")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("t,0", r"line 1 \('t,0'\) is no position"),
        ("t,0,1\nt,x,1", r"line 2 \('t,x,1'\) is no position"),
        ("t,0,-1", "is no position"),
        ("t,0,1\nt 0 2", r"names t\[0\] a second time"),
        ("{", "does not hold positions"),
        ('{"positions": [{"topic": "t"}]}', "KeyError: 'partition'"),
        ('{"positions": [{"topic": "t", "partition": 0, "offset": 1.5}]}', "is no position"),
    ],
)
def test_what_is_no_position_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        parse_positions(text)
