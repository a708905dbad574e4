"""Five questions about the flights of 2013, each with another kind of window or join.

They read the topics that `streamlog demo` loads. Flights are taken at the time at which they really
left, which is the time of their records and the order in which they come.

    streamlog run pipelines/departures.py --until end --drain
    streamlog consume delay-by-wind -e
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from msgspec import Struct

from streamlog import (
    GlobalTable,
    Message,
    Output,
    Stream,
    Table,
    Windowed,
    count,
    count_distinct,
    hopping,
    mean,
    pipeline,
    quantile,
    sessions,
    sum_,
    top_k,
    tumbling,
)

HOUR = timedelta(hours=1)
BEAUFORT_MPH = (1, 4, 8, 13, 19, 25, 32, 39, 47, 55, 64, 73)
"""The least speed of each wind force from 1 to 12, in miles per hour."""


class Flight(Struct):
    """A flight as it is in the topic, as far as these pipelines need it."""

    tailnum: str | None
    origin: str
    dest: str
    dep_delay: int | None
    distance: int


class Departure(Struct):
    """A flight that has left."""

    tailnum: str
    airport: str
    at_ms: int
    delay: int
    miles: int


class Weather(Struct):
    """An hour's weather at an airport; its key is the airport, its time the hour."""

    wind_speed: float | None


class Plane(Struct):
    """What is known of an aircraft; its key is the tail number."""

    year: int | None


def departed(message: Message[Flight]) -> list[Departure]:
    """The departure, if the flight has left and its aircraft is known."""
    flight = message.value
    if flight.dep_delay is None or flight.tailnum is None:
        return []
    return [
        Departure(
            flight.tailnum, flight.origin, message.timestamp, flight.dep_delay, flight.distance
        )
    ]


# What the wind does: a table whose rows hold from their hour on.


class Gust(Struct):
    """A departure's delay, and the wind force at its airport."""

    force: int
    delay: int


class WindDelays(Struct):
    """What departures at one wind force had to wait."""

    departures: int
    mean_delay: float
    median_delay: float


def wind_force(miles_per_hour: float) -> int:
    """The force on Beaufort's scale."""
    return sum(miles_per_hour >= least for least in BEAUFORT_MPH)


def in_wind(departure: Departure, weather: Weather) -> list[Gust]:
    """What the wind was, if it was measured."""
    if weather.wind_speed is None:
        return []
    return [Gust(wind_force(weather.wind_speed), departure.delay)]


@pipeline
def delay_by_wind(flights: Stream[Flight], weather: Table[Weather]) -> Output:
    """Mean and median delay for each wind force, by the weather in the hour of departure."""
    return (
        flights.with_context()
        .flat_map(departed, to=Departure)
        .key_by(lambda departure: departure.airport)
        .join(weather, in_wind)
        .flat_map(list, to=Gust)
        .key_by(lambda gust: gust.force)
        .aggregate(
            WindDelays,
            departures=count(),
            mean_delay=mean(lambda gust: gust.delay),
            median_delay=quantile(lambda gust: gust.delay, 0.5),
        )
        .to("delay-by-wind")
    )


# What an aircraft does in one go: sessions.


class Trip(Struct):
    """Departures of one aircraft with less than six hours between them."""

    departures: int
    airports: int
    miles: int


@pipeline
def aircraft_trips(flights: Stream[Flight]) -> Output:
    """Sessions of each aircraft: departures that are less than six hours apart."""
    return (
        flights.with_context()
        .flat_map(departed, to=Departure)
        .key_by(lambda departure: departure.tailnum)
        .window(sessions(6 * HOUR))
        .aggregate(
            Trip,
            departures=count(),
            airports=count_distinct(lambda departure: departure.airport),
            miles=sum_(lambda departure: departure.miles),
        )
        .to("aircraft-trips")
    )


# How long an aircraft is away: an interval join of departures with themselves.


class Turnaround(Struct):
    """An aircraft leaves an airport, and leaves it again."""

    tailnum: str
    airport: str
    left_ms: int
    minutes: int


def turnaround(first: Departure, then: Departure) -> Turnaround:
    """The time between two departures."""
    minutes = (then.at_ms - first.at_ms) // 60_000
    return Turnaround(first.tailnum, first.airport, first.at_ms, minutes)


def sooner(one: Turnaround, other: Turnaround) -> Turnaround:
    """The next departure is the one that counts."""
    return one if one.minutes <= other.minutes else other


@pipeline
def turnarounds(flights: Stream[Flight]) -> Output:
    """How long each aircraft took to leave the same airport again, if within twelve hours.

    The data has no arrivals in New York, so it is the way there and back that is measured.
    """
    departures = (
        flights.with_context()
        .flat_map(departed, to=Departure)
        .key_by(lambda departure: departure.tailnum)
    )
    return (
        departures.join(
            departures,
            turnaround,
            after=12 * HOUR,
            before=timedelta(0),
            where=lambda first, then: first.airport == then.airport and first.at_ms < then.at_ms,
        )
        .key_by(lambda turn: f"{turn.tailnum} {turn.airport} {turn.left_ms}", name="by-departure")
        .reduce(sooner)
        .to("turnarounds")
    )


# When it is busiest: overlapping windows, and the best of them.


class Busy(NamedTuple):
    """How many left within an hour, and when it began."""

    departures: int
    start: str


class BusiestHours(Struct):
    """The three hours of a day in which most left."""

    hours: list[Busy]


def busy(hour: Windowed[int]) -> Busy:
    """An hour's departures."""
    return Busy(hour.value, hour.start.isoformat())


@pipeline
def busiest_hours(flights: Stream[Flight]) -> Output:
    """The three busiest hours of each day at each airport; hours begin at each quarter."""
    return (
        flights.filter(lambda flight: flight.dep_delay is not None)
        .key_by(lambda flight: flight.origin)
        .window(hopping(HOUR, advance=HOUR / 4))
        .count(name="departures-per-hour")
        .map(busy, to=Busy)
        .window(tumbling(24 * HOUR), grace=HOUR)
        .aggregate(BusiestHours, hours=top_k(3))
        .to("busiest-hours")
    )


# Whether old aircraft are late: flights with the table of planes.


class Aged(Struct):
    """A departure's delay, and the age of its aircraft in years."""

    age: int
    delay: int


class AgeDelays(Struct):
    """What departures with aircraft of one age had to wait."""

    departures: int
    mean_delay: float


def aged(departure: Departure, plane: Plane) -> list[Aged]:
    """The aircraft's age in 2013, if the year in which it was built is known."""
    return [] if plane.year is None else [Aged(2013 - plane.year, departure.delay)]


@pipeline
def delay_by_age(flights: Stream[Flight], planes: GlobalTable[Plane]) -> Output:
    """Mean delay for each age of aircraft."""
    return (
        flights.with_context()
        .flat_map(departed, to=Departure)
        .with_key(lambda departure: departure.tailnum)
        .join(planes, aged)
        .flat_map(list, to=Aged)
        .key_by(lambda aged: aged.age)
        .aggregate(AgeDelays, departures=count(), mean_delay=mean(lambda aged: aged.delay))
        .to("delay-by-age")
    )
