"""A link: the way to one broker for one purpose, over one connection after the other.

Requests are queued, written in order and answered in order (Kafka's rule), as many at a time as
the callers want: pipelining. Three things can happen to a request: it is answered; the connection
breaks and it fails with `ConnectionLostError`, and then nobody knows whether the broker has acted
on it; or it waits while the link connects again, with a back-off between the attempts.

The link's own task (`run`) owns the socket. It connects when there is something to send, asks for
the broker's versions first, and sleeps on when the broker closes an idle connection. A caller who
is cancelled leaves its request behind if it was sent; the answer is read and dropped. A caller
whose answer is overdue takes the connection down: nothing behind that answer would come either.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import trio

from streamlog.client.cluster.frames import FrameReader
from streamlog.client.cluster.handshake import exchange_versions
from streamlog.client.errors import ConnectionLostError, NotKafkaError
from streamlog.errors import StreamlogError
from streamlog.wire.api import spec_of
from streamlog.wire.errors import DecodeError
from streamlog.wire.framing import decode_response, encode_request
from streamlog.wire.messages.produce import ProduceRequest
from streamlog.wire.schema import Request, Response

if TYPE_CHECKING:
    from streamlog.client.backoff import Backoff
    from streamlog.client.cluster.metadata import BrokerAddress
    from streamlog.client.cluster.versions import BrokerVersions
    from streamlog.client.config import ClientConfig
    from streamlog.doors import Network

R = TypeVar("R", bound=Response)

WRITE_BYTES = 1024 * 1024
"""Small requests are written together, up to about this much."""


class Pending(Generic[R]):
    """A request that was handed to a link, and its answer once it is there."""

    __slots__ = ("_done", "correlation_id", "error", "reply", "request", "version")

    def __init__(self, request: Request[R]) -> None:
        self.request = request
        self.version = -1
        self.correlation_id = -1
        self.reply: R | None = None
        self.error: StreamlogError | None = None
        self._done = trio.Event()

    @property
    def is_done(self) -> bool:
        """Whether it was answered or has failed."""
        return self._done.is_set()

    def finish(self, reply: R | None, error: StreamlogError | None = None) -> None:
        """Wakes the caller. The first outcome counts."""
        if not self._done.is_set():
            self.reply, self.error = reply, error
            self._done.set()

    async def wait(self) -> R:
        """Returns the answer, or raises why there is none."""
        await self._done.wait()
        if self.error is not None:
            raise self.error
        return cast("R", self.reply)


class Link:
    """See the module.

    Args:
        address: Of the broker.
        origin: Where the address was learnt, for messages; empty if the user gave it.
        config: The client's.
        network: To dial with.
        backoff: Between attempts to connect.
    """

    def __init__(
        self,
        address: BrokerAddress,
        origin: str,
        config: ClientConfig,
        network: Network,
        backoff: Backoff,
    ) -> None:
        self.address = address
        self.is_closed = False
        self.versions: BrokerVersions | None = None
        """Of the broker, while there is a connection."""
        self._origin = origin
        self._config = config
        self._network = network
        self._backoff = backoff
        self._unsent: deque[Pending[Response]] = deque()
        self._in_flight: deque[Pending[Response]] = deque()
        self._demand = trio.Event()
        self._connection_scope: trio.CancelScope | None = None
        self._run_scope = trio.CancelScope()
        self._broken_by: StreamlogError | None = None
        self._next_correlation_id = 0
        self._slots = trio.Semaphore(config.requests_in_flight_max)

    @property
    def is_connected(self) -> bool:
        """Whether a request could be written at once."""
        return self.versions is not None

    @property
    def load(self) -> int:
        """How many requests wait or are unanswered."""
        return len(self._unsent) + len(self._in_flight)

    def submit(self, request: Request[R]) -> Pending[R]:
        """Queues a request without waiting; those who do that have a bound of their own."""
        pending = Pending(request)
        if self.is_closed:
            pending.finish(None, ConnectionLostError(f"the link to {self.address} is closed"))
            return pending
        self._unsent.append(cast("Pending[Response]", pending))
        self._demand.set()
        return pending

    async def call(self, request: Request[R], timeout_ms: float) -> R:
        """Sends a request and returns its answer.

        Raises:
            ConnectionLostError: it may or may not have been acted on.
            UnsupportedVersionError: the broker does not speak it.
        """
        async with self._slots:
            return await self.wait(self.submit(request), timeout_ms)

    async def wait(self, pending: Pending[R], timeout_ms: float) -> R:
        """Waits for the answer to a request; overdue, it takes the connection down."""
        try:
            with trio.move_on_after(timeout_ms / 1000) as scope:
                return await pending.wait()
        finally:
            if pending in self._unsent:
                self._unsent.remove(cast("Pending[Response]", pending))
            elif scope.cancelled_caught and not pending.is_done:
                self._break(overdue(self.address, pending.request, timeout_ms))
        raise overdue(self.address, pending.request, timeout_ms)

    def close(self) -> None:
        """Ends the link; what is not answered fails."""
        self.is_closed = True
        self._run_scope.cancel()
        self._fail_all(ConnectionLostError(f"the link to {self.address} is closed"))

    async def run(self) -> None:
        """Connects when there is something to send, for as long as the link is open."""
        try:
            with self._run_scope:
                while not self.is_closed:
                    await self._demand.wait()
                    if self._unsent:
                        await self._connect_and_serve()
                    else:
                        self._demand = trio.Event()
        finally:
            self.close()

    async def _connect_and_serve(self) -> None:
        try:
            stream, reader = await self._connect()
        except StreamlogError as error:
            self._fail_all(error)
            await trio.sleep(self._backoff.next_ms() / 1000)
            return
        self._backoff.reset()
        try:
            await self._serve(stream, reader)
        finally:
            self.versions = None
            why = self._broken_by or ConnectionLostError(f"the link to {self.address} is closed")
            while self._in_flight:
                self._in_flight.popleft().finish(None, why)
            await trio.aclose_forcefully(stream)

    async def _connect(self) -> tuple[trio.abc.Stream, FrameReader]:
        """Dials and learns the broker's versions."""
        config = self._config
        with trio.move_on_after(config.connect_timeout_ms / 1000):
            try:
                stream = await self._network.connect(self.address.host, self.address.port)
            except OSError as error:
                raise self._unreachable(reason_of(error)) from error
            reader = FrameReader(stream, str(self.address), config.response_bytes_max)
            try:
                self.versions = await exchange_versions(
                    stream, reader, config.client_id, str(self.address)
                )
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return stream, reader
        raise self._unreachable(f"no answer within {config.connect_timeout_ms:,} ms")

    def _unreachable(self, reason: str) -> ConnectionLostError:
        if self._origin:
            return ConnectionLostError(
                f"nobody answers at {self.address}, the address that broker "
                f"{self.address.node_id} advertises (learnt from {self._origin}): {reason}",
                hint="Is the broker's advertised address right as seen from here?",
            )
        return ConnectionLostError(
            f"nobody answers at {self.address}: {reason}",
            hint="Is the broker running? `streamlog server` starts one",
        )

    async def _serve(self, stream: trio.abc.Stream, reader: FrameReader) -> None:
        self._broken_by = None
        with trio.CancelScope() as self._connection_scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, reader)
                await self._write(stream)

    def _break(self, error: StreamlogError) -> None:
        """Takes the connection down; what is in flight fails with this."""
        self._broken_by = self._broken_by or error
        if self._connection_scope is not None:
            self._connection_scope.cancel()

    async def _write(self, stream: trio.abc.Stream) -> None:
        while True:
            frames = self._take_frames()
            if frames:
                try:
                    await stream.send_all(frames[0] if len(frames) == 1 else b"".join(frames))
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    self._break(
                        ConnectionLostError(f"the connection to {self.address} broke: {error}")
                    )
                    await trio.sleep_forever()
            if not self._unsent:
                self._demand = trio.Event()
                await self._demand.wait()

    def _take_frames(self) -> list[bytes]:
        """Encodes what is to be written now, and counts it as in flight."""
        frames: list[bytes] = []
        size = 0
        while self._unsent and size < WRITE_BYTES:
            pending = self._unsent.popleft()
            if pending.is_done:
                continue
            try:
                frame = self._encode(pending)
            except StreamlogError as error:
                pending.finish(None, error)
                continue
            frames.append(frame)
            size += len(frame)
        return frames

    def _encode(self, pending: Pending[Response]) -> bytes:
        assert self.versions is not None
        spec = spec_of(type(pending.request))
        pending.version = self.versions.choose(spec.key, str(self.address))
        pending.correlation_id = self._next_correlation_id
        self._next_correlation_id = (self._next_correlation_id + 1) & 0x7FFFFFFF
        frame = encode_request(
            pending.request, pending.version, pending.correlation_id, self._config.client_id
        )
        if isinstance(pending.request, ProduceRequest) and pending.request.acks == 0:
            pending.finish(spec.response())
        else:
            self._in_flight.append(pending)
        return frame

    async def _read(self, reader: FrameReader) -> None:
        while True:
            try:
                frame = await reader.next_frame()
                self._dispatch(frame)
            except ConnectionLostError as error:
                self._break(error)
                return
            except (DecodeError, NotKafkaError) as error:
                # The broker may have acted on what is under way all the same.
                self._break(
                    ConnectionLostError(f"{self.address} broke the protocol: {error.message}")
                )
                return

    def _dispatch(self, frame: memoryview) -> None:
        if not self._in_flight:
            raise DecodeError(f"{self.address} sent a response that nobody asked for")
        pending = self._in_flight[0]
        response = spec_of(type(pending.request)).response
        correlation_id, reply = decode_response(response, pending.version, frame)
        if correlation_id != pending.correlation_id:
            raise DecodeError(
                f"{self.address} answered request {correlation_id} instead of "
                f"{pending.correlation_id}"
            )
        self._in_flight.popleft()
        pending.finish(reply)

    def _fail_all(self, error: StreamlogError) -> None:
        for queue in (self._in_flight, self._unsent):
            while queue:
                queue.popleft().finish(None, error)


def overdue(address: BrokerAddress, request: object, timeout_ms: float) -> ConnectionLostError:
    """Says that no answer came in time."""
    return ConnectionLostError(
        f"{address} did not answer {type(request).__name__} within {timeout_ms:,.0f} ms"
    )


def reason_of(error: OSError) -> str:
    """Returns what the system says; trio keeps that behind "all attempts failed"."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    first = cause if isinstance(cause, OSError) else error
    return os.strerror(first.errno).lower() if first.errno else str(first)
