"""Names and types that are known when the program runs."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 (known when the program runs)
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from streamlog.processing.dsl.inference import derived_name, item_type, result_type, slug

if TYPE_CHECKING:
    from collections.abc import Callable


class Delay(msgspec.Struct):
    minutes: float


def to_delay(value: float) -> Delay:
    return Delay(value)


def untyped(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    return value


def many(value: int) -> Iterator[Delay]:
    yield Delay(value)


def pairs(value: int) -> tuple[int, ...]:
    return (value, value)


class Maker:
    def make(self, value: float) -> Delay:
        return Delay(value)

    def __call__(self, value: float) -> Delay:
        return Delay(value)


# fmt: off
KNOWN: list[tuple[Callable[..., object], object]] = [
    (to_delay, Delay),
    (Delay, Delay),
    (int, int),
    (Maker().make, Delay),
    (untyped, None),
    (lambda value: Delay(value), Delay),
    (lambda value: Delay(
        minutes=value
    ), Delay),
    (lambda value: msgspec.json.Encoder(), msgspec.json.Encoder),
    (lambda value: str(value), str),
    (lambda value: value, None),
    (lambda value: to_delay(value), None),
    (lambda value: Delay(value) if value else None, None),
    (lambda Delay: Delay(1), None),
    (lambda ü: Delay(len("äöü") + ü), Delay),
    (partial(to_delay), None),
]
# fmt: on


@pytest.mark.parametrize(("function", "expected"), KNOWN)
def test_the_type_of_a_result(function: Callable[..., object], expected: object) -> None:
    assert result_type(function) is expected


def test_a_class_from_an_enclosing_function() -> None:
    class Local(msgspec.Struct):
        x: int

    assert result_type(lambda value: Local(value)) is Local


def test_a_lambda_without_source_has_no_known_type() -> None:
    function = eval("lambda value: Delay(value)", {"Delay": Delay})
    assert result_type(function) is None


def test_the_type_of_items() -> None:
    assert item_type(many) is Delay
    assert item_type(pairs) is int
    assert item_type(to_delay) is None
    assert item_type(untyped) is None


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda f: f.carrier, "carrier"),
        (lambda f: (f.origin, f.hour), "origin-hour"),
        (lambda f: f.timeHour, "time-hour"),
        (lambda f: f, ""),
        (to_delay, "to-delay"),
        (Maker().make, "make"),
        (Delay, "delay"),
        (Maker(), "maker"),
    ],
)
def test_names_come_from_functions(function: Callable[..., object], name: str) -> None:
    assert derived_name(function) == name


def test_slugs_are_fit_for_topics() -> None:
    assert slug("HTTPRequests per_day!") == "httprequests-per-day"
    assert slug("--x--") == "x"
