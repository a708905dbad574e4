"""As much of HTTP/1.1 as a scraper and a probe need: GET and HEAD, one request per connection.

The request's head is parsed strictly (RFC 9112): what is unclear is refused and never guessed. A
request may not have a body. The answer says `Connection: close`, so nothing has to be kept, and the
connection's end says where it ends to clients of HTTP/1.0 too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

HEAD_BYTES_MAX: Final = 8192
"""Of a request's head. Scrapers send some hundred bytes."""

HEAD_END: Final = b"\r\n\r\n"

REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rf"({_TOKEN}) (\S+) HTTP/(\d)\.(\d)", re.ASCII)
_FIELD: Final = re.compile(rf"({_TOKEN}):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*", re.ASCII)


class BadRequestError(Exception):
    """A request that is refused; says with which status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for."""

    method: str
    path: str
    """Without the query."""

    @property
    def wants_body(self) -> bool:
        """Whether the answer has a body."""
        return self.method != "HEAD"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"


def parse_request(head: bytes) -> Request:
    r"""Reads a request's head, the empty line at its end included.

    Raises:
        BadRequestError: If it is none, or asks for what is not served here.

    >>> parse_request(b"GET /metrics?name=lag HTTP/1.1\r\nHost: localhost\r\n\r\n")
    Request(method='GET', path='/metrics')
    """
    line, *fields = head.removesuffix(HEAD_END).decode("latin-1").split("\r\n")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise BadRequestError(400, "this is no HTTP request")
    method, target, major, minor = found.groups()
    if major != "1":
        raise BadRequestError(505, "only HTTP/1 is spoken here")
    names = [_field_name(field) for field in fields]
    hosts = names.count("host")
    if hosts > 1 or (minor != "0" and hosts == 0):
        raise BadRequestError(400, "a request names its host once")
    if method not in ("GET", "HEAD"):
        raise BadRequestError(405, "only GET and HEAD are served here")
    if "content-length" in names or "transfer-encoding" in names:
        raise BadRequestError(400, "a request has no body here")
    if not target.startswith("/"):
        raise BadRequestError(400, "the target is no path")
    return Request(method, target.partition("?")[0])


def _field_name(line: str) -> str:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise BadRequestError(400, "a header field is malformed")
    return found[1].lower()


def encode_answer(answer: Answer, *, with_body: bool = True) -> bytes:
    """Writes an answer; that to a HEAD has everything but the body."""
    lines = [
        f"HTTP/1.1 {answer.status} {REASONS[answer.status]}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if answer.status == 405:
        lines.append("Allow: GET, HEAD")
    head = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"
    return head + answer.body if with_body else head
