"""What joins write into their rows: typed values as MessagePack, with what has to be known of them.

Equal rows have equal bytes, whoever writes them: dictionaries and sets are sorted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import msgspec

from streamlog.serde.formats import encode_msgpack, msgpack_decoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.dsl.nodes import RuntimeType

T = TypeVar("T")

TICK_MAX_MS: Final = 1_000
NO_WAIT_TICK_MS: Final = 100
"""How finely time passes for a step that waits for nothing but its inputs to be level."""
CLEANING_TICK_MS: Final = 60_000
"""How finely time passes for a step that only forgets as it does."""

encode_row = encode_msgpack


class Waiting(msgspec.Struct, Generic[T], array_like=True):
    """A record that waits in a join's state.

    Attributes:
        key: Its key, if the row's name does not tell it, being too long.
        time: The stream time of its writer when it came.
        matched: Whether it has met another one, if that matters.
        value: Its value.
    """

    key: bytes | None
    time: int
    matched: bool
    value: T


def decoder_of(value_type: RuntimeType) -> Callable[[bytes], Any]:
    """Returns what reads a row of one value."""
    return msgpack_decoder(cast("Any", value_type)).decode


def waiting_decoder(value_type: RuntimeType) -> Callable[[bytes], list[Waiting[Any]]]:
    """Returns what reads a row of records that wait."""
    generic: Any = Waiting
    return decoder_of(list[generic[value_type]])


def tick_of(span_ms: int) -> int:
    """Returns how finely time should pass for a step that waits for a span.

    >>> tick_of(3_600_000), tick_of(5_000), tick_of(7), tick_of(0)
    (1000, 50, 1, 100)
    """
    return max(1, min(TICK_MAX_MS, span_ms // 100)) if span_ms else NO_WAIT_TICK_MS
