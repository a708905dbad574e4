"""What is done to the clicks, as pipelines; the peers' programs do the same."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from msgspec import Struct

from streamlog import GlobalTable, Output, Stream, Table, Topic, pipeline, tumbling

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.dsl.pipeline import Pipeline

MINUTE = timedelta(minutes=1)


class Click(Struct):
    """A click, as far as these pipelines need it."""

    user: str
    url: str
    ts: int


class User(Struct):
    """A row of the table of users; its key is the user."""

    country: str


class Visit(Struct):
    """A click and where it came from."""

    url: str
    country: str


def in_shop(click: Click) -> bool:
    """Which clicks count."""
    return click.url.startswith("/shop/")


def clicked_at(click: Click) -> int:
    """When it was."""
    return click.ts


def count(name: str, topic: str, users: str, results: str) -> Pipeline[..., object]:
    """Clicks in the shop of each user and minute."""
    del users

    def counts(
        clicks: Annotated[Stream[Click], Topic(topic, event_time=clicked_at)],
    ) -> Output:
        return clicks.filter(in_shop).window(tumbling(MINUTE)).count().to(results)

    return pipeline(name=name)(counts)


def count_by_value(name: str, topic: str, users: str, results: str) -> Pipeline[..., object]:
    """The same by the user in the value, for which the log has to be repartitioned."""
    del users

    def counts(
        clicks: Annotated[Stream[Click], Topic(topic, event_time=clicked_at)],
    ) -> Output:
        by_user = clicks.filter(in_shop).key_by(lambda click: click.user, name="by-user")
        return by_user.window(tumbling(MINUTE)).count().to(results)

    return pipeline(name=name)(counts)


def join(name: str, topic: str, table: str, results: str) -> Pipeline[..., object]:
    """Every click with its user's country."""

    def visits(
        clicks: Annotated[Stream[Click], Topic(topic, event_time=clicked_at)],
        users: Annotated[GlobalTable[User], Topic(table)],
    ) -> Output:
        return clicks.join(users, lambda click, user: Visit(click.url, user.country)).to(results)

    return pipeline(name=name)(visits)


def join_versions(name: str, topic: str, table: str, results: str) -> Pipeline[..., object]:
    """The same with the country that the user had at the time of the click."""

    def visits(
        clicks: Annotated[Stream[Click], Topic(topic, event_time=clicked_at)],
        users: Annotated[Table[User], Topic(table)],
    ) -> Output:
        joined = clicks.join(users, lambda click, user: Visit(click.url, user.country))
        return joined.to(results)

    return pipeline(name=name)(visits)


def count_days(name: str, topic: str, users: str, results: str) -> Pipeline[..., object]:
    """Clicks of each user and day: windows that stay open, for what state can do."""
    del users

    def counts(
        clicks: Annotated[Stream[Click], Topic(topic, event_time=clicked_at)],
    ) -> Output:
        return clicks.window(tumbling(timedelta(days=1))).count().to(results)

    return pipeline(name=name)(counts)


PIPELINES: dict[str, Callable[[str, str, str, str], Pipeline[..., object]]] = {
    "count": count,
    "repartition": count_by_value,
    "join": join,
    "join versions": join_versions,
    "days": count_days,
}
