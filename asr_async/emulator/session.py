"""The server side of one connection: the base class of the emulated protocols.

Knows no protocol: it reads messages, runs the engine's work beside the reading, injects faults and closes the
connection. A protocol supplies the table of its lifecycle and, in the hooks, the meaning of a message.

One connection is one task group. The reader runs in it, beside a task that opens the engine or lets it finish while
reading continues. Any part that has to end the connection raises an `EndConnection`: this cancels the other tasks,
closes the recognition, and only then sends the reason to the client. Faults are injected by the reader, or by a task
that waits for their time; a fault that ends the connection raises an `EndConnection` too.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar

import msgspec
from aiohttp import WSCloseCode, WSMsgType

from .audio_decoder import SAMPLE_BYTES
from .engines.engine import EngineRefusedError
from .faults import Close, Cut, Delay, Fail, Garbage, HalfOpen, MuteFinish, SlowReader, Throttle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from .connection import ClientConnection
    from .faults import ConnectionFaults, Fault, Moment
    from .lifecycle import Lifecycle

__all__ = [
    "CutConnection",
    "EndConnection",
    "VendorSession",
    "end_on_shutdown",
    "engine_refusals",
    "first_end",
]

_logger = logging.getLogger("asr_async")
_GARBAGE = {WSMsgType.TEXT: b'{"header": {"event": "resul', WSMsgType.BINARY: b"\x00\xff\x13\x37" * 8}
_State = TypeVar("_State", bound=enum.Enum)
_Step = TypeVar("_Step", bound=enum.Enum)


class EndConnection(Exception):  # noqa: N818 - ends a connection, not always an error
    """The connection ends: the client has left, or the server closes it with this code and reason."""

    def __init__(self, reason: str, *, close_code: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close_code = close_code


class CutConnection(EndConnection):
    """The TCP connection is reset, because a fault demands it."""

    def __init__(self) -> None:
        super().__init__("cut on demand", close_code=WSCloseCode.ABNORMAL_CLOSURE)


class _HoldHalfOpen(EndConnection):
    """The connection is served no more but stays open, because a fault demands it."""

    def __init__(self) -> None:
        super().__init__("half open on demand", close_code=WSCloseCode.ABNORMAL_CLOSURE)


class VendorSession(ABC, Generic[_State, _Step]):
    """The session of one client; a protocol's subclass follows its lifecycle table."""

    engine_codes: ClassVar[Mapping[str, str]]
    """The vendor's error code for each kind of `EngineRefusedError`."""

    def __init__(
        self, connection: ClientConnection, faults: ConnectionFaults, lifecycle: Lifecycle[_State, _Step]
    ) -> None:
        self._connection = connection
        self._faults = faults
        self._lifecycle = lifecycle
        self._tasks = asyncio.TaskGroup()
        """The tasks that run beside the reader."""
        self._client_timeout: asyncio.Timeout | None = None
        """Bounds the present wait for a message; None while no wait is under way."""
        self._started = asyncio.Event()
        """Set once the client has started a task or sent audio."""
        self._is_finish_muted = False
        """True if a fault suppresses the answer to the end of the audio."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._lifecycle.state.value}>"

    @abstractmethod
    async def _on_text(self, text: str) -> None:
        """Process a text message; an `EndConnection` raised here or in a task beside it ends the connection."""

    @abstractmethod
    async def _on_audio(self, data: bytes) -> None:
        """Process a binary message; nothing more is read before this returns, which slows the client down."""

    @abstractmethod
    def _out_of_order(self, step: _Step) -> Exception:
        """Return the error for a step that the lifecycle does not allow in its present state."""

    @abstractmethod
    def _timed_out(self) -> EndConnection:
        """Return the end of a connection after too long a silence of the client."""

    @abstractmethod
    def _failure(self, code: str, message: str) -> Exception | None:
        """Return the error of a failure that a fault demands; None if nothing is running that could fail."""

    @abstractmethod
    async def _close_recognition(self) -> None:
        """Close the recognition and forget it; may be called again after an interruption."""

    @abstractmethod
    async def _send_reason(self, end: EndConnection) -> None:
        """Report the error to the client, before its connection is closed."""

    async def serve(self, shutdown: asyncio.Event) -> None:
        """Serve the client until it leaves, the server closes the connection, or `shutdown` is set."""
        try:
            await self._serve(shutdown)
        except* EndConnection as ends:
            await self._close(first_end(ends), shutdown)

    async def _serve(self, shutdown: asyncio.Event) -> None:
        try:
            async with self._tasks:
                self._tasks.create_task(end_on_shutdown(shutdown))
                if self._connection.is_delayed or not self._faults.is_empty:
                    self._tasks.create_task(self._connection.deliver_delayed())
                for fault in self._faults.timed:
                    self._tasks.create_task(self._inject_timed(fault))
                await self._inject_at("handshake")
                await self._read()
        finally:
            await self._close_recognition()

    async def _read(self) -> NoReturn:
        while True:
            message = await self._receive()
            if message.type is WSMsgType.TEXT:
                await self._on_text(message.data)
            elif message.type is WSMsgType.BINARY:
                await self._on_audio(message.data)
            else:  # closed by the client, or lost
                raise EndConnection("the client left", close_code=WSCloseCode.OK)

    async def _receive(self) -> Any:
        """Wait for the next message; pings are answered meanwhile and do not restart the timeout."""
        try:
            async with asyncio.timeout(None) as self._client_timeout:
                self._restart_client_timeout()
                message = await self._connection.receive()
        except TimeoutError:
            raise self._timed_out() from None
        finally:
            self._client_timeout = None
        await self._connection.throttle(message)
        return message

    def _restart_client_timeout(self) -> None:
        """Restart the timeout of the present wait, with the limit of the present state."""
        if self._client_timeout is not None:
            timeout_s = self._lifecycle.client_timeout_s
            now = asyncio.get_running_loop().time()
            self._client_timeout.reschedule(None if timeout_s is None else now + timeout_s)

    def _advance(self, step: _Step) -> None:
        if not self._lifecycle.allows(step):
            raise self._out_of_order(step)
        self._lifecycle.advance(step)

    async def _send(self, message: msgspec.Struct) -> None:
        await self._connection.send(msgspec.json.encode(message))

    async def _send_awaited(self, message: msgspec.Struct, on_read: Callable[[], None]) -> None:
        """Send a message that the client has to wait for; call `on_read` when the client has read it.

        What the client sent before that call, it sent without waiting.
        """
        await self._connection.ping(on_read)
        await self._send(message)

    # --- faults -------------------------------------------------------------------------------------------------------

    async def _inject_at(self, moment: Moment) -> None:
        """Inject the faults that are due at this moment."""
        if moment == "start":
            self._started.set()
        for fault in self._faults.pop_at(moment):
            await self._inject(fault)

    async def _inject_after_audio(self, samples_bytes: int, sample_rate: int) -> None:
        """Inject the faults that are due once this much more audio has been processed."""
        self._started.set()
        for fault in self._faults.pop_after_audio(samples_bytes * 1000 / (sample_rate * SAMPLE_BYTES)):
            await self._inject(fault)

    async def _inject_timed(self, fault: Fault) -> None:
        assert fault.trigger.after_s is not None  # noqa: S101 - true of all `timed` faults
        await asyncio.sleep(fault.trigger.after_s)
        if isinstance(fault, Fail):
            await self._started.wait()
        for due in self._faults.pop(fault):
            await self._run_beside_reader(functools.partial(self._inject, due))

    async def _run_beside_reader(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run work in a task of its own; a protocol that keeps its connections after a failure reports it here."""
        await work()

    async def _inject(self, fault: Fault) -> None:
        match fault:
            case Cut():
                raise CutConnection
            case HalfOpen():
                raise _HoldHalfOpen
            case Close():
                raise EndConnection(fault.reason, close_code=fault.code)
            case Fail():
                self._fail(fault.code or self.engine_codes["broken"], fault.message)
            case Throttle():
                self._fail(self.engine_codes["capacity"], "throttled on demand")
            case Garbage():
                kind = WSMsgType.BINARY if fault.binary else WSMsgType.TEXT
                await self._connection.send(_GARBAGE[kind], kind)
            case MuteFinish():
                self._is_finish_muted = True
            case Delay():
                self._connection.delay(fault.by_ms / 1000)
            case SlowReader():
                self._connection.slow_down(fault.bytes_per_second)

    def _fail(self, code: str, message: str) -> None:
        if failure := self._failure(code, message):
            raise failure

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _close(self, end: EndConnection, shutdown: asyncio.Event) -> None:
        match end:
            case CutConnection():
                self._connection.cut()
            case _HoldHalfOpen():
                await self._connection.hold_half_open(shutdown)
            case _:
                await self._connection.close(end.close_code, end.reason, lambda: self._send_reason(end))


async def end_on_shutdown(shutdown: asyncio.Event) -> NoReturn:
    """Wait for the shutdown of the server, then end the connection."""
    await shutdown.wait()
    raise EndConnection("the emulator is shutting down", close_code=WSCloseCode.GOING_AWAY)


def first_end(ends: BaseExceptionGroup[EndConnection]) -> EndConnection:
    """Return the end that was raised first."""
    first = ends.exceptions[0]
    return first_end(first) if isinstance(first, BaseExceptionGroup) else first


@contextmanager
def engine_refusals(codes: Mapping[str, str], failure: Callable[[str, str], Exception]) -> Iterator[None]:
    """Convert an `EngineRefusedError` into a protocol's own failure, with the vendor's code for its kind."""
    try:
        yield
    except EngineRefusedError as error:
        raise failure(codes[error.kind], error.reason) from error
