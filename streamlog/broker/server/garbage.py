"""Says what the first bytes of a connection look like when they are not a Kafka request.

A Kafka request opens with its length as a 32-bit number. What other protocols open with reads as an
absurd length (`GET ` is 1.2 GB, KIP-498), so it is refused; whoever reads the log wants to know
which client to look for.
"""

from __future__ import annotations

_OPENINGS = (
    (b"\x16\x03", "a TLS handshake; this listener is plaintext, so switch TLS off in the client"),
    (b"\x15\x03", "a TLS alert; this listener is plaintext, so switch TLS off in the client"),
    (b"GET ", "an HTTP request; this port speaks Kafka's protocol"),
    (b"HEAD", "an HTTP request; this port speaks Kafka's protocol"),
    (b"POST", "an HTTP request; this port speaks Kafka's protocol"),
    (b"PUT ", "an HTTP request; this port speaks Kafka's protocol"),
    (b"DELE", "an HTTP request; this port speaks Kafka's protocol"),
    (b"OPTI", "an HTTP request; this port speaks Kafka's protocol"),
    (b"CONN", "an HTTP proxy request; this port speaks Kafka's protocol"),
    (b"PRI ", "an HTTP/2 preface; this port speaks Kafka's protocol"),
    (b"SSH-", "an SSH greeting; this port speaks Kafka's protocol"),
    (b"\x03\x00\x00", "a remote desktop handshake; this port speaks Kafka's protocol"),
)


def describe_garbage(opening: bytes) -> str | None:
    """Names the protocol that opens so, or None if it is unknown.

    >>> describe_garbage(b"SSH-2.0-OpenSSH_9.2")
    "an SSH greeting; this port speaks Kafka's protocol"
    """
    for prefix, name in _OPENINGS:
        if opening.startswith(prefix):
            return name
    return None


def printable(data: bytes, count_max: int = 32) -> str:
    r"""Shows foreign bytes without letting them act on a terminal.

    >>> printable(b"\x1b[2Jboo")
    "b'\\x1b[2Jboo'"
    """
    shown = repr(bytes(data[:count_max]))
    return f"{shown}..." if len(data) > count_max else shown
