"""Dead letters: records that failed, as they were, with headers that say what went wrong.

A dead letter has the key, value, timestamp and headers of the record that failed. Behind its own
headers come ours, all of text, under `__streamlog.errors.`, named as Kafka Connect's are:

    topic partition offset      where the record stands that failed
    pipeline task step          what failed there; a task is <sub-topology>/<partition>
    location                    the user's file and line
    exception.class             what was raised, e.g. builtins.ZeroDivisionError
    exception.message           what it said
    exception.stacktrace        where a function raised it: the user's frames; none if none is
    attempts                    how often it was tried
    time                        when it was set aside, RFC 3339
    order                       "key" if later records of its key are held back until it returns
    behind                      if it did not fail itself: the offset of the record of its key
                                which it must not overtake
    left.bytes                  if it was too large to be sent again: the size of its value, which
                                is left where the record stands

`streamlog dlq retry` sends a record back to where it stands, again as it was, with other headers
behind its own, under `__streamlog.retry.`:

    pipeline                    whose failure it was: other pipelines leave the record out
    offset                      where the record stood when it first failed, which is its identity
    drop                        "1" if it is given up, and only its key is to be held no longer
    count                       how often it was sent back; always the last header

They are kept when it fails once more, so that its identity and count go on.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from streamlog.processing.errors import UndecodableFailure

if TYPE_CHECKING:
    from types import TracebackType

    from streamlog.processing.errors import RecordFailure
    from streamlog.records.columns import Headers

ERRORS: Final = "__streamlog.errors."
RETRY: Final = "__streamlog.retry."
RETRY_PIPELINE: Final = RETRY + "pipeline"
RETRY_OFFSET: Final = RETRY + "offset"
RETRY_DROP: Final = RETRY + "drop"
RETRY_COUNT: Final = RETRY + "count"

MESSAGE_CHARS_MAX: Final = 2_000
_PACKAGE: Final = __name__.partition(".")[0]
STACKTRACE_CHARS_MAX: Final = 8_000
"""Of which the end is kept: that is where it was raised."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong with one record, and where."""

    topic: str
    partition: int
    offset: int
    pipeline: str = ""
    task: str = ""
    step: str = ""
    location: str = ""
    exception_class: str = ""
    exception_message: str = ""
    exception_stacktrace: str = ""
    attempts: int = 1
    time: str = ""
    order: str = ""
    behind: int | None = None
    left_bytes: int | None = None


_NAMES: Final = {field: ERRORS + field.replace("_", ".") for field in Cause.__struct_fields__}
_NUMBERS: Final = frozenset(("partition", "offset", "attempts", "behind", "left_bytes"))


@dataclass(frozen=True, slots=True)
class Returned:
    """What a record that was sent back says of itself."""

    pipeline: str
    offset: int
    count: int
    dropped: bool = False


def cause_of(
    failure: RecordFailure, pipeline: str, task: str, *, attempts: int, now_ms: int
) -> Cause:
    """Returns what a failure says, cut to a bearable size."""
    error = failure.__cause__ or failure
    trace = ""
    if not isinstance(failure, UndecodableFailure):
        trace = users_trace(error)
    kind = type(error)
    return Cause(
        topic=failure.topic,
        partition=failure.partition,
        offset=failure.offset,
        pipeline=pipeline,
        task=task,
        step=failure.step,
        location=failure.location,
        exception_class=f"{kind.__module__}.{kind.__qualname__}",
        exception_message=str(error)[:MESSAGE_CHARS_MAX],
        exception_stacktrace=trace[-STACKTRACE_CHARS_MAX:],
        attempts=attempts,
        time=rfc3339(now_ms),
    )


def users_trace(error: BaseException) -> str:
    """Returns where an error came about in the user's code; nothing if it did so in ours.

    Of errors that led to it, those are left out that were ours alone.
    """
    told = traceback.TracebackException.from_exception(error)
    return "".join(told.format()) if _keep_users(told, error) else ""


def _keep_users(told: traceback.TracebackException, error: BaseException) -> bool:
    """Cuts off the frames in front of the user's first one; says whether there is any."""
    skipped = _ours_first(error.__traceback__)
    told.stack = traceback.StackSummary.from_list(list(told.stack)[skipped:])
    for name in ("__cause__", "__context__"):
        before, its_error = getattr(told, name), getattr(error, name)
        if before is not None and not _keep_users(before, its_error):
            setattr(told, name, None)
    return bool(told.stack)


def _ours_first(trace: TracebackType | None) -> int:
    """How many frames come before the first one that is not ours."""
    count = 0
    while trace is not None:
        frame = trace.tb_frame
        # By the module's name: compiled modules do not know where their file is.
        module = str(frame.f_globals.get("__name__"))
        is_ours = module.partition(".")[0] == _PACKAGE
        if not is_ours and not frame.f_code.co_filename.startswith("<streamlog "):
            return count
        count, trace = count + 1, trace.tb_next
    return count


def rfc3339(time_ms: int) -> str:
    """Writes a time in UTC.

    >>> rfc3339(1_372_636_800_001)
    '2013-07-01T00:00:00.001Z'
    """
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def headers_with(cause: Cause, own: Headers) -> Headers:
    """Returns the headers of a dead letter."""
    ours = tuple(
        (name, str(value).encode("utf-8", "replace"))
        for field, name in _NAMES.items()
        if (value := getattr(cause, field)) not in (None, "")
    )
    return (*without(own, ERRORS), *ours)


def read_cause(headers: Headers) -> Cause | None:
    """Reads what went wrong; nothing if the record is no dead letter."""
    found: dict[str, object] = {}
    by_name = dict(headers)
    for field, name in _NAMES.items():
        data = by_name.get(name)
        if data is not None:
            text = data.decode("utf-8", "replace")
            if field not in _NUMBERS:
                found[field] = text
            elif text.isascii() and text.isdigit():
                found[field] = int(text)
    if not {"topic", "partition", "offset"} <= found.keys():
        return None
    return Cause(**found)  # type: ignore[arg-type]


def headers_back(cause: Cause, headers: Headers, *, dropped: bool = False) -> Headers:
    """Returns the headers with which a dead letter is sent back, or given up."""
    before = read_return(headers)
    offset = cause.offset if before is None else before.offset
    count = 1 if before is None else before.count + 1
    return (
        *without(without(headers, ERRORS), RETRY),
        (RETRY_PIPELINE, cause.pipeline.encode()),
        (RETRY_OFFSET, b"%d" % offset),
        *(((RETRY_DROP, b"1"),) if dropped else ()),
        (RETRY_COUNT, b"%d" % count),
    )


def read_return(headers: Headers) -> Returned | None:
    """Reads what a record that was sent back says of itself; nothing if it was not."""
    by_name = {name: value for name, value in headers if name.startswith(RETRY)}
    if not by_name:
        return None
    pipeline, offset, count = (
        (by_name.get(name) or b"") for name in (RETRY_PIPELINE, RETRY_OFFSET, RETRY_COUNT)
    )
    if not (offset.isdigit() and count.isdigit()):
        return None
    return Returned(
        pipeline.decode("utf-8", "replace"), int(offset), int(count), RETRY_DROP in by_name
    )


def without(headers: Headers, prefix: str) -> Headers:
    """Returns the headers whose names do not begin so."""
    return tuple(each for each in headers if not each[0].startswith(prefix))
