"""The bytes of keys, and of values whose topic names no serde: text, raw bytes, else JSON."""

from __future__ import annotations

import msgspec

_encode_json = msgspec.json.Encoder(order="deterministic").encode


def encode_plain(value: object) -> bytes | None:
    """Returns text as UTF-8, bytes as they are, `None` as null, and anything else as JSON.

    >>> encode_plain("UA"), encode_plain(b"UA"), encode_plain(("EWR", 5)), encode_plain(None)
    (b'UA', b'UA', b'["EWR",5]', None)
    """
    kind = value.__class__
    if kind is str:
        return value.encode()  # type: ignore[attr-defined, no-any-return]
    if kind is bytes:
        return value  # type: ignore[return-value]
    if value is None:
        return None
    return _encode_json(value)


def encode_json(value: object) -> bytes:
    """Returns JSON, dictionaries in sorted order, so that equal values have equal bytes."""
    return _encode_json(value)
