"""The bytes of keys, and of values whose topic names no serde: text, raw bytes, else JSON."""

from __future__ import annotations

from streamlog.serde.formats import encode_json as encode_json


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
    return encode_json(value)
