"""One HTTP/2 connection over a stream that was taken over, with gRPC's calls in both directions.

We are its server (POST /grpc) or its client (POST /session). What nobody takes is not acknowledged, so that
who sends too much has to wait; what the other does not take stops who writes here.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from estiva.api.buildkit.rpc import (
    CANCELLED,
    INTERNAL,
    MESSAGE,
    UNAVAILABLE,
    UNIMPLEMENTED,
    RpcError,
    of_trailers,
)
from estiva.errors import brief

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from estiva.api import hijack

WINDOW = 1 << 20  # bytes of one call that may be under way
ALL = 8 << 20  # and of all calls of a connection
HIGH = 1 << 20  # bytes of whole messages that wait here, from which on the sender has to
PARTIAL = 2 * MESSAGE  # bytes of messages of all calls that are not whole yet
CALLS = 100  # at once
HEADERS = 1 << 16  # bytes of one call's
FRAME = 1 << 18  # bytes that come at once


class Call:
    """One call: messages both ways, each of which may end by itself."""

    def __init__(self, connection: Connection, number: int, headers: dict[str, str]) -> None:
        self.connection = connection
        self.number = number
        self.headers = headers  # of the request; of a call of ours then those of the answer, and trailers
        self.error: RpcError | None = None
        self.task: asyncio.Task[None] | None = None  # who answers
        self._partial = bytearray()
        self._messages: deque[bytes] = deque()
        self._waiting = 0  # bytes of those
        self._unacknowledged = 0
        self._ended = False
        self._arrived = asyncio.Event()
        self.room = asyncio.Event()
        self._answered = False  # response headers are sent

    # --- what comes ---

    def data(self, data: bytes, flow: int) -> None:
        """Bytes of messages; `flow` is what they count for."""
        self._unacknowledged += flow
        self._partial += data
        partial = self._partial
        at = 0
        while len(partial) - at >= 5:
            packed, size = struct.unpack_from(">BL", partial, at)
            if packed or size > MESSAGE:
                why = "messages are not compressed here" if packed else f"a message has over {MESSAGE} bytes"
                self.finish(RpcError(UNIMPLEMENTED, why))
                self.connection.reset(self, ErrorCodes.CANCEL)
                return
            if len(partial) - at - 5 < size:
                break
            self._messages.append(bytes(partial[at + 5 : at + 5 + size]))
            self._waiting += size + 5
            at += 5 + size
        del partial[:at]
        if len(partial) > WINDOW and self.connection.partial() > PARTIAL:
            self.finish(RpcError(UNAVAILABLE, "too many long messages are under way"))
            self.connection.reset(self, ErrorCodes.CANCEL)
            partial.clear()
        if self._waiting < HIGH:
            self._acknowledge()
        self._arrived.set()

    def _acknowledge(self) -> None:
        if self._unacknowledged:
            self.connection.acknowledge(self, self._unacknowledged)
            self._unacknowledged = 0

    def finish(self, error: RpcError | None = None) -> None:
        if not self._ended:  # a reset after the end says nothing more
            self._ended = True
            self.error = error
        self._arrived.set()
        self.room.set()

    @property
    def over(self) -> bool:
        """Whether the other has ended: nothing more comes."""
        return self._ended

    async def receive(self) -> list[bytes]:
        """The messages that have come, at least one; [] at the end. Raises RpcError."""
        while not self._messages:
            if self._ended:
                if self.error is not None:
                    raise self.error
                return []
            self._arrived.clear()
            await self._arrived.wait()
        found = list(self._messages)
        self._messages.clear()
        self._waiting = 0
        if not self._ended:
            self._acknowledge()
        await self.connection.flush()
        return found

    async def one(self) -> bytes:
        """The only message of a call that has one. Raises RpcError."""
        found = await self.receive()
        if len(found) != 1:
            raise RpcError(INTERNAL, "one message was expected")
        return found[0]

    # --- what goes ---

    async def send(self, messages: Iterable[bytes]) -> None:
        """Some messages in one go. Raises RpcError where the call has ended."""
        await self._answer()
        data = b"".join(struct.pack(">BL", 0, len(each)) + each for each in messages)
        await self.connection.send(self, data)

    async def _answer(self) -> None:
        if not self._answered and not self.connection.client:
            self._answered = True
            self.connection.headers(self, [(":status", "200"), ("content-type", "application/grpc")])

    async def close(self, error: RpcError | None = None) -> None:
        """Nothing more comes from us; of a server with how it went."""
        if self.connection.client:
            self.connection.end(self)
        else:
            await self._answer()
            trailers = error.trailers() if error is not None else [("grpc-status", "0"), ("grpc-message", "")]
            self.connection.headers(self, trailers, end=True)
        await self.connection.flush()

    def cancel(self) -> None:
        self.connection.reset(self, ErrorCodes.CANCEL)
        self.finish(RpcError(CANCELLED, "the call was cancelled"))


class Connection:
    """`answer` answers the calls of the other side, where that is the client."""

    def __init__(
        self,
        stream: hijack.Stream,
        *,
        answer: Callable[[Call], Awaitable[None]] | None = None,
    ) -> None:
        self.client = answer is None
        self.lost = False
        self._stream = stream
        self._answerer = answer
        self._h2 = H2Connection(H2Configuration(client_side=self.client, header_encoding="utf-8"))
        self._h2.local_settings = Settings(  # not by update: what is pending is not sent
            client=self.client,
            initial_values={
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
                SettingCodes.MAX_CONCURRENT_STREAMS: CALLS,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEADERS,
                SettingCodes.MAX_FRAME_SIZE: FRAME,
                SettingCodes.ENABLE_PUSH: 0,
            },
        )
        self._h2.max_inbound_frame_size = FRAME  # else known when the other has acknowledged it
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(ALL)
        self._calls: dict[int, Call] = {}

    async def run(self) -> None:
        """Until the other goes; then all calls have ended."""
        try:
            await self.flush()
            while data := await self._stream.read():
                try:
                    events = self._h2.receive_data(data)
                except (ProtocolError, UnicodeDecodeError):  # the latter of headers that are no text
                    await self.flush()  # says why
                    return
                for event in events:
                    self._event(event)
                await self.flush()
                if self._overlong():
                    return
        except (RpcError, ConnectionResetError, BrokenPipeError):
            pass  # it has gone
        finally:
            self.lost = True
            answering = [call.task for call in self._calls.values() if call.task is not None]
            for call in self._calls.values():
                call.finish(RpcError(UNAVAILABLE, "the connection was closed"))
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)
            self._calls.clear()
            self._stream.close()

    def _overlong(self) -> bool:
        """Whether a frame comes that is longer than may be: h2 looks only once it is whole, up to 16 MB."""
        coming = getattr(self._h2.incoming_buffer, "_data", b"")
        return len(coming) >= 3 and int.from_bytes(coming[:3]) > FRAME

    def _event(self, event: Event) -> None:
        if isinstance(event, WindowUpdated) and not event.stream_id:
            for call in self._calls.values():
                call.room.set()
            return
        number = getattr(event, "stream_id", None)
        if isinstance(event, RequestReceived) and self._answerer is not None:
            call = Call(self, event.stream_id, _headers(event.headers))
            self._calls[call.number] = call
            call.task = asyncio.create_task(self._serve(call))
            return
        found = self._calls.get(number) if number else None
        if found is None:
            if isinstance(event, DataReceived):  # of a call that has ended: it counts for the connection
                with contextlib.suppress(ProtocolError):
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, DataReceived):
            found.data(event.data, event.flow_controlled_length)
        elif isinstance(event, (ResponseReceived, TrailersReceived)):
            found.headers = {**found.headers, **_headers(event.headers)}
        elif isinstance(event, StreamEnded):
            found.finish(of_trailers(found.headers) if self.client else None)
        elif isinstance(event, StreamReset):
            found.finish(RpcError(CANCELLED, "the call was cancelled"))
            if found.task is not None:
                found.task.cancel()
            self._calls.pop(found.number, None)
        elif isinstance(event, WindowUpdated):
            found.room.set()

    async def _serve(self, call: Call) -> None:
        assert self._answerer is not None
        error: RpcError | None = None
        try:
            try:
                await self._answerer(call)
            except RpcError as told:
                error = told
            except Exception as unforeseen:  # of this call alone
                path = brief(call.headers.get(":path", ""), 100)
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"the call {path}", "exception": unforeseen}
                )
                error = RpcError(INTERNAL, f"internal error: {type(unforeseen).__name__}")
            await call.close(error)
        except RpcError:
            pass  # nobody waits for it
        finally:
            self._calls.pop(call.number, None)

    # --- what calls do ---

    async def call(self, path: str, metadata: Iterable[tuple[str, str]] = ()) -> Call:
        """Begin a call of the other side. Raises RpcError."""
        if self.lost or len(self._calls) >= CALLS:
            raise RpcError(UNAVAILABLE, "the session has ended" if self.lost else "too many calls at once")
        number = self._h2.get_next_available_stream_id()
        call = Call(self, number, {})
        headers = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
            ("content-type", "application/grpc"), ("user-agent", "estiva"), ("te", "trailers"), *metadata,
        ]  # fmt: skip
        self.headers(call, headers)
        self._calls[number] = call
        await self.flush()
        return call

    def drop(self, call: Call) -> None:
        """A call of ours that nobody waits for any more."""
        if not call.over:
            call.cancel()
        self._calls.pop(call.number, None)

    def headers(self, call: Call, headers: list[tuple[str, str]], end: bool = False) -> None:
        try:
            self._h2.send_headers(call.number, headers, end_stream=end)
        except ProtocolError as error:
            raise RpcError(UNAVAILABLE, f"the call has ended: {error}") from None

    def end(self, call: Call) -> None:
        with contextlib.suppress(ProtocolError):
            self._h2.end_stream(call.number)

    def reset(self, call: Call, code: ErrorCodes) -> None:
        with contextlib.suppress(ProtocolError):
            self._h2.reset_stream(call.number, code)

    def partial(self) -> int:
        """Bytes of messages that are not whole yet."""
        return sum(len(call._partial) for call in self._calls.values())

    def acknowledge(self, call: Call, size: int) -> None:
        with contextlib.suppress(ProtocolError):
            self._h2.acknowledge_received_data(size, call.number)

    async def send(self, call: Call, data: bytes) -> None:
        """Raises RpcError."""
        view = memoryview(data)
        try:
            while view:
                call.room.clear()  # before it is looked at: what comes from now on is not missed
                size = min(self._h2.local_flow_control_window(call.number), self._h2.max_outbound_frame_size)
                if size <= 0:
                    await self.flush()
                    if self.lost or call.error is not None or self.client and call.over:
                        raise call.error or RpcError(UNAVAILABLE, "the call has ended")
                    await call.room.wait()
                    continue
                self._h2.send_data(call.number, bytes(view[:size]))
                view = view[size:]
            await self.flush()
        except ProtocolError as error:
            raise call.error or RpcError(UNAVAILABLE, f"the call has ended: {error}") from None

    async def flush(self) -> None:
        """Raises RpcError where nobody is there."""
        data = self._h2.data_to_send()
        if data:
            try:
                await self._stream.write(data)
            except ConnectionResetError:
                raise RpcError(UNAVAILABLE, "the connection was closed") from None


def _headers(pairs: Iterable[tuple[str | bytes, str | bytes]]) -> dict[str, str]:
    return {str(name): str(value) for name, value in pairs}  # text, as we have asked for
