"""The endpoint over real sockets: it answers, and nobody can hold it up."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from streamlog.errors import RefusedError
from streamlog.metrics import endpoint as module
from streamlog.metrics.endpoint import Endpoint, open_endpoint
from streamlog.metrics.http import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


async def figures() -> Answer:
    await trio.lowlevel.checkpoint()
    return Answer(b"lag 3\n")


async def broken() -> Answer:
    await trio.lowlevel.checkpoint()
    raise ValueError("no figure")


@asynccontextmanager
async def served() -> AsyncIterator[Endpoint]:
    with trio.fail_after(30):
        async with open_endpoint("127.0.0.1", 0, {"/metrics": figures, "/bad": broken}) as it:
            yield it


async def ask(it: Endpoint, request: bytes) -> bytes:
    stream = await trio.open_tcp_stream(it.host, it.port)
    async with stream:
        await stream.send_all(request)
        return b"".join([part async for part in stream])


async def test_paths_are_served_and_others_are_named() -> None:
    async with served() as it:
        answer = await ask(it, REQUEST % b"/metrics")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nlag 3\n")
        missing = await ask(it, REQUEST % b"/")
        assert missing.startswith(b"HTTP/1.1 404 ")
        assert b"/metrics" in missing


async def test_a_figure_that_fails_is_an_answer_and_no_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as it:
        assert (await ask(it, REQUEST % b"/bad")).startswith(b"HTTP/1.1 500 ")
        assert "no figure" in caplog.text
        assert (await ask(it, REQUEST % b"/metrics")).startswith(b"HTTP/1.1 200 ")


async def test_a_head_without_end_is_cut() -> None:
    async with served() as it:
        answer = await ask(it, b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert answer.startswith(b"HTTP/1.1 431 ")


async def test_clients_that_say_nothing_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 0.2)
    async with served() as it:
        silent = [
            await trio.open_tcp_stream(it.host, it.port) for _ in range(module.CONNECTIONS_MAX)
        ]
        assert (await ask(it, REQUEST % b"/metrics")).startswith(b"HTTP/1.1 200 ")
        for stream in silent:
            await trio.aclose_forcefully(stream)


async def test_a_port_that_is_taken_is_refused_with_a_way_out() -> None:
    async with served() as it:
        with pytest.raises(RefusedError, match="in use") as caught:
            async with open_endpoint("127.0.0.1", it.port, {}):
                pytest.fail("served twice")
        assert caught.value.hint is not None
        assert ":0" in caught.value.hint
