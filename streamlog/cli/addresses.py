"""Addresses to listen on, as people write them."""

from __future__ import annotations

from streamlog.client.config import parse_address
from streamlog.errors import UsageError


def listen_address(text: str) -> tuple[str, int]:
    """Splits `HOST:PORT` or `:PORT`; port 0 takes a free one.

    >>> listen_address(":9092")
    ('0.0.0.0', 9092)
    """
    host, colon, port = text.rpartition(":")
    if colon and port == "0":
        return host.removeprefix("[").removesuffix("]") or "0.0.0.0", 0
    if colon and not host:
        text = f"0.0.0.0:{port}"
    try:
        return parse_address(text)
    except UsageError as error:
        raise UsageError(
            f"{text!r} is no address to listen on",
            hint="Write it as HOST:PORT, e.g. 127.0.0.1:9092, or with port 0 for a free one",
        ) from error


def format_address(host: str, port: int) -> str:
    """Writes an address; a host of IPv6 stands in brackets.

    >>> format_address("::1", 9092)
    '[::1]:9092'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
