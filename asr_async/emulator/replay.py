"""A recorded session served back: the vendor's side of a wire tape, for a client that does its own side again.

The first connection plays the first one of the tape, and so on. Each message of the vendor's comes when the client has
sent as much as had been sent before it on the tape, in audio by bytes and in texts by their types, and then as long
after that as on the tape. Frames of audio may be cut otherwise than they were. A text of another type than the tape's
next one ends the connection, with both types in the reason. Ids that the client gives (`task_id`, `event_id`) are put
in the place of the recorded ones, so a new session takes the answers for its own. A refused handshake is refused again,
and a connection that the vendor closed or that broke is closed or broken again. ApiKeys are not checked.
"""

from __future__ import annotations

import asyncio
import base64
from collections import defaultdict, deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from .._net.wire_log import Closed, MessageRecord, Refused, audio_bytes, read_tape
from ..errors import ConfigurationError, LocalProtocolError
from .dashscope import realtime as dashscope_realtime
from .dashscope import tasks as dashscope
from .faults import MAX_REASON_BYTES
from .handler import WebSocketHandler
from .server import listen
from .session import CutConnection, EndConnection, end_when, first_end

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from typing import Self

    from .._net.wire_log import Record
    from .connection import ClientConnection
    from .handler import ServerSession

__all__ = ["Replay", "replay"]

NO_CODE = 1005
"""Stands for a close frame without a code (RFC 6455, 7.4.1); it cannot be sent itself."""


def replay(path: str | os.PathLike[str], *, host: str = "127.0.0.1", port: int = 0) -> Replay:
    """Serve a wire tape back, inside `async with`; port 0 takes a free one.

    Raises:
        ConfigurationError: the file cannot be read, or is not a tape.
    """
    recorded: defaultdict[int, list[Record]] = defaultdict(list)
    for record in read_tape(path):
        recorded[record.connection].append(record)
    if not recorded:
        raise ConfigurationError(f"tape {path}: no connection is recorded there")
    return Replay([recorded[number] for number in sorted(recorded)], host=host, port=port)


class Replay:
    """A local service that plays a tape; `async with` starts and stops it."""

    def __init__(self, connections: Sequence[Sequence[Record]], *, host: str, port: int) -> None:
        self._connections = connections
        self._host = host
        self._port = port
        self._address: str | None = None
        self._running = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Replay {self._address or 'not running'} of {len(self._connections)} connections>"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            application = web.Application()
            door = _Handler(self._connections)
            application.router.add_get("/{path:.*}", door.enter)
            self._address = await listen(application, [door.shut], starting, host=self._host, port=self._port)
            self._running = starting.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._address = None
        await self._running.aclose()

    @property
    def address(self) -> str:
        """Host and port, "127.0.0.1:54321".

        Raises:
            LocalProtocolError: it is not running.
        """
        if self._address is None:
            raise LocalProtocolError("the replay has no address: it runs only inside `async with`")
        return self._address

    @property
    def dashscope_url(self) -> str:
        """The endpoint for a tape of DashScope's task protocol. Any path plays the tape; this is the usual one."""
        return f"ws://{self.address}{dashscope.PATH}"

    @property
    def dashscope_realtime_url(self) -> str:
        """The endpoint for a tape of DashScope's realtime protocol."""
        return f"ws://{self.address}{dashscope_realtime.PATH}"

    @property
    def huawei_url(self) -> str:
        """The endpoint for a tape of Huawei Cloud's RASR."""
        return f"ws://{self.address}"


class _Handler(WebSocketHandler):
    """Gives each client the next connection of the tape."""

    def __init__(self, connections: Sequence[Sequence[Record]]) -> None:
        super().__init__()
        self._connections = connections
        self._next = iter(connections)

    async def _receive(self, _request: web.Request, line: ClientConnection) -> ServerSession | web.Response:
        records = next(self._next, None)
        if records is None:
            return web.Response(status=503, text=f"the tape has {len(self._connections)} connections, no more")
        for record in records:
            if isinstance(record, Refused):
                headers = {"Retry-After": record.retry_after} if record.retry_after else {}
                content_type = "application/json" if record.body.startswith("{") else "text/plain"
                return web.Response(status=record.status, text=record.body, headers=headers, content_type=content_type)
        return _Playing(line, records)


