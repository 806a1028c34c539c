"""One WebSocket connection: the only importer of `websockets`, and where its exceptions and the system's become ours.

It does not know what the messages mean.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State

from ._network import unreachable
from .errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, RemoteProtocolError
from .vendors.service import is_loopback

if TYPE_CHECKING:
    from ._tape import Track
    from .vendors.codec import Frame
    from .vendors.service import Target

__all__ = ["Transport"]

logger = logging.getLogger("asr_async")

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The vendor's error page (read 2026) advises clients to take at least 16 MiB; the library's default is 1 MiB."""

_FINAL_CLOSE_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
"""The other side says that what we sent is at fault: the same again would end the same."""


class _WebsocketsLogger(logging.LoggerAdapter[logging.Logger]):
    """Keeps the library's DEBUG output shut: it prints the handshake's headers, key included, and the audio."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is the standard library's
        return level > logging.DEBUG and super().isEnabledFor(level)


class Transport:
    """A connection that carries whole messages."""

    def __init__(self, connection: ClientConnection, host: str, *, idle_s: float, track: Track | None) -> None:
        self._connection = connection
        self._host = host
        self._idle_s = idle_s
        # where what goes over the connection is recorded
        self._track = track

    def __repr__(self) -> str:
        return f"<Transport {self._host} {self._connection.state.name.lower()}>"

    @classmethod
    async def connect(
        cls, target: Target, *, connect_s: float, idle_s: float, close_s: float, track: Track | None = None
    ) -> Transport:
        """Connect and shake hands.

        `idle_s` is how long the other side may stay without any sign of life before `receive` gives it up; `track`
        records everything.

        Raises:
            ASRError: as the target makes it from an HTTP answer.
            ConfigurationError: the URL is malformed.
            ConnectionLostError: nobody is there.
            DeadlineError: not within `connect_s`.
        """
        host = target.host
        with _our_errors(host, f"no connection to {host} within {connect_s:g} s (Timeouts.connect)"):
            try:
                connection = await websocket_connect(
                    target.url,
                    additional_headers={name: value for name, value in target.headers.items() if name != "User-Agent"},
                    user_agent_header=target.headers.get("User-Agent"),
                    compression=None,  # audio does not shrink, and a deflate window costs memory in every session
                    max_size=MAX_MESSAGE_BYTES,
                    open_timeout=connect_s,
                    # `receive` asks: the library's own keepalive gives up a connection whose pong is late, as it is
                    # behind audio that waits to be read, although results keep coming
                    ping_interval=None,
                    close_timeout=close_s,
                    # a proxy from the environment is for the network, never for this machine
                    proxy=None if is_loopback(urlsplit(target.url).hostname) else True,
                    logger=_WebsocketsLogger(logger),
                )
            except InvalidStatus as refusal:
                response = refusal.response
                headers = dict(response.headers.raw_items())
                body = bytes(response.body or b"")
                if track is not None:
                    track.refused(response.status_code, headers, body)
                raise target.refused(response.status_code, headers, body) from None
        return cls(connection, host, idle_s=idle_s, track=track)

    async def send(self, frame: Frame) -> None:
        """Send one message; returns when the connection has room for more.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        if self._track is not None:
            self._track.sent(frame)  # before it goes: its answer must not stand in front of it
        with _our_errors(self._host, track=self._track):
            await self._connection.send(frame)

    async def receive(self) -> str | bytes:
        """Wait for the next message; after half of `idle_s` without one, ask for a sign of life.

        Raises:
            ConnectionLostError: the connection ended, however politely.
            RemoteProtocolError: the other side broke the WebSocket protocol, or sent more than `MAX_MESSAGE_BYTES`.
        """
        with _our_errors(self._host, track=self._track):
            pong: asyncio.Future[float] | None = None
            while True:
                try:
                    async with asyncio.timeout(self._idle_s / 2):
                        message = await self._connection.recv()
                except TimeoutError:
                    if pong is not None and not pong.done():
                        raise self._gone() from None
                    pong = await self._ping()
                else:
                    if self._track is not None:
                        self._track.received(message)
                    return message

    async def _ping(self) -> asyncio.Future[float]:
        try:
            async with asyncio.timeout(self._idle_s / 2):
                return asyncio.ensure_future(await self._connection.ping())
        except TimeoutError:  # not even the question gets out
            raise self._gone() from None

    def _gone(self) -> ConnectionLostError:
        text = f"lost the connection to {self._host}: no sign of life for {self._idle_s:g} s (Timeouts.idle)"
        return ConnectionLostError(text, retryable=True)

    @property
    def is_open(self) -> bool:
        """Whether nothing is known that would keep a message from being sent."""
        return self._connection.state is State.OPEN

    async def close(self) -> None:
        """Say goodbye and close; bounded by the connection's `close_s`."""
        if self._track is not None:
            self._track.closed(1000, "", by="client")
        await self._connection.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._track is not None:
            self._track.closed(1006, "", by="client")
        self._connection.transport.abort()


@contextmanager
def _our_errors(host: str, deadline_text: str = "", *, track: Track | None = None) -> Iterator[None]:
    """Turn what `websockets`, TLS and the system raise into ours."""
    try:
        yield
    except ASRError:
        raise
    except ConnectionClosed as closed:
        if track is not None:
            _record_end(track, closed)
        raise _closed_error(closed, host) from None
    except InvalidURI as error:
        raise ConfigurationError(f"not a WebSocket URL: {error}") from None
    except InvalidHandshake as error:
        if isinstance(error.__cause__, EOFError):  # how the library says that the answer broke off
            text = f"lost the connection to {host}: it ended during the handshake"
            raise ConnectionLostError(text, retryable=True) from None
        raise RemoteProtocolError(f"{host} does not speak WebSocket: {error}") from None
    except TimeoutError:
        raise DeadlineError(deadline_text or f"no answer from {host}", retryable=True) from None
    except OSError as error:
        raise unreachable(host, error) from None


def _record_end(track: Track, closed: ConnectionClosed) -> None:
    if closed.rcvd is None:
        track.closed(1006, "", by="server")
    else:
        track.closed(closed.rcvd.code, closed.rcvd.reason, by="server")


def _closed_error(closed: ConnectionClosed, host: str) -> ASRError:
    if closed.rcvd is None and closed.sent is not None and closed.sent.code in _FINAL_CLOSE_CODES:
        # closed from this side, by the library, because of what it received
        reason = closed.sent.reason or f"close code {closed.sent.code}"
        if closed.sent.code == 1009:
            reason = f"a message of more than {MAX_MESSAGE_BYTES // 1024**2} MiB"
        return RemoteProtocolError(f"{host} broke the WebSocket protocol: {reason}", code=str(closed.sent.code))
    if closed.rcvd is None:
        return ConnectionLostError(
            f"lost the connection to {host}: it ended without a closing message", retryable=True, code="1006"
        )
    code, reason = closed.rcvd.code, closed.rcvd.reason
    return ConnectionLostError(
        f"{host} closed the connection before the end of the transcript{': ' + reason if reason else ''}",
        retryable=code not in _FINAL_CLOSE_CODES,
        code=str(code),
    )
