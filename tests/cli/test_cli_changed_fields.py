"""What differs between two results, in words that fit a line."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamlog.cli.changed_fields import TEXT_WIDTH, changed, changes_in_words

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_something_is_shown_just_where_values_differ(old: Any, new: Any) -> None:  # noqa: ANN401
    same = json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    # An empty object and an empty list have no field to name.
    assert (not list(changed(old, new))) == same


def test_a_field_deep_inside_is_named_by_its_path() -> None:
    old = {"who": {"name": "UA", "tags": ["x", "y"]}, "n": 1}
    new = {"who": {"name": "UA", "tags": ["x", "z"]}, "n": 1}
    assert changes_in_words(old, new) == "who.tags[1]: y → z"


def test_what_is_longer_or_gone_is_said() -> None:
    assert changes_in_words({"tags": ["x"]}, {"tags": ["x", "y"]}) == "tags[1]: (none) → y"
    assert changes_in_words({"n": 1, "m": 2}, {"n": 1}) == "m: 2 → (none)"
    assert changes_in_words({"n": 1}, {"n": "1"}) == "n: 1 → 1"
    assert changes_in_words({"n": None}, {"n": 0}) == "n: null → 0"


def test_of_long_values_that_part_is_shown_that_differs() -> None:
    old, new = "a" * 500 + "old" + "b" * 500, "a" * 500 + "new" + "b" * 500
    words = changes_in_words({"text": old}, {"text": new})
    assert "aaaold" in words
    assert "aaanew" in words
    assert len(words) <= 2 * TEXT_WIDTH + len("text:  → ")


def test_many_fields_are_counted() -> None:
    words = changes_in_words({f"f{n}": 0 for n in range(9)}, {f"f{n}": 1 for n in range(9)})
    assert words.endswith("f5: 0 → 1, 3 fields more")
