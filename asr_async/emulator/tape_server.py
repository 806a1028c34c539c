"""A recorded session served back: the vendor's side of a wire tape, for a client that repeats its own side.

The first connection of a client replays the first connection of the tape, and so on. Each message of the vendor is sent
once the client has sent as much as it had before that message on the tape (audio counted in bytes, texts by their
types), and then after the same delay as on the tape. The audio may be divided into messages differently. A text of a
type other than the tape's next one ends the connection, with both types in the reason. Ids that the client chooses
(`task_id`, `event_id`) replace the recorded ones, so that a new session accepts the answers as its own. A handshake
that was refused is refused again, and a connection that the vendor closed, or that broke, is closed or reset again.
Keys are not checked.
"""

from __future__ import annotations

import asyncio
import base64
from collections import defaultdict, deque
from typing import TYPE_CHECKING

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from .._net.wire_log import CloseRecord, MessageRecord, RefusalRecord, count_audio_bytes, read_tape
from ..errors import ConfigurationError
from .handler import WebSocketHandler
from .local_server import LocalServer
from .session import CutConnection, EndConnection, end_on_shutdown, first_end

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from contextlib import AsyncExitStack

    from .._net.wire_log import Record
    from .connection import ClientConnection
    from .handler import ServerSession

__all__ = ["Replay", "replay"]

NO_CODE = 1005
"""Stands for a close frame without a code (RFC 6455, 7.4.1); it cannot be sent itself."""


def replay(path: str | os.PathLike[str], *, host: str = "127.0.0.1", port: int = 0) -> Replay:
    """Create a server that replays a wire tape; it runs inside `async with`, and port 0 selects a free port.

    Raises:
        ConfigurationError: the file cannot be read, or is not a tape.
    """
    recorded: defaultdict[int, list[Record]] = defaultdict(list)
    for record in read_tape(path):
        recorded[record.connection].append(record)
    if not recorded:
        raise ConfigurationError(f"tape {path}: no connection is recorded there")
    return Replay([recorded[number] for number in sorted(recorded)], host=host, port=port)


class Replay(LocalServer):
    """A local server that replays a tape; `async with` starts and stops it.

    The tape is replayed at any path; the endpoint properties give the usual one of each protocol.
    """

    _noun = "replay"

    def __init__(self, connections: Sequence[Sequence[Record]], *, host: str, port: int) -> None:
        super().__init__(host=host, port=port)
        self._connections = connections

    def __repr__(self) -> str:
        return f"<Replay {self._address or 'not running'} of {len(self._connections)} connections>"

    async def _start(self, _starting: AsyncExitStack) -> tuple[web.Application, Sequence[WebSocketHandler]]:
        application = web.Application()
        handler = _ReplayHandler(self._connections)
        application.router.add_get("/{path:.*}", handler.handle)
        return application, [handler]


class _ReplayHandler(WebSocketHandler):
    """The handler that gives each client the next connection of the tape."""

    def __init__(self, connections: Sequence[Sequence[Record]]) -> None:
        super().__init__()
        self._connections = connections
        self._next = iter(connections)

    async def _accept(self, _request: web.Request, connection: ClientConnection) -> ServerSession | web.Response:
        records = next(self._next, None)
        if records is None:
            return web.Response(status=503, text=f"the tape has {len(self._connections)} connections, no more")
        for record in records:
            if isinstance(record, RefusalRecord):
                headers = {"Retry-After": record.retry_after} if record.retry_after else {}
                content_type = "application/json" if record.body.startswith("{") else "text/plain"
                return web.Response(status=record.status, text=record.body, headers=headers, content_type=content_type)
        return _ReplaySession(connection, records)


class _Progress:
    """The amount that a client has sent, on the tape or now.

    Audio is counted in bytes. Texts are listed by type, and consecutive texts of one type count once.
    """

    def __init__(self) -> None:
        self.audio_bytes = 0
        self.types: list[str] = []

    def add_text(self, text: str) -> bool:
        """Count a text message, which may hold audio; return True if its type differs from the last one."""
        self.audio_bytes += count_audio_bytes(text)
        is_new = self.types[-1:] != [_type_of(text)]
        if is_new:
            self.types.append(_type_of(text))
        return is_new

    def add_record(self, record: MessageRecord) -> bool:
        """Count a message of the tape, as `add_text` does."""
        self.audio_bytes += record.binary.bytes if record.binary else 0
        return record.text is not None and self.add_text(record.text)

    def includes(self, needed: _Progress) -> bool:
        """Return True if this is at least as much."""
        return self.audio_bytes >= needed.audio_bytes and len(self.types) >= len(needed.types)


