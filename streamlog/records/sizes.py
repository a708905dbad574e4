"""How many bytes records take in a batch, at most, before they are encoded.

The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_extensions import i64

    from streamlog.records.columns import Headers

RECORD_OVERHEAD: Final = 24
"""At most: length, attributes, two deltas, the lengths of key and value, the number of headers."""
HEADER_OVERHEAD: Final = 10
"""At most: the lengths of name and value."""
CHARACTER_BYTES_MAX: Final = 4
"""Of a name, in UTF-8."""


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Returns at least how many bytes a record takes in a batch, before compression.

    >>> record_size(b"k", b"value", ())
    30
    """
    size: i64 = RECORD_OVERHEAD
    if key is not None:
        size += len(key)
    if value is not None:
        size += len(value)
    for name, content in headers:
        size += HEADER_OVERHEAD + len(name) * CHARACTER_BYTES_MAX
        if content is not None:
            size += len(content)
    return size


def columns_size(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Sequence[Headers] | None,
) -> int:
    """Returns the sum of the rows' `record_size`.

    >>> columns_size([b"k", None], [b"v", b""], None)
    50
    """
    lengths = sum(map(len, filter(None, keys))) + sum(map(len, filter(None, values)))
    size: i64 = RECORD_OVERHEAD * len(values) + lengths
    if headers is not None:
        for row in headers:
            for name, content in row:
                size += HEADER_OVERHEAD + len(name) * CHARACTER_BYTES_MAX
                if content is not None:
                    size += len(content)
    return size


def column_sizes(
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Sequence[Headers] | None,
) -> list[int]:
    """Returns the `record_size` of each row."""
    if headers is None:
        return [record_size(key, values[index], ()) for index, key in enumerate(keys)]
    return [record_size(key, values[index], headers[index]) for index, key in enumerate(keys)]
