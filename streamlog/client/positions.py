r"""Positions as text: where a group or a reader stands, to keep in a file and to go back to.

Three formats are read, each as somebody's tool writes it; which one it is shows in the text itself.

    orders,0,1200            CSV, as `kafka-consumer-groups --export` writes it, and as it is
    billing,orders,0,1200    written here; with several groups, their names come first
    orders 0 1200            words, as `rpk group seek --to-file` takes them
    {"group": "billing", "positions": [{"topic": "orders", "partition": 0, "offset": 1200}]}

Empty lines and lines that begin with `#` are left out. A position is the next offset to read.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from streamlog.client.values import TopicPartition
from streamlog.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

Positions = dict[TopicPartition, int]

_FORMATS = "TOPIC,PARTITION,OFFSET lines, those with a group's name in front, or exported JSON"


def format_csv(positions: Mapping[TopicPartition, int]) -> str:
    r"""Writes positions as Kafka's own tool does.

    >>> format_csv({TopicPartition("orders", 1): 7, TopicPartition("orders", 0): 12})
    'orders,0,12\norders,1,7\n'
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows((*place, positions[place]) for place in sorted(positions))
    return out.getvalue()


def as_json(group: str, positions: Mapping[TopicPartition, int]) -> dict[str, object]:
    """Returns positions as an object to write as JSON."""
    return {
        "group": group,
        "positions": [
            {"topic": topic, "partition": partition, "offset": positions[topic, partition]}  # type: ignore[index]
            for topic, partition in sorted(positions)
        ],
    }


def parse_positions(text: str, group: str | None = None) -> Positions:
    r"""Reads positions in any of the formats.

    Args:
        text: What the file holds.
        group: Where lines name groups, those of this one are taken. Without it, or if all lines
            are of one group, all of them: a file may be for another group than it came from.

    Raises:
        DataError: If the text is none of the formats, or names a partition twice.

    >>> for place, offset in parse_positions("orders,0,12\norders 1 7").items():
    ...     print(place, offset)
    orders[0] 12
    orders[1] 7
    """
    if text.lstrip().startswith("{"):
        return _parse_json(text)
    found: dict[str | None, Positions] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = next(csv.reader([line])) if "," in line else line.split()
        if len(words) not in (3, 4):
            raise _bad_line(number, line)
        owner = words[0].strip() if len(words) == 4 else None
        _add(found.setdefault(owner, {}), words[-3:], f"line {number} ({line.strip()!r})")
    if len(found) <= 1:
        return next(iter(found.values()), {})
    if group not in found:
        names = ", ".join(sorted(str(name) for name in found if name is not None))
        raise DataError(
            f'the positions are of several groups ({names}), none of which is "{group}"'
        )
    return found[group]


def _parse_json(text: str) -> Positions:
    try:
        document: Any = json.loads(text)
        rows = [(row["topic"], row["partition"], row["offset"]) for row in document["positions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the JSON does not hold positions: {type(error).__name__}: {error}",
            hint='Write {"positions": [{"topic": …, "partition": …, "offset": …}, …]}',
        ) from error
    positions: Positions = {}
    for row in rows:
        _add(positions, [str(each) for each in row], str(row))
    return positions


def _add(positions: Positions, words: list[str], where: str) -> None:
    topic, partition, offset = (word.strip() for word in words)
    if not topic or not all(each.isascii() and each.isdigit() for each in (partition, offset)):
        raise DataError(
            f"{where} is no position: it needs a topic, a partition and an offset",
            hint=f"Give {_FORMATS}",
        )
    place = TopicPartition(topic, int(partition))
    if place in positions:
        raise DataError(f"{where} names {place} a second time")
    positions[place] = int(offset)


def _bad_line(number: int, line: str) -> DataError:
    return DataError(
        f"line {number} ({line.strip()!r}) is no position", hint=f"The file has to hold {_FORMATS}"
    )
