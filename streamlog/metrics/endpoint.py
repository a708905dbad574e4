"""The endpoint beside a worker or a broker: `/metrics` for scrapers, `/healthz` for supervisors.

Everything is bounded, since whoever reaches the port may try: how many connections are open, how
long a request's head is and takes to come, how long the answer takes to go. A connection serves one
request. Routes are called in the event loop, so an endpoint that answers says that the loop runs.
"""

from __future__ import annotations

import errno
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from streamlog.doors import TcpNetwork
from streamlog.errors import RefusedError
from streamlog.metrics.http import (
    HEAD_BYTES_MAX,
    HEAD_END,
    Answer,
    BadRequestError,
    encode_answer,
    parse_request,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from streamlog.doors import Network

    Routes = Mapping[str, Callable[[], Awaitable[Answer]]]

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 16
"""Open at once; more wait to be accepted, and none stays for long."""
REQUEST_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
ACCEPT_PAUSE_S = 0.1
"""After an accept that failed: the system is out of something that others may give back."""


class Endpoint:
    """A served set of paths; made by `open_endpoint`."""

    def __init__(self, listeners: list[trio.SocketListener], routes: Routes) -> None:
        self._listeners = listeners
        self._routes = routes
        self._places = trio.Semaphore(CONNECTIONS_MAX)
        address = listeners[0].socket.getsockname()
        self.host: str = address[0]
        self.port: int = address[1]

    async def run(self) -> None:
        """Serves until cancelled."""
        async with trio.open_nursery() as nursery:
            for listener in self._listeners:
                nursery.start_soon(self._accept, listener, nursery)

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            await self._places.acquire()
            try:
                stream = await listener.accept()
            except OSError as error:
                self._places.release()
                logger.warning("a connection to /metrics was not accepted: %s", error)
                await trio.sleep(ACCEPT_PAUSE_S)
            except BaseException:
                self._places.release()
                raise
            else:
                nursery.start_soon(self._serve, stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                with trio.move_on_after(REQUEST_TIMEOUT_S) as waiting:
                    reply = await self._reply(stream)
                if not waiting.cancelled_caught:
                    with trio.move_on_after(ANSWER_TIMEOUT_S):
                        await stream.send_all(reply)
                        await stream.send_eof()
                        # To close with something unread would take the answer away.
                        while await stream.receive_some(HEAD_BYTES_MAX):
                            pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            logger.debug("a client of /metrics went away")
        finally:
            self._places.release()

    async def _reply(self, stream: trio.SocketStream) -> bytes:
        try:
            head = await _read_head(stream)
            request = parse_request(head)
            route = self._routes.get(request.path)
            if route is None:
                paths = ", ".join(sorted(self._routes))
                raise BadRequestError(404, f"there is {paths}")
            return encode_answer(await route(), with_body=request.wants_body)
        except BadRequestError as error:
            return encode_answer(Answer(f"{error.why}\n".encode(), error.status))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception:
            # Whoever is watched must not fall because of a figure.
            logger.exception("figures could not be gathered")
            return encode_answer(Answer(b"see the log\n", 500))


async def _read_head(stream: trio.SocketStream) -> bytes:
    head = bytearray()
    while HEAD_END not in head:
        if len(head) > HEAD_BYTES_MAX:
            raise BadRequestError(431, f"a request has at most {HEAD_BYTES_MAX} bytes here")
        received = await stream.receive_some(HEAD_BYTES_MAX)
        if not received:
            raise BadRequestError(400, "the request was cut off")
        head += received
    head_size = head.index(HEAD_END) + len(HEAD_END)
    if head_size > HEAD_BYTES_MAX:
        raise BadRequestError(431, f"a request has at most {HEAD_BYTES_MAX} bytes here")
    return bytes(head[:head_size])


@asynccontextmanager
async def open_endpoint(
    host: str, port: int, routes: Routes, network: Network | None = None
) -> AsyncIterator[Endpoint]:
    """Serves routes (by path) while the block runs.

    Raises:
        RefusedError: If the address cannot be listened on.
    """
    try:
        listeners = list(await (network or TcpNetwork()).listen(host, port))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise RefusedError(
            f"cannot serve metrics on {host}:{port}: {(error.strerror or 'refused').lower()}",
            hint=f"Choose another: --metrics {host}:0 takes a free port",
        ) from error
    endpoint = Endpoint(listeners, routes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(endpoint.run)
        try:
            yield endpoint
        finally:
            nursery.cancel_scope.cancel()
            for listener in listeners:
                await trio.aclose_forcefully(listener)
