"""The handles that a pipeline's function gets and makes: streams, windowed streams, tables.

The function runs once, before there is any record. A handle stands for the records that will pass,
and each verb adds one step. Nothing here touches data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, get_origin

from streamlog.processing.dsl.checks import check_function, check_output
from streamlog.processing.dsl.grouping import GroupingVerbs
from streamlog.processing.dsl.join_verbs import JoinVerbs
from streamlog.processing.dsl.nodes import ToNode
from streamlog.processing.dsl.ordering import OrderingVerbs
from streamlog.processing.dsl.processor import ProcessVerb
from streamlog.processing.dsl.shaping import ShapingVerbs
from streamlog.processing.dsl.windowed import Windowed
from streamlog.processing.dsl.windowed_stream import WindowedStream
from streamlog.processing.dsl.windowing import check_windowing
from streamlog.processing.location import caller_location
from streamlog.processing.operators.plain import encode_json, encode_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta

    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.dsl.windowing import Emit
    from streamlog.processing.windows.kinds import Windows
    from streamlog.serde.base import Serde

T = TypeVar("T")
U = TypeVar("U")
R = TypeVar("R")


class Output:
    """The end of a stream: a topic."""

    def __init__(self, node: ToNode) -> None:
        self.topic = node.topic
        self.node = node

    def __repr__(self) -> str:
        return f"<output {self.topic} at {self.node.location}>"


class Stream(ShapingVerbs[T], JoinVerbs[T], GroupingVerbs[T], OrderingVerbs[T], ProcessVerb[T]):
    """Records of one type of value, each with a key and an event time; each verb adds one step.

    A source's key is the bytes of the record's key, until `key_by` chooses another.
    """

    def window(
        self, windows: Windows, *, grace: timedelta | None = None, emit: Emit = "final"
    ) -> WindowedStream[T]:
        """Groups records by key and window, to be aggregated.

        A window closes when stream time has passed its end by `grace`. A record for which all its
        windows are closed is late: it is counted and left out, and `late()` of what is returned has
        those as a stream.

        Args:
            windows: How records are put together: `tumbling`, `hopping`, `sliding`, `sessions`,
                `count_windows` or `months`.
            grace: How long after its end a window waits for records that are out of order; by
                default not at all, but `sessions` wait for as long as their gap.
            emit: When results come out: "final", one when the window closes; "changes", one after
                each record; or an interval of stream time, at whose multiples the windows that
                have changed since show what they have.
        """
        return WindowedStream(self.graph, self.node, check_windowing(windows, grace, emit))

    def to(
        self,
        topic: str,
        *,
        partitions: int | None = None,
        serde: Serde[T] | None = None,
        headers: Callable[[T], Iterable[tuple[str, bytes | None]]] | None = None,
    ) -> Output:
        """Writes the records to a topic, which is created if it is missing.

        Args:
            topic: Its name.
            partitions: Of a topic that is created; by default as many as the source has.
            serde: How values are written; by default text as UTF-8, bytes as they are, else JSON.
            headers: From the value to the record's headers; by default there are none.
        """
        if headers is not None:
            check_function(headers, "to", "topic, headers=lambda value: [(name, b'…')]")
        node = ToNode(
            name=check_output(topic, partitions, serde),
            location=caller_location(),
            value_type=self.node.value_type,
            parent=self.node,
            topic=topic,
            partitions=partitions,
            encode=encoder_of(self.node.value_type) if serde is None else serde.encode,
            headers=headers,
        )
        self.graph.add(node)
        return Output(node)


def encoder_of(value_type: RuntimeType) -> Callable[[Value], bytes | None]:
    """How values are written if nobody says: it must work without knowing the type."""
    if isinstance(value_type, type) and value_type not in (str, bytes, object):
        return encode_json
    return encode_json if get_origin(value_type) is Windowed else encode_plain
