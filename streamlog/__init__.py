"""streamlog: stream processing on the log, in Python.

The names with which pipelines are written; each is imported when it is first used, so that the
command, which lives below this package too, starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlog.processing.dsl.aggregates import (
        collect,
        count,
        count_distinct,
        distinct,
        first,
        fold,
        last,
        max_,
        mean,
        min_,
        quantile,
        quantiles,
        reduce_,
        sum_,
        top_k,
    )
    from streamlog.processing.dsl.change import Change
    from streamlog.processing.dsl.global_table import GlobalTable
    from streamlog.processing.dsl.grouping import GroupedTable, cogroup
    from streamlog.processing.dsl.message import Message
    from streamlog.processing.dsl.ordered_stream import OrderedStream
    from streamlog.processing.dsl.pipeline import Pipeline, pipeline
    from streamlog.processing.dsl.processor import Processor
    from streamlog.processing.dsl.stream import Output, Stream
    from streamlog.processing.dsl.table import Table
    from streamlog.processing.dsl.topic import Topic
    from streamlog.processing.dsl.windowed import Windowed
    from streamlog.processing.failures.policy import dead_letter, retry, skip, stop
    from streamlog.processing.operators.named_state import List, Map, Value
    from streamlog.processing.operators.processor import ProcessorContext, Timer
    from streamlog.processing.windows.clock import hopping, months, tumbling
    from streamlog.processing.windows.counted import count_windows
    from streamlog.processing.windows.sessions import sessions
    from streamlog.processing.windows.sliding import sliding

_DSL = "streamlog.processing.dsl"
_OPERATORS = "streamlog.processing.operators"
_WINDOWS = "streamlog.processing.windows"
_MODULE_OF = {
    **dict.fromkeys(
        (
            "collect",
            "count",
            "count_distinct",
            "distinct",
            "first",
            "fold",
            "last",
            "max_",
            "mean",
            "min_",
            "quantile",
            "quantiles",
            "reduce_",
            "sum_",
            "top_k",
        ),
        f"{_DSL}.aggregates",
    ),
    **dict.fromkeys(("Pipeline", "pipeline"), f"{_DSL}.pipeline"),
    **dict.fromkeys(("Output", "Stream"), f"{_DSL}.stream"),
    "Change": f"{_DSL}.change",
    "GlobalTable": f"{_DSL}.global_table",
    **dict.fromkeys(("GroupedTable", "cogroup"), f"{_DSL}.grouping"),
    "Message": f"{_DSL}.message",
    "OrderedStream": f"{_DSL}.ordered_stream",
    "Processor": f"{_DSL}.processor",
    **dict.fromkeys(("List", "Map", "Value"), f"{_OPERATORS}.named_state"),
    **dict.fromkeys(("ProcessorContext", "Timer"), f"{_OPERATORS}.processor"),
    "Table": f"{_DSL}.table",
    "Topic": f"{_DSL}.topic",
    "Windowed": f"{_DSL}.windowed",
    **dict.fromkeys(
        ("dead_letter", "retry", "skip", "stop"), "streamlog.processing.failures.policy"
    ),
    **dict.fromkeys(("hopping", "months", "tumbling"), f"{_WINDOWS}.clock"),
    "count_windows": f"{_WINDOWS}.counted",
    "sessions": f"{_WINDOWS}.sessions",
    "sliding": f"{_WINDOWS}.sliding",
}

__all__ = [
    "Change",
    "GlobalTable",
    "GroupedTable",
    "List",
    "Map",
    "Message",
    "OrderedStream",
    "Output",
    "Pipeline",
    "Processor",
    "ProcessorContext",
    "Stream",
    "Table",
    "Timer",
    "Topic",
    "Value",
    "Windowed",
    "cogroup",
    "collect",
    "count",
    "count_distinct",
    "count_windows",
    "dead_letter",
    "distinct",
    "first",
    "fold",
    "hopping",
    "last",
    "max_",
    "mean",
    "min_",
    "months",
    "pipeline",
    "quantile",
    "quantiles",
    "reduce_",
    "retry",
    "sessions",
    "skip",
    "sliding",
    "stop",
    "sum_",
    "top_k",
    "tumbling",
]


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(module), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
