"""How the difference between a version and the live pipeline is shown: as tables, as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streamlog.cli.changed_fields import changes_in_words, shortened, text_of
from streamlog.cli.output import Table
from streamlog.processing.dsl.windowed import utc
from streamlog.processing.replay.diff import ALWAYS, NEVER

if TYPE_CHECKING:
    from streamlog.cli.output import Cell
    from streamlog.processing.replay.diff import Comparison, Difference
    from streamlog.processing.replay.result import Result


def comparison_table(found: list[Comparison]) -> Table:
    """Returns a line for each topic."""
    table = Table(
        ["TOPIC", "AFTER", "THROUGH", "SAME", "CHANGED", "MISSING", "EXTRA", "NOT-COMPARED"]
    )
    for each in found:
        part = each.part
        table.rows.append(
            [
                each.topic,
                _moment(part.after_ms),
                _moment(part.through_ms),
                *(each.same, each.changed, each.missing, each.extra, each.outside),
            ]
        )
    return table


def sample_table(found: list[Comparison]) -> Table:
    """Returns a line for each difference that was kept."""
    table = Table(["TOPIC", "CHANGE", "KEY", "WINDOW", "LIVE → VERSION"])
    for comparison in found:
        for each in comparison.sample:
            row: list[Cell] = [comparison.topic, each.change.value, _text(each.result.key)]
            table.rows.append([*row, _window(each.result), _in_words(each)])
    return table


def comparison_as_json(comparison: Comparison) -> dict[str, object]:
    """Returns a topic's comparison for programs, with all of each value."""
    part = comparison.part
    return {
        "topic": comparison.topic,
        "version_topic": comparison.version_topic,
        "after": _moment(part.after_ms),
        "through": _moment(part.through_ms),
        "same": comparison.same,
        "changed": comparison.changed,
        "missing": comparison.missing,
        "extra": comparison.extra,
        "not_compared": comparison.outside,
        "sample": [_difference_as_json(each) for each in comparison.sample],
    }


def _difference_as_json(difference: Difference) -> dict[str, object]:
    result = difference.result
    return {
        "change": difference.change.value,
        "key": _text(result.key),
        "start": None if result.start_ms is None else _moment(result.start_ms),
        "end": None if result.end_ms is None else _moment(result.end_ms),
        "live": _value(difference.live),
        "version": _value(difference.version),
    }


def _value(result: Result | None) -> object:
    """A result's value as JSON if it is some, else as text."""
    if result is None or result.value is None:
        return None
    try:
        return json.loads(result.value)
    except ValueError:
        return _text(result.value)


def _in_words(difference: Difference) -> str:
    """What differs; of a result that only one side has, the result."""
    live, version = difference.live, difference.version
    if live is not None and version is not None:
        return changes_in_words(_content(live), _content(version))
    return shortened(text_of(_content(difference.result)))


def _content(result: Result) -> object:
    """A result's value; of a window's result what it is beside its window."""
    value = _value(result)
    if isinstance(value, dict) and value.keys() == {"start", "end", "value"}:
        return value["value"]
    return value


def _window(result: Result) -> str:
    if result.start_ms is None or result.end_ms is None:
        return _moment(result.timestamp_ms) or "-"
    return f"{_moment(result.start_ms)} {_moment(result.end_ms)}"


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")


def _moment(time_ms: int) -> str | None:
    """A time in RFC 3339; nothing for one that is no bound."""
    if time_ms in (NEVER, ALWAYS):
        return None
    moment = utc(min(max(time_ms, -62_135_596_800_000), 253_402_300_799_999))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").replace(".000Z", "Z")
