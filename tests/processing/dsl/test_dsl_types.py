"""What type checkers see: `mypy` proves this file, running it proves the values exist."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct

from streamlog import (
    GlobalTable,
    Output,
    Pipeline,
    Stream,
    Windowed,
    count,
    last,
    max_,
    mean,
    pipeline,
    sum_,
    tumbling,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import assert_type
else:

    def assert_type(value: object, _: object) -> object:
        return value


class Flight(Struct):
    carrier: str
    delay: float | None


class Airline(Struct):
    name: str


class Delay(Struct):
    airline: str
    minutes: float


class Delays(Struct):
    airline: str
    flights: int
    mean_delay: float | None


def is_delayed(flight: Flight) -> bool:
    return flight.delay is not None


def to_minutes(flight: Flight) -> float:
    return flight.delay or 0.0


@pipeline
def typed(flights: Stream[Flight], airlines: GlobalTable[Airline]) -> Output:
    assert_type(flights.filter(is_delayed), Stream[Flight])
    assert_type(flights.map(to_minutes), Stream[float])
    assert_type(flights.map(lambda f: f.carrier), Stream[str])
    assert_type(flights.flat_map(lambda f: [len(f.carrier)]), Stream[int])
    assert_type(flights.key_by(lambda f: f.carrier), Stream[Flight])
    assert_type(flights.merge(flights), Stream[Flight])
    assert_type(flights.peek(print), Stream[Flight])
    joined = flights.key_by(lambda f: f.carrier).join(
        airlines, lambda f, a: Delay(a.name, f.delay or 0.0)
    )
    assert_type(joined, Stream[Delay])
    left = flights.join(airlines, lambda f, a: a.name if a is not None else None, how="left")
    assert_type(left, Stream[str | None])
    hourly = joined.window(tumbling(timedelta(hours=1)), grace=timedelta(minutes=10))
    assert_type(hourly.count(), Stream[Windowed[int]])
    assert_type(hourly.mean(lambda d: d.minutes), Stream[Windowed[float | None]])
    assert_type(hourly.max_(lambda d: d.minutes), Stream[Windowed[float]])
    assert_type(hourly.last(lambda d: d.airline), Stream[Windowed[str]])
    results = hourly.aggregate(
        Delays,
        airline=last(lambda d: d.airline),
        flights=count(),
        mean_delay=mean(lambda d: d.minutes),
    )
    assert_type(results, Stream[Windowed[Delays]])
    assert_type(results.map(lambda w: w.value), Stream[Delays])
    assert_type(results.map(lambda w: w.end.year), Stream[int])
    return results.to("out")


def refused(flights: Stream[Flight], airlines: GlobalTable[Airline]) -> None:
    """Each line is an error to a type checker; `mypy` fails here if one is not."""
    flights.map(lambda f: f.carier)  # type: ignore[attr-defined]
    flights.filter(lambda f: f.delay > 5)  # type: ignore[operator]
    flights.map(to_minutes).map(is_delayed)  # type: ignore[arg-type]
    flights.merge(flights.map(to_minutes))  # type: ignore[arg-type]
    flights.join(airlines, lambda f, a: a.nam)  # type: ignore[attr-defined]
    hourly = flights.window(tumbling(timedelta(hours=1)))
    hourly.sum_(lambda f: f.carrier)  # type: ignore[arg-type, return-value]
    hourly.aggregate(Delays, flights=max_(lambda f: f.minutes))  # type: ignore[attr-defined]
    hourly.aggregate(Delays, flights=sum_(lambda f: f.carrier))  # type: ignore[arg-type, return-value]
    hourly.aggregate(Delays, flights=5)  # type: ignore[arg-type]
    hourly.map(lambda f: f)  # type: ignore[attr-defined]
    for _ in airlines:
        pass


def test_a_pipeline_keeps_the_types_of_its_function() -> None:
    declared: Callable[[Stream[Flight], GlobalTable[Airline]], Output] = typed
    anything: Pipeline[..., object] = typed
    assert callable(declared)
    assert anything.name == "typed"


def test_the_values_are_what_the_types_say() -> None:
    with pytest.raises(Exception, match="goes nowhere"):
        typed.plan()
