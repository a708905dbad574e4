"""Requests are read strictly: what is unclear is refused, and nothing else can happen."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.metrics.http import Answer, BadRequestError, Request, encode_answer, parse_request


def head(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def test_what_curl_and_prometheus_send_is_understood() -> None:
    curl = head(
        "GET /healthz HTTP/1.1", "Host: localhost:9400", "User-Agent: curl/8.5.0", "Accept: */*"
    )
    assert parse_request(curl) == Request("GET", "/healthz")
    assert parse_request(head("HEAD / HTTP/1.1", "host:x")) == Request("HEAD", "/")
    assert parse_request(head("GET /metrics?a=b HTTP/1.0")) == Request("GET", "/metrics")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET /metrics"], 400),
        (["GET  /metrics HTTP/1.1", "Host: x"], 400),
        (["GET /metrics HTTP/2.0", "Host: x"], 505),
        (["GET /metrics HTTP/1.1"], 400),
        (["GET /metrics HTTP/1.1", "Host: x", "Host: y"], 400),
        (["GET /metrics HTTP/1.1", "Host : x"], 400),
        (["GET /metrics HTTP/1.1", "Host: x", " folded"], 400),
        (["GET /metrics HTTP/1.1", "Host: x\x00"], 400),
        (["GET http://x/metrics HTTP/1.1", "Host: x"], 400),
        (["POST /metrics HTTP/1.1", "Host: x"], 405),
        (["GET /metrics HTTP/1.1", "Host: x", "Content-Length: 5"], 400),
        (["GET /metrics HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"], 400),
    ],
)
def test_what_is_unclear_is_refused(lines: list[str], status: int) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_request(head(*lines))
    assert caught.value.status == status


@given(st.binary())
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    with suppress(BadRequestError):
        assert parse_request(data).path.startswith("/")


def test_an_answer_to_head_has_no_body_but_its_length() -> None:
    full = encode_answer(Answer(b"ok\n"))
    bare = encode_answer(Answer(b"ok\n"), with_body=False)
    assert full == bare + b"ok\n"
    assert b"Content-Length: 3\r\n" in bare
