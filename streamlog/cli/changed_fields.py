"""What differs between two values: the paths of the fields that do, with the old and the new."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS_MAX: Final = 6
"""More of them are counted."""
TEXT_WIDTH: Final = 60
"""Characters of one value; of longer ones that part is shown which differs."""
BEFORE: Final = 12
"""Characters in front of the first that differs."""


class Missing:
    """Stands for a field that one side does not have."""


Value = object


def changed(old: Value, new: Value, path: str = "") -> Iterator[tuple[str, Value, Value]]:
    """Yields the path of each field that differs, with both values.

    >>> list(changed({"n": 3, "by": [1, 2]}, {"n": 4, "by": [1, 5]}))
    [('n', 3, 4), ('by[1]', 2, 5)]
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            below = f"{path}.{name}" if path else str(name)
            yield from changed(old.get(name, Missing), new.get(name, Missing), below)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            one = old[index] if index < len(old) else Missing
            other = new[index] if index < len(new) else Missing
            yield from changed(one, other, f"{path}[{index}]")
    elif type(old) is not type(new) or old != new:
        yield path, old, new


def changes_in_words(old: Value, new: Value) -> str:
    """Says what differs.

    >>> changes_in_words({"n": 3, "name": "x"}, {"n": 4, "name": "x", "late": True})
    'n: 3 → 4, late: (none) → true'
    >>> changes_in_words("old", "new")
    'old → new'
    """
    found = list(changed(old, new))
    if not found:
        return "the same, written otherwise"
    words = [_in_words(*each) for each in found[:FIELDS_MAX]]
    if len(found) > FIELDS_MAX:
        words.append(f"{len(found) - FIELDS_MAX} fields more")
    return ", ".join(words)


def _in_words(path: str, old: Value, new: Value) -> str:
    one, other = text_of(old), text_of(new)
    start = 0
    if max(len(one), len(other)) > TEXT_WIDTH:
        start = max(_first_difference(one, other) - BEFORE, 0)
    both = f"{shortened(one, start)} → {shortened(other, start)}"
    return f"{path}: {both}" if path else both


def _first_difference(one: str, other: str) -> int:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


def text_of(value: Value) -> str:
    """Writes a value; text as it is, all else as JSON."""
    if value is Missing:
        return "(none)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shortened(text: str, start: int = 0) -> str:
    """Returns so much of a text, from some place on, as fits a table.

    >>> shortened("x" * 100, 20)[:3], len(shortened("x" * 100, 20))
    ('…xx', 60)
    """
    begin = "…" if start else ""
    rest = text[start:]
    room = TEXT_WIDTH - len(begin)
    return begin + (rest if len(rest) <= room else f"{rest[: room - 1]}…")
