"""What can be said of an input beyond its name and type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from streamlog.processing.failures.policy import FailurePolicy
    from streamlog.serde.base import Serde


@dataclass(frozen=True, slots=True)
class Topic:
    """An input's topic, written beside its type: `Annotated[Stream[Flight], Topic("flights.v2")]`.

    Args:
        name: The topic; by default the parameter's name.
        serde: How values are read; by default text for `str`, raw for `bytes`, else JSON.
        event_time: When a value happened, as a datetime with a time zone or in milliseconds since
            1970; by default the record's timestamp, and that of a null value in any case.
        on_error: What happens to a record of it that cannot be read, or for which a function
            raises up to the first repartition: `stop()`, `skip()`, `retry(…)` or `dead_letter()`;
            by default what the pipeline says. Of a global table `stop()` or `skip()`, which leaves
            a row as it was.
    """

    name: str | None = None
    serde: Serde[Any] | None = None
    event_time: Callable[[Any], datetime | int] | None = None
    on_error: FailurePolicy | None = None
