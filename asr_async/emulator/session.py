"""What every room does with a connection: read, wait, work beside the reading, suffer faults on demand, and part.

Knows no protocol. A vendor's room says in `TRANSITIONS` what may follow what, and in its hooks what a message means.

One connection is one task group. The reader lives in it, beside a task that opens the engine or lets it finish while
reading goes on. Whatever ends the connection is raised as an `EndConnection`: that stops the others, gives
the recognition back, and only then is the client told. Faults strike in the reader, or in a task that waits for their
time; those that end the connection are such an `EndConnection` too.
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

__all__ = [
    "CutConnection",
    "EndConnection",
    "Link",
    "VendorSession",
    "end_when",
    "engine_refusals",
    "first_end",
]

_logger = logging.getLogger("asr_async")
_GARBAGE = {WSMsgType.TEXT: b'{"header": {"event": "resul', WSMsgType.BINARY: b"\x00\xff\x13\x37" * 8}
_State = TypeVar("_State", bound=enum.Enum)
_Step = TypeVar("_Step", bound=enum.Enum)


class EndConnection(Exception):  # noqa: N818 - ends a connection, not always an error
    """The connection is over: the client left, or it is to be closed with this code and reason."""

    def __init__(self, reason: str, *, close_code: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close_code = close_code


class CutConnection(EndConnection):
    """The connection breaks, on demand."""

    def __init__(self) -> None:
        super().__init__("cut on demand", close_code=WSCloseCode.ABNORMAL_CLOSURE)


class _HoldHalfOpen(EndConnection):
    """The connection is dead from now on, but stays open, on demand."""

    def __init__(self) -> None:
        super().__init__("half open on demand", close_code=WSCloseCode.ABNORMAL_CLOSURE)


class Link(msgspec.Struct, frozen=True):
    """A connection as the door hands it over: the line, and what is to go wrong."""

    line: ClientConnection
    script: ConnectionFaults


class VendorSession(ABC, Generic[_State, _Step]):
    """One client; a room's subclass walks its table of steps with it."""

    engine_codes: ClassVar[Mapping[str, str]]
    """The vendor's error codes for what an engine cannot do, by its kind."""

    def __init__(
        self,
        link: Link,
        *,
        state: _State,
        transitions: Mapping[tuple[_State, _Step], _State],
        patience_s: Mapping[_State, float],
    ) -> None:
        self._line = link.line
        self._script = link.script
        self._state = state
        self._transitions = transitions
        self._patience_s = patience_s
        """How long the client may say nothing; in the other states nobody waits for it."""
        self._beside = asyncio.TaskGroup()
        """What goes on beside the reading."""
        self._patience: asyncio.Timeout | None = None
        """Bounds the present wait for a message; None while there is none."""
        self._is_begun = asyncio.Event()
        """Set once the client has started something."""
        self._is_mute = False
        """The end of the audio is not answered, on demand."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.value}>"

    @abstractmethod
    async def _on_text(self, text: str) -> None:
        """Take in a text message; an `EndConnection` that is raised here, or in what follows, ends the connection."""

    @abstractmethod
    async def _on_audio(self, data: bytes) -> None:
        """Take in a binary message; nothing more is read before this returns, which slows the client down."""

    @abstractmethod
    def _refusal(self, step: _Step) -> Exception:
        """What the client gets for a step that is not in the table."""

    @abstractmethod
    def _impatience(self) -> EndConnection:
        """What the client gets when it has said nothing for too long."""

    @abstractmethod
    def _failure(self, code: str, message: str) -> Exception | None:
        """What to raise for a failure on demand; None where nothing runs that could fail."""

    @abstractmethod
    async def _release(self) -> None:
        """Give the recognition back; again, if that was interrupted."""

    @abstractmethod
    async def _say_why(self, end: EndConnection) -> None:
        """Tell the client what is wrong, before its connection is closed."""

    async def run(self, leaving: asyncio.Event) -> None:
        """Serve the client until it leaves, is to be sent away, or `leaving` is set."""
        try:
            await self._converse(leaving)
        except* EndConnection as ends:
            await self._part(first_end(ends), leaving)

    async def _converse(self, leaving: asyncio.Event) -> None:
        try:
            async with self._beside:
                self._beside.create_task(end_when(leaving))
                if self._line.is_delayed or not self._script.is_empty:
                    self._beside.create_task(self._line.carry())
                for fault in self._script.timed:
                    self._beside.create_task(self._strike_in_time(fault))
                await self._reach("handshake")
                await self._read()
        finally:
            await self._release()

    async def _read(self) -> NoReturn:
        while True:
            message = await self._receive()
            if message.type is WSMsgType.TEXT:
                await self._on_text(message.data)
            elif message.type is WSMsgType.BINARY:
                await self._on_audio(message.data)
            else:  # closed from the other side, or lost
                raise EndConnection("the client left", close_code=WSCloseCode.OK)

    async def _receive(self) -> Any:
        """Wait for a message; pings are answered on the way and do not count."""
        try:
            async with asyncio.timeout(None) as self._patience:
                self._rearm()
                message = await self._line.receive()
        except TimeoutError:
            raise self._impatience() from None
        finally:
            self._patience = None
        await self._line.read_through(message)
        return message

    def _rearm(self) -> None:
        """Begin to wait afresh: it is the client's turn, or nobody's."""
        if self._patience is not None:
            patience_s = self._patience_s.get(self._state)
            now = asyncio.get_running_loop().time()
            self._patience.reschedule(None if patience_s is None else now + patience_s)

    def _may(self, step: _Step) -> bool:
        return (self._state, step) in self._transitions

    def _take(self, step: _Step) -> None:
        if not self._may(step):
            raise self._refusal(step)
        self._state = self._transitions[self._state, step]

    async def _send(self, message: msgspec.Struct) -> None:
        await self._line.send(msgspec.json.encode(message))

    # --- faults on demand --------------------------------------------------------------------------------------------

    async def _reach(self, moment: Moment) -> None:
        """Let the faults strike that wait for this moment."""
        if moment == "start":
            self._is_begun.set()
        for fault in self._script.at(moment):
            await self._suffer(fault)

    async def _reach_after_audio(self, samples_bytes: int, sample_rate: int) -> None:
        """Let the faults strike that are due when so much audio more has been listened to."""
        self._is_begun.set()
        for fault in self._script.after_audio(samples_bytes * 1000 / (sample_rate * SAMPLE_BYTES)):
            await self._suffer(fault)

    async def _strike_in_time(self, fault: Fault) -> None:
        assert fault.place.after_s is not None  # noqa: S101 - the script says so
        await asyncio.sleep(fault.place.after_s)
        if isinstance(fault, Fail):
            await self._is_begun.wait()
        for due in self._script.take(fault):
            await self._answering_failure(functools.partial(self._suffer, due))

    async def _answering_failure(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something beside the reading; a room whose connections outlive a failure answers it here."""
        await work()

    async def _suffer(self, fault: Fault) -> None:
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
                await self._line.send(_GARBAGE[kind], kind)
            case MuteFinish():
                self._is_mute = True
            case Delay():
                self._line.delay(fault.by_ms / 1000)
            case SlowReader():
                self._line.slow_down(fault.bytes_per_second)

    def _fail(self, code: str, message: str) -> None:
        if failure := self._failure(code, message):
            raise failure

    # --- the end -----------------------------------------------------------------------------------------------------

    async def _part(self, end: EndConnection, leaving: asyncio.Event) -> None:
        match end:
            case CutConnection():
                self._line.cut()
            case _HoldHalfOpen():
                await self._line.play_dead(leaving)
            case _:
                await self._line.part(end.close_code, end.reason, lambda: self._say_why(end))


async def end_when(leaving: asyncio.Event) -> NoReturn:
    """EndConnection the connection when the emulator leaves."""
    await leaving.wait()
    raise EndConnection("the emulator is leaving", close_code=WSCloseCode.GOING_AWAY)


def first_end(ends: BaseExceptionGroup[EndConnection]) -> EndConnection:
    """The end that was found first."""
    first = ends.exceptions[0]
    return first_end(first) if isinstance(first, BaseExceptionGroup) else first


@contextmanager
def engine_refusals(codes: Mapping[str, str], failure: Callable[[str, str], Exception]) -> Iterator[None]:
    """Turn an engine's refusal into a room's own failure, of the code for its kind and of its reason."""
    try:
        yield
    except EngineRefusedError as error:
        raise failure(codes[error.kind], error.reason) from error
