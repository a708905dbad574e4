"""Two pipelines over the flights that left New York City in 2013; `streamlog demo` runs them.

Both go by *scheduled* departure, while the flights come in the order in which they really left. So
events are up to 22 hours out of order, and a grace of one day makes sure that none is late.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Struct

from streamlog import (
    GlobalTable,
    Output,
    Stream,
    Topic,
    count,
    last,
    max_,
    mean,
    pipeline,
    sum_,
    tumbling,
)

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


class Flight(Struct):
    """A flight as it is in the topic, as far as these pipelines need it."""

    carrier: str
    origin: str
    time_hour: datetime
    minute: int
    dep_time: int | None
    dep_delay: int | None


class Airline(Struct):
    """A row of the table of airlines; its key is the carrier."""

    name: str


class Delay(Struct):
    """A departure and how many minutes late it was."""

    airline: str
    minutes: int


class Delays(Struct):
    """What a carrier did in a day."""

    airline: str
    flights: int
    mean_delay: float
    max_delay: int


class Cancellations(Struct):
    """What an airport had planned for an hour, and what of it did not leave."""

    scheduled: int
    cancelled: int


def scheduled_departure(flight: Flight) -> datetime:
    """When the flight should have left."""
    return flight.time_hour + timedelta(minutes=flight.minute)


Flights = Annotated[Stream[Flight], Topic("flights", event_time=scheduled_departure)]


@pipeline
def delays_per_carrier(flights: Flights, airlines: GlobalTable[Airline]) -> Output:
    """Departed flights of each carrier and day, with their mean and largest delay."""
    return (
        flights.filter(lambda flight: flight.dep_delay is not None)
        .key_by(lambda flight: flight.carrier)
        .join(airlines, lambda flight, airline: Delay(airline.name, flight.dep_delay or 0))
        .window(tumbling(DAY), grace=DAY)
        .aggregate(
            Delays,
            airline=last(lambda delay: delay.airline),
            flights=count(),
            mean_delay=mean(lambda delay: delay.minutes),
            max_delay=max_(lambda delay: delay.minutes),
        )
        .to("delays-per-carrier")
    )


@pipeline
def cancellations_per_origin(flights: Flights) -> Output:
    """Scheduled and cancelled flights of each airport and hour."""
    return (
        flights.key_by(lambda flight: flight.origin)
        .window(tumbling(HOUR), grace=DAY)
        .aggregate(
            Cancellations,
            scheduled=count(),
            cancelled=sum_(lambda flight: int(flight.dep_time is None)),
        )
        .to("cancellations-per-origin")
    )
