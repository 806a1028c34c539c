"""What every room does with a connection: read, wait, work beside the reading, and part.

Knows no protocol. A vendor's room says in `TRANSITIONS` what may follow what, and in its hooks what a message means.

One connection is one task group. The reader lives in it, beside a task that opens the engine or lets it finish while
reading goes on. Whatever ends the connection is raised as an `End` by whoever finds it: that stops the others, gives
the recognition back, and only then is the client told.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from .engine import EngineRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .engine import Engine

__all__ = ["Conversation", "Door", "End", "engine_refusals"]

CLOSE_TIMEOUT_S = 1.0
"""How long a client has for its side of the closing handshake, and for taking what is still on its way to it."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""What is longer closes the connection. More than any room allows, so that it can say what it allows; and where a
vendor names no limit, its SDK sends any buffer as one message."""

_logger = logging.getLogger("asr_async")
_State = TypeVar("_State", bound=enum.Enum)
_Step = TypeVar("_Step", bound=enum.Enum)


class End(Exception):  # noqa: N818 - the end of a connection, not always an error
    """The connection is over: the client left, or it is to be closed with this code and reason."""

    def __init__(self, reason: str, *, close_code: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close_code = close_code


class Conversation(ABC, Generic[_State, _Step]):
    """One client; a room's subclass walks its table of steps with it."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        *,
        state: _State,
        transitions: Mapping[tuple[_State, _Step], _State],
        patience_s: Mapping[_State, float],
    ) -> None:
        self._ws = ws
        self._transport = transport
        self._state = state
        self._transitions = transitions
        self._patience_s = patience_s
        """How long the client may say nothing; in the other states nobody waits for it."""
        self._beside = asyncio.TaskGroup()
        """What goes on beside the reading."""
        self._patience: asyncio.Timeout | None = None
        """Bounds the present wait for a message; None while there is none."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.value}>"

    @abstractmethod
    async def _on_text(self, text: str) -> None:
        """Take in a text message; an `End` that is raised here, or in what follows, ends the connection."""

    @abstractmethod
    async def _on_audio(self, data: bytes) -> None:
        """Take in a binary message; nothing more is read before this returns, which slows the client down."""

    @abstractmethod
    def _refusal(self, step: _Step) -> Exception:
        """What the client gets for a step that is not in the table."""

    @abstractmethod
    def _impatience(self) -> End:
        """What the client gets when it has said nothing for too long."""

    @abstractmethod
    async def _release(self) -> None:
        """Give the recognition back; again, if that was interrupted."""

    @abstractmethod
    async def _say_why(self, end: End) -> None:
        """Tell the client what is wrong, before its connection is closed."""

    async def run(self, leaving: asyncio.Event) -> None:
        """Serve the client until it leaves, is to be sent away, or `leaving` is set."""
        try:
            await self._converse(leaving)
        except* End as ends:
            await self._part(_first(ends))

    async def _converse(self, leaving: asyncio.Event) -> None:
        try:
            async with self._beside:
                self._beside.create_task(_end_when(leaving))
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
                raise End("the client left", close_code=WSCloseCode.OK)

    async def _receive(self) -> Any:
        """Wait for a message; pings are answered on the way and do not count."""
        try:
            async with asyncio.timeout(None) as self._patience:
                self._rearm()
                return await self._ws.receive()
        except TimeoutError:
            raise self._impatience() from None
        finally:
            self._patience = None

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
        """Hand a message to the socket, which takes it only as fast as the client reads.

        That the client is gone is for the reader to find: whoever sends may be a task of the engine.
        """
        with suppress(ConnectionError):
            await self._ws.send_frame(msgspec.json.encode(message), WSMsgType.TEXT)

    async def _part(self, end: End) -> None:
        """Say why, and close."""
        closed = False
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._say_why(end)
                await self._ws.close(code=end.close_code, message=end.reason.encode())
            closed = self._ws.close_code != WSCloseCode.ABNORMAL_CLOSURE
        except TimeoutError:
            _logger.debug("emulator: %r: the client does not read", self)
        finally:
            if not closed:
                # The client took no part in the closing: what is buffered for it would keep the socket open.
                self._transport.abort()


async def _end_when(leaving: asyncio.Event) -> NoReturn:
    await leaving.wait()
    raise End("the emulator is leaving", close_code=WSCloseCode.GOING_AWAY)


def _first(ends: BaseExceptionGroup[End]) -> End:
    first = ends.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


@contextmanager
def engine_refusals(codes: Mapping[str, str], failure: Callable[[str, str], Exception]) -> Iterator[None]:
    """Turn an engine's refusal into a room's own failure, of the code for its kind and of its reason."""
    try:
        yield
    except EngineRefusedError as error:
        raise failure(codes[error.kind], error.reason) from error


class Door(ABC):
    """Lets clients into a room, and all of them out at the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._leaving = asyncio.Event()
        self._handler_tasks: set[asyncio.Task[Any]] = set()

    @abstractmethod
    def _refused(self, request: web.Request) -> web.Response | None:
        """What a client gets that may not come in; None for one that may."""

    @abstractmethod
    def _welcome(
        self, request: web.Request, ws: web.WebSocketResponse, transport: asyncio.Transport
    ) -> Conversation[Any, Any]:
        """Begin the conversation with a client that came in."""

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Check who comes, open the WebSocket, serve the client."""
        if refusal := self._refused(request):
            return refusal
        # no compression: none of the services is known to offer permessage-deflate, no official SDK asks for it
        ws = web.WebSocketResponse(timeout=CLOSE_TIMEOUT_S, compress=False, max_msg_size=MAX_MESSAGE_BYTES)
        await ws.prepare(request)
        transport = request.transport
        handler_task = asyncio.current_task()
        if transport is None or handler_task is None:  # gone already
            return ws
        self._handler_tasks.add(handler_task)
        handler_task.add_done_callback(self._handler_tasks.discard)
        await self._welcome(request, ws, transport).run(self._leaving)
        return ws

    async def shut(self) -> None:
        """End all connections, and wait until they have ended."""
        self._leaving.set()
        if self._handler_tasks:
            await asyncio.wait(self._handler_tasks)