class _Progress:
    """How much a client has sent, on the tape or now: audio in bytes, and texts by type, a run of the same as one."""

    def __init__(self) -> None:
        self.audio_bytes = 0
        self.types: list[str] = []

    def add_text(self, text: str) -> bool:
        """Count a text message, which may hold audio; whether its type is another than that of the last."""
        self.audio_bytes += audio_bytes(text)
        is_new = self.types[-1:] != [_type_of(text)]
        if is_new:
            self.types.append(_type_of(text))
        return is_new

    def add_record(self, record: MessageRecord) -> bool:
        """Count a message of the tape, as `add_text` does."""
        self.audio_bytes += record.binary.bytes if record.binary else 0
        return record.text is not None and self.add_text(record.text)

    def includes(self, needed: _Progress) -> bool:
        """Whether so much has been sent."""
        return self.audio_bytes >= needed.audio_bytes and len(self.types) >= len(needed.types)


class _Playing:
    """One connection of a tape, played to a client."""

    def __init__(self, line: ClientConnection, records: Sequence[Record]) -> None:
        self._line = line
        self._records = records
        self._steps = tuple(_steps(records))
        self._texts = _texts_by_type(records)
        """What is still to be said by the client, for the ids in it."""
        self._ids: dict[str, str] = {}
        """What the tape's ids are called now."""
        self._done = _Progress()
        self._moved = asyncio.Event()

    async def run(self, leaving: asyncio.Event) -> None:
        """Play until the client leaves, the vendor of the tape ended the connection, or `leaving` is set."""
        try:
            async with asyncio.TaskGroup() as beside:
                beside.create_task(end_when(leaving))
                beside.create_task(self._play())
                await self._listen()
        except* EndConnection as ends:
            end = first_end(ends)
            if isinstance(end, CutConnection):
                self._line.cut()
            else:
                await self._line.part(end.close_code, end.reason)

    async def _listen(self) -> None:
        while True:
            message = await self._line.receive()
            if message.type is WSMsgType.BINARY:
                self._done.audio_bytes += len(message.data)
            elif message.type is WSMsgType.TEXT:
                self._on_text(message.data)
            else:
                raise EndConnection("the client left", close_code=WSCloseCode.OK)
            self._moved.set()

    def _on_text(self, text: str) -> None:
        before_bytes = self._done.audio_bytes
        if self._done.add_text(text) and len(self._done.types) <= len(self._steps):
            kind, recorded_bytes = self._steps[len(self._done.types) - 1]
            if _type_of(text) != kind:
                raise _mismatch(f"{kind}, not {_type_of(text)}")
            if before_bytes < recorded_bytes:
                raise _mismatch(f"{recorded_bytes} bytes of audio before {kind}, not {before_bytes}")
        if recorded := self._texts[_type_of(text)]:
            self._ids.update(zip(_ids_in(recorded.popleft()), _ids_in(text), strict=False))

    async def _play(self) -> None:
        needed = _Progress()
        before_ms = 0
        for record in self._records:
            if isinstance(record, MessageRecord) and record.direction == "sent":
                needed.add_record(record)
            else:
                await self._until(needed)
                await asyncio.sleep((record.ms - before_ms) / 1000)
                await self._play_back(record)
            before_ms = record.ms

    async def _until(self, needed: _Progress) -> None:
        while not self._done.includes(needed):
            self._moved.clear()
            await self._moved.wait()

    async def _play_back(self, record: Record) -> None:
        if isinstance(record, Closed) and record.by == "server":
            if record.code == WSCloseCode.ABNORMAL_CLOSURE:
                raise CutConnection
            raise EndConnection(record.reason, close_code=WSCloseCode.OK if record.code == NO_CODE else record.code)
        if isinstance(record, MessageRecord):
            await self._line.send(*self._message(record))

    def _message(self, record: MessageRecord) -> tuple[bytes, WSMsgType]:
        if record.binary is not None:
            content = base64.b64decode(record.binary.base64) if record.binary.base64 else bytes(record.binary.bytes)
            return content, WSMsgType.BINARY
        text = record.text or ""
        for recorded, present in self._ids.items():
            text = text.replace(f'"{recorded}"', f'"{present}"')
        return text.encode(), WSMsgType.TEXT


def _mismatch(difference: str) -> EndConnection:
    reason = f"the tape has {difference}".encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    return EndConnection(reason, close_code=WSCloseCode.POLICY_VIOLATION)


def _steps(records: Sequence[Record]) -> Iterator[tuple[str, int]]:
    """The types of the client's texts, a run of the same as one, each with the bytes of audio before it."""
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
    """What says the type of a client's text, and its ids, in all protocols."""

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