class _ReplaySession:
    """The replay of one connection of a tape to a client."""

    def __init__(self, connection: ClientConnection, records: Sequence[Record]) -> None:
        self._connection = connection
        self._records = records
        self._expected = tuple(_expected_texts(records))
        self._recorded_texts = _texts_by_type(records)
        """The recorded texts that the client has not sent yet, for the ids in them."""
        self._ids: dict[str, str] = {}
        """The client's present id for each recorded id."""
        self._progress = _Progress()
        self._progressed = asyncio.Event()

    async def serve(self, shutdown: asyncio.Event) -> None:
        """Replay until the client leaves, the tape's vendor ended the connection, or `shutdown` is set."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(end_on_shutdown(shutdown))
                tasks.create_task(self._play())
                await self._read()
        except* EndConnection as ends:
            end = first_end(ends)
            if isinstance(end, CutConnection):
                self._connection.cut()
            else:
                await self._connection.close(end.close_code, end.reason)

    async def _read(self) -> None:
        while True:
            message = await self._connection.receive()
            if message.type is WSMsgType.BINARY:
                self._progress.audio_bytes += len(message.data)
            elif message.type is WSMsgType.TEXT:
                self._on_text(message.data)
            else:
                raise EndConnection("the client left", close_code=WSCloseCode.OK)
            self._progressed.set()

    def _on_text(self, text: str) -> None:
        before_bytes = self._progress.audio_bytes
        if self._progress.add_text(text) and len(self._progress.types) <= len(self._expected):
            kind, recorded_bytes = self._expected[len(self._progress.types) - 1]
            if _type_of(text) != kind:
                raise _mismatch(f"{kind}, not {_type_of(text)}")
            if before_bytes < recorded_bytes:
                raise _mismatch(f"{recorded_bytes} bytes of audio before {kind}, not {before_bytes}")
        if recorded := self._recorded_texts[_type_of(text)]:
            self._ids.update(zip(_ids_in(recorded.popleft()), _ids_in(text), strict=False))

    async def _play(self) -> None:
        needed = _Progress()
        before_ms = 0
        for record in self._records:
            if isinstance(record, MessageRecord) and record.direction == "sent":
                needed.add_record(record)
            else:
                await self._wait_for(needed)
                await asyncio.sleep((record.ms - before_ms) / 1000)
                await self._play_record(record)
            before_ms = record.ms

    async def _wait_for(self, needed: _Progress) -> None:
        while not self._progress.includes(needed):
            self._progressed.clear()
            await self._progressed.wait()

    async def _play_record(self, record: Record) -> None:
        if isinstance(record, CloseRecord) and record.by == "server":
            if record.code == WSCloseCode.ABNORMAL_CLOSURE:
                raise CutConnection
            raise EndConnection(record.reason, close_code=WSCloseCode.OK if record.code == NO_CODE else record.code)
        if isinstance(record, MessageRecord):
            await self._connection.send(*self._message(record))

    def _message(self, record: MessageRecord) -> tuple[bytes, WSMsgType]:
        if record.binary is not None:
            content = base64.b64decode(record.binary.base64) if record.binary.base64 else bytes(record.binary.bytes)
            return content, WSMsgType.BINARY
        text = record.text or ""
        for recorded, present in self._ids.items():
            text = text.replace(f'"{recorded}"', f'"{present}"')
        return text.encode(), WSMsgType.TEXT


def _mismatch(difference: str) -> EndConnection:
    return EndConnection(f"the tape has {difference}", close_code=WSCloseCode.POLICY_VIOLATION)


def _expected_texts(records: Sequence[Record]) -> Iterator[tuple[str, int]]:
    """Yield the types of the client's texts, consecutive ones once, each with the bytes of audio sent before it."""
    progress = _Progress()
    for record in _sent(records):
        before_bytes = progress.audio_bytes
        if progress.add_record(record):
            yield progress.types[-1], before_bytes


def _texts_by_type(records: Sequence[Record]) -> defaultdict[str, deque[str]]:
    texts: defaultdict[str, deque[str]] = defaultdict(deque)
    for record in _sent(records):
        if record.text is not None:
            texts[_type_of(record.text)].append(record.text)
    return texts


def _sent(records: Sequence[Record]) -> Iterator[MessageRecord]:
    for record in records:
        if isinstance(record, MessageRecord) and record.direction == "sent":
            yield record


class _Header(msgspec.Struct, frozen=True):
    action: str | None = None
    task_id: str | None = None


class _Text(msgspec.Struct, frozen=True):
    """The members that give the type of a client's text, and its ids, in every protocol."""

    header: _Header = _Header()
    command: str | None = None
    type: str | None = None
    event_id: str | None = None


def _read(text: str) -> _Text:
    try:
        return msgspec.json.decode(text, type=_Text)
    except (msgspec.MsgspecError, RecursionError):
        return _Text()


def _type_of(text: str) -> str:
    read = _read(text)
    return read.header.action or read.command or read.type or "a text of no known type"


def _ids_in(text: str) -> tuple[str, str]:
    read = _read(text)
    return read.header.task_id or "", read.event_id or ""
