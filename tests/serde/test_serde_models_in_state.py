"""Pydantic models pass every verb that keeps values, through checkpoints and crashes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from streamlog import (
    List,
    Map,
    Processor,
    Stream,
    Table,
    Value,
    cogroup,
    collect,
    count_distinct,
    count_windows,
    distinct,
    first,
    fold,
    hopping,
    last,
    max_,
    min_,
    pipeline,
    reduce_,
    sessions,
    sliding,
    top_k,
    tumbling,
)
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Item(BaseModel):
    name: str
    size: int

    def __lt__(self, other: Item) -> bool:
        return self.size < other.size

    def __gt__(self, other: Item) -> bool:
        return self.size > other.size


class Two(BaseModel):
    one: Item | None = None
    other: Item | None = None


class Many(BaseModel):
    items: list[Item]


class Number(BaseModel):
    number: int


class Remember(Processor[Item, Item]):
    value: Value[Item]
    named: Map[str, Item]
    all: List[Item]

    def process(self, key: bytes | None, value: Item, ctx: object) -> Iterable[Item]:
        before = self.value.get(value)
        assert all(isinstance(each, Item) for each in (before, *self.named.values(), *self.all))
        self.value.set(value)
        self.named[value.name] = value
        self.all.append(value)
        yield before


def two(one: Item | None, other: Item | None) -> Two:
    return Two(one=one, other=other)


def smaller(one: Item, other: Item) -> Item:
    return min(one, other)


SPAN = timedelta(seconds=4)


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda a, b, t, u: a.join(b, two, within=SPAN, how="outer"), id="join"),
        pytest.param(lambda a, b, t, u: a.join(t, two), id="join a table"),
        pytest.param(lambda a, b, t, u: a.as_of(b, two, how="left"), id="as of"),
        pytest.param(
            lambda a, b, t, u: a.as_of(b, two, direction="forward", tolerance=SPAN), id="as of next"
        ),
        pytest.param(lambda a, b, t, u: t.join(u, two, how="outer"), id="join tables"),
        pytest.param(lambda a, b, t, u: t.join_on(u, two, key=lambda i: i.name), id="join on"),
        pytest.param(lambda a, b, t, u: a.table().filter(lambda i: i.size), id="table"),
        pytest.param(lambda a, b, t, u: a.reduce(smaller), id="reduce"),
        pytest.param(
            lambda a, b, t, u: t.group_by(lambda i: i.name).reduce(smaller, smaller),
            id="reduce a table",
        ),
        pytest.param(
            lambda a, b, t, u: t.group_by(lambda i: i.name).aggregate(
                Many, items=top_k(2, by=lambda i: i.size)
            ),
            id="top of a table",
        ),
        pytest.param(
            lambda a, b, t, u: t.group_by(lambda i: i.name).aggregate(
                Two, one=min_(lambda i: i), other=max_(lambda i: i)
            ),
            id="smallest of a table",
        ),
        pytest.param(lambda a, b, t, u: a.aggregate(Many, items=collect(limit=3)), id="collect"),
        pytest.param(
            lambda a, b, t, u: a.aggregate(
                Two, one=fold(lambda: Item(name="", size=0), smaller, state=Item), other=last()
            ),
            id="fold",
        ),
        pytest.param(
            lambda a, b, t, u: cogroup(Two, a.fields(one=last()), b.fields(other=first())),
            id="cogroup",
        ),
        pytest.param(
            lambda a, b, t, u: a.window(tumbling(SPAN)).aggregate(
                Number, number=count_distinct(lambda i: i)
            ),
            id="count distinct",
        ),
        pytest.param(
            lambda a, b, t, u: a.window(sessions(SPAN)).aggregate(
                Two, one=reduce_(smaller), other=last()
            ),
            id="sessions",
        ),
        pytest.param(
            lambda a, b, t, u: a.window(hopping(SPAN, advance=SPAN / 2)).aggregate(
                Two, one=min_(lambda i: i), other=first()
            ),
            id="hopping",
        ),
        pytest.param(
            lambda a, b, t, u: a.window(sliding(SPAN)).aggregate(Many, items=distinct(lambda i: i)),
            id="sliding",
        ),
        pytest.param(
            lambda a, b, t, u: a.window(count_windows(3)).aggregate(
                Many, items=top_k(2, by=lambda i: i.size)
            ),
            id="count windows",
        ),
        pytest.param(
            lambda a, b, t, u: a.window(tumbling(SPAN), emit="changes").aggregate(
                Two, one=first(), other=last()
            ),
            id="changes",
        ),
        pytest.param(lambda a, b, t, u: a.process(Remember), id="process"),
        pytest.param(lambda a, b, t, u: a.in_order(), id="in order"),
        pytest.param(lambda a, b, t, u: a.dedup(by=lambda i: i, within=SPAN), id="dedup"),
        pytest.param(lambda a, b, t, u: a.key_by(lambda i: i).repartition(2), id="key"),
    ],
)
def test_models_are_kept(draw: Callable[..., Any]) -> None:
    @pipeline(name="models")
    def models(
        left: Stream[Item], right: Stream[Item], some: Table[Item], more: Table[Item]
    ) -> None:
        draw(left, right, some, more).to("out")
        left.merge(right).to("all")
        some.to("some-rows")
        more.to("more-rows")

    newest: list[dict[object, object]] = []
    for crashes in (False, True):
        with drive(models, partitions=2) as t:
            for number in range(12):
                for topic in ("left", "right", "some", "more"):
                    item = {"name": f"k{number % 3}", "size": number * 7 % 5}
                    t.send(topic, item, key=item["name"], timestamp=number * 1_000)
                if crashes:
                    t.run()
                    t.crash("changelog")
            t.drain()
            results = sorted(t.read("out"), key=lambda each: each.timestamp)
            # What comes out on the way to the last may depend on what was read first.
            newest.append({each.key: each.value for each in results})
    assert newest[0]
    assert newest[0] == newest[1]
