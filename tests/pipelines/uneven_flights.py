"""Two pipelines to be run under uneven conditions; `test_pipelines_determinism` recomputes them.

Each has two levels, so that what depends on the mixing of records in a repartition topic would show
twice. `steady` waits long enough that nothing is late, so that its results do not depend on how the
flights are partitioned. `hasty` hardly waits: many flights are late, and which ones must be a
matter of the partition that they are in, and not of who read what when.

Event times are unique (a flight has the number of its row), so `first` and `last` of flights know
no ties. Hours have them, which go by writer and sequence, so only `hasty` asks for the last hour.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from msgspec import Struct

from streamlog import (
    Output,
    Stream,
    Topic,
    Windowed,
    count,
    first,
    last,
    max_,
    mean,
    pipeline,
    sum_,
    tumbling,
)

if TYPE_CHECKING:
    from streamlog.processing.dsl.aggregates import Aggregate


class Flight(Struct):
    """A departure."""

    row: int
    carrier: str
    origin: str
    scheduled: datetime
    delay: float
    """In hours: floats whose sum depends on the order in which they are added carelessly."""


class Hour(Struct):
    """What a carrier did in an hour."""

    carrier: str
    flights: int
    delay: float
    first_row: int
    last_row: int


class Days(Struct):
    """What all carriers with equally busy hours did in two days."""

    hours: int
    mean_delay: float
    busiest: int
    carrier: str


def event_time(flight: Flight) -> datetime:
    """A time of its own for each flight."""
    return flight.scheduled + timedelta(milliseconds=flight.row)


Flights = Annotated[Stream[Flight], Topic("uneven-flights", event_time=event_time)]


def busyness(hour: Windowed[Hour]) -> str:
    """Groups hours, so that results of several keys and partitions meet."""
    return f"{min(hour.value.flights, 5)} flights"


def carrier_of(hour: Windowed[Hour]) -> str:
    """Which carrier's hour it is."""
    return hour.value.carrier


def both_levels(
    flights: Stream[Flight], grace: timedelta, name: str, carrier: Aggregate[Windowed[Hour]]
) -> Output:
    """Hours of carriers, and days of hours."""
    hours = (
        flights.key_by(lambda flight: flight.carrier, name="by-carrier")
        .window(tumbling(timedelta(hours=1)), grace=grace)
        .aggregate(
            Hour,
            carrier=last(lambda flight: flight.carrier),
            flights=count(),
            delay=sum_(lambda flight: flight.delay),
            first_row=first(lambda flight: flight.row),
            last_row=last(lambda flight: flight.row),
            name="hours",
        )
    )
    hours.to(f"{name}-hours")
    return (
        hours.key_by(busyness, name="by-busyness")
        .window(tumbling(timedelta(days=2)))
        .aggregate(
            Days,
            hours=count(),
            mean_delay=mean(lambda hour: hour.value.delay),
            busiest=max_(lambda hour: hour.value.flights),
            carrier=carrier,
            name="days",
        )
        .to(f"{name}-days")
    )


# No partition counts as idle: a machine that is busy for some seconds would make records late.
@pipeline(idle=None)
def steady(flights: Flights) -> Output:
    """Nothing is late."""
    return both_levels(flights, timedelta(days=1), "steady", max_(carrier_of))


@pipeline(idle=None)
def hasty(flights: Flights) -> Output:
    """Much is late."""
    return both_levels(flights, timedelta(minutes=5), "hasty", last(carrier_of))
