"""The verbs that wait for time to pass: `in_order` and `dedup`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from streamlog.processing.declaration import check_span
from streamlog.processing.dsl import inference
from streamlog.processing.dsl.checks import check_function, check_name
from streamlog.processing.dsl.handles import add_step
from streamlog.processing.dsl.kept_types import kept_serde
from streamlog.processing.dsl.nodes import OperatorNode
from streamlog.processing.location import caller_location
from streamlog.processing.operators.dedup import DedupStep
from streamlog.processing.operators.in_order import InOrderStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.dsl.nodes import StreamNode
    from streamlog.processing.dsl.ordered_stream import OrderedStream
    from streamlog.processing.dsl.stream import Stream
    from streamlog.serde.msgpack import MsgpackSerde

T = TypeVar("T")

NO_GRACE = timedelta(0)
TICK_MIN_MS = 100
TICK_MAX_MS = 1_000
_TICKS = 100
"""Ticks in the span that a step waits for, as far as the limits above let it."""


class OrderingVerbs(Generic[T]):
    """Verbs that wait for time to pass; a base of `Stream`."""

    graph: Graph
    node: StreamNode

    def in_order(self, *, grace: timedelta = NO_GRACE, name: str | None = None) -> OrderedStream[T]:
        """Puts the records of each key into the order of their event times.

        A record waits until stream time has passed its event time by `grace`, so nothing older can
        come any more. What comes later than that is late: it is counted and left out, and `late()`
        of what is returned has those as a stream.

        For functions to which the order matters (`reduce`, `fold`, a `Processor`); the built-in
        aggregates do not need it.

        Args:
            grace: How long records wait for others that are out of order.
            name: The step's name, by which its state is found again.
        """
        from streamlog.processing.dsl.ordered_stream import OrderedStream

        serde = self._kept("in_order")
        grace_ms = check_span(grace, "grace", least_ms=0)
        step = InOrderStep(grace_ms=grace_ms, encode=serde.encode, decode=serde.decode)
        node = OperatorNode(
            name=check_name(name, None, "in-order"),
            location=caller_location(),
            value_type=self.node.value_type,
            parents=(self.node,),
            make=step.make,
            layout=step.layout,
            lag_ms=grace_ms,
            tick_ms=tick_of(grace_ms),
        )
        self.graph.add(node)
        return OrderedStream(self.graph, node)

    def dedup(
        self,
        by: Callable[[T], object] | None = None,
        *,
        within: timedelta,
        grace: timedelta = NO_GRACE,
        name: str | None = None,
    ) -> Stream[T]:
        """Leaves out what was there before: of equal records within a time the first goes on.

        Only records of one key are compared, so put `key_by` in front if equal records may have
        different keys. Which of them goes on depends on the records alone, not on how they arrive,
        and therefore each waits until stream time has passed its own. A copy is left out if its
        event time is within `within` of the one that went on, and if it comes no later than that
        by stream time. No record is ever left out for being late.

        Args:
            by: What of a value makes two records of a key equal; by default equal keys do.
            within: How far apart copies may be.
            grace: How long to wait for an earlier copy that is out of order.
            name: The step's name, by which its state is found again.
        """
        if by is not None:
            check_function(by, "dedup", "lambda value: value.id, within=timedelta(minutes=10)")
        serde = self._kept("dedup")
        within_ms = check_span(within, "within", least_ms=1)
        grace_ms = check_span(grace, "grace", least_ms=0)
        step = DedupStep(
            within_ms=within_ms,
            grace_ms=grace_ms,
            by=by,
            encode=serde.encode,
            decode=serde.decode,
        )
        derived = "" if by is None else inference.derived_name(by)
        default = f"dedup-{derived}" if derived else "dedup"
        node = OperatorNode(
            name=default if name is None else check_name(name, None, "dedup"),
            location=caller_location(),
            value_type=self.node.value_type,
            parents=(self.node,),
            make=step.make,
            layout=step.layout,
            lag_ms=grace_ms,
            tick_ms=tick_of(max(within_ms, grace_ms)),
        )
        return add_step(self.graph, node)

    def _kept(self, verb: str) -> MsgpackSerde[Any]:
        return kept_serde(self.node.value_type, f"{verb} keeps the values")


def tick_of(span_ms: int) -> int:
    """Returns how finely a step that waits for a span looks at time."""
    return min(max(span_ms // _TICKS, TICK_MIN_MS), TICK_MAX_MS)
