"""WebSockets of web frameworks behind one interface: texts and bytes in, texts out, one error for a lost client.

Does not know audio or sessions.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["AiohttpWebSocket", "ClientGoneError", "Socket", "StarletteWebSocket", "WebSocket", "socket_of"]

MAX_REASON_BYTES = 123
"""The longest reason that fits into a close frame (RFC 6455, 5.5)."""


class ClientGoneError(ConnectionError):
    """The client closed its connection, or lost it, before it announced the end of its audio.

    Attributes:
        code: the WebSocket close code; 1006 if there was no closing handshake.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code: int = code

    def __str__(self) -> str:
        return f"the client left before the end of its audio (close code {self.code})"


class AiohttpWebSocket(Protocol):
    """The part of aiohttp's `WebSocketResponse` that is used here."""

    @property
    def close_code(self) -> int | None:
        """The close code; None while the connection is open."""
        ...

    def receive(self) -> Awaitable[Any]:
        """Return the next message."""
        ...

    def send_str(self, data: str, /) -> Awaitable[None]:
        """Send a text."""
        ...

    def close(self, *, code: int = ..., message: bytes = ...) -> Awaitable[bool]:
        """Close the connection."""
        ...


class StarletteWebSocket(Protocol):
    """The part of the `WebSocket` of Starlette, and with it of FastAPI, that is used here."""

    @property
    def application_state(self) -> Any:
        """The state of this side of the connection."""
        ...

    def accept(self) -> Awaitable[None]:
        """Complete the handshake."""
        ...

    def receive(self) -> Awaitable[Any]:
        """Return the next ASGI message."""
        ...

    def send_text(self, data: str, /) -> Awaitable[None]:
        """Send a text."""
        ...

    def close(self, code: int = ..., reason: str | None = ...) -> Awaitable[None]:
        """Close the connection."""
        ...


WebSocket = AiohttpWebSocket | StarletteWebSocket
"""A WebSocket of a client: aiohttp's `WebSocketResponse`, or the `WebSocket` of Starlette and FastAPI."""


class Socket(Protocol):
    """A WebSocket of any framework."""

    async def accept(self) -> None:
        """Complete the handshake, if the framework leaves that to the handler."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            ClientGoneError: there will be none.
        """
        ...

    async def send(self, text: str) -> None:
        """Send a text.

        Raises:
            ClientGoneError: the connection is closed.
        """
        ...

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection. Do nothing if it is closed."""
        ...


def socket_of(websocket: WebSocket) -> Socket:
    """Return a framework's WebSocket behind the common interface.

    Raises:
        ConfigurationError: the object is none of aiohttp or Starlette.
    """
    if hasattr(websocket, "send_str"):
        return _AiohttpSocket(cast("AiohttpWebSocket", websocket))
    if hasattr(websocket, "send_text") and hasattr(websocket, "application_state"):
        return _StarletteSocket(websocket)
    kind = type(websocket).__name__
    raise ConfigurationError(
        f"{kind} is not a WebSocket that is known here: pass aiohttp's WebSocketResponse, or the WebSocket of "
        "Starlette or FastAPI"
    )


class _AiohttpSocket:
    """A prepared `WebSocketResponse`."""

    def __init__(self, websocket: AiohttpWebSocket) -> None:
        from aiohttp import WSMsgType  # noqa: PLC0415 - loaded already by the program that has such a WebSocket

        self._websocket = websocket
        self._data_types = {WSMsgType.TEXT, WSMsgType.BINARY}

    async def accept(self) -> None:
        """Do nothing: `prepare(request)` has completed the handshake."""

    async def receive(self) -> str | bytes:
        """Return the next message."""
        message = await self._websocket.receive()
        if message.type not in self._data_types:
            self._raise_gone()
        data: str | bytes = message.data
        return data

    async def send(self, text: str) -> None:
        """Send a text."""
        try:
            await self._websocket.send_str(text)
        except ConnectionError:
            self._raise_gone()

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection."""
        await self._websocket.close(code=code, message=_short(reason).encode())

    def _raise_gone(self) -> NoReturn:
        raise ClientGoneError(self._websocket.close_code or 1006) from None


class _StarletteSocket:
    """The `WebSocket` of Starlette."""

    def __init__(self, websocket: StarletteWebSocket) -> None:
        from starlette.websockets import WebSocketDisconnect, WebSocketState  # noqa: PLC0415 - as for aiohttp

        self._websocket = websocket
        self._disconnect = WebSocketDisconnect
        self._states = WebSocketState

    async def accept(self) -> None:
        """Complete the handshake, unless the handler did."""
        if self._websocket.application_state is self._states.CONNECTING:
            await self._websocket.accept()

    async def receive(self) -> str | bytes:
        """Return the next message."""
        message = await self._websocket.receive()
        if message["type"] != "websocket.receive":
            raise ClientGoneError(message.get("code") or 1006)
        text: str | None = message.get("text")
        data: bytes = message.get("bytes") or b""
        return data if text is None else text

    async def send(self, text: str) -> None:
        """Send a text."""
        if self._websocket.application_state is self._states.DISCONNECTED:
            raise ClientGoneError(1006)
        try:
            await self._websocket.send_text(text)
        except self._disconnect as error:
            raise ClientGoneError(error.code) from None

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection."""
        is_gone = self._states.DISCONNECTED in {self._websocket.application_state, self._client_state}
        if not is_gone:
            with contextlib.suppress(self._disconnect):
                await self._websocket.close(code, _short(reason))

    @property
    def _client_state(self) -> object:
        return getattr(self._websocket, "client_state", None)


def _short(reason: str) -> str:
    """Return as much of a reason as a close frame can hold."""
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
