"""The emulated realtime protocols: the part that DashScope's and OpenAI's share.

Knows no engine and no vendor: it reads the events of the client, reports refused ones, and turns utterances into items
of a conversation. A vendor's module has the settings of a session, its texts and its end.
"""

from __future__ import annotations

import contextlib
import uuid
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import msgspec
from aiohttp import WSCloseCode

from ..vendors.realtime.wire import (
    ClientMessage,
    Committed,
    ErrorEvent,
    ItemAdded,
    ItemCreated,
    ItemInfo,
    WireError,
    WireSpeechStarted,
    WireSpeechStopped,
    names_of,
)
from .session import EndConnection, VendorSession, engine_refusals

if TYPE_CHECKING:
    import enum
    from collections.abc import Iterator

    from .connection import ClientConnection
    from .engines.engine import Engine, Recognition
    from .faults import ConnectionFaults
    from .lifecycle import Lifecycle

__all__ = ["ClientEventReader", "EventHeader", "Items", "RealtimeSession", "RefusedError", "ServerError", "new_id"]

_State = TypeVar("_State", bound="enum.Enum")
_Step = TypeVar("_Step", bound="enum.Enum")


def new_id(kind: str) -> str:
    """Return an id of an event, an item or a session."""
    return f"{kind}_{uuid.uuid4().hex}"


class RefusedError(Exception):
    """An error of the client: it is reported, and the connection continues."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.fault: WireError = WireError(type="invalid_request_error", code=code, message=message, param=param)


class ServerError(EndConnection):
    """An error of the server: it is reported, then the connection is closed.

    The documents give no close code for this; 1011 was seen (a third party's log, 2026-04).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__("Internal server error", close_code=WSCloseCode.INTERNAL_ERROR)
        self.fault: WireError = WireError(type="server_error", code=code, message=message)


class EventHeader(msgspec.Struct, frozen=True):
    """The members that an error refers to."""

    type: str = ""
    event_id: str | None = None


class ClientEventReader:
    """The decoder of the events of a vendor's clients."""

    def __init__(self, events: Any) -> None:
        """Make the decoder of a union of messages."""
        self._decoder = msgspec.json.Decoder(events)
        self._names = names_of(events)

    def read_header(self, text: str) -> EventHeader:
        """Return the members of any event that an error refers to.

        Raises:
            EndConnection: the text is no JSON.
        """
        try:
            return msgspec.json.decode(text, type=EventHeader)
        except (msgspec.MsgspecError, RecursionError):
            # "1007: bad JSON" (DashScope's error page)
            raise EndConnection("Invalid payload data", close_code=WSCloseCode.INVALID_TEXT) from None

    def read(self, text: str, header: EventHeader) -> Any:
        """Return the event.

        Raises:
            RefusedError: there is no such event, or a member of it has the wrong type.
        """
        if header.type not in self._names:
            raise RefusedError("invalid_value", f"Invalid value: {header.type!r}. There is no such event.", "type")
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError as error:
            raise RefusedError("invalid_value", str(error)) from None


class Items:
    """The ids of the conversation's items."""

    def __init__(self) -> None:
        self.open_id: str | None = None
        self._last_id: str | None = None

    def begin(self) -> str:
        """Begin an item; return its id."""
        self.open_id = new_id("item")
        return self.open_id

    def end(self) -> tuple[str, str | None]:
        """Complete the present item; return its id and the id of the item before it."""
        item_id, previous_id = self.open_id or new_id("item"), self._last_id
        self.open_id, self._last_id = None, item_id
        return item_id, previous_id


class RealtimeSession(VendorSession[_State, _Step], Generic[_State, _Step]):
    """The session of one client."""

    events: ClassVar[ClientEventReader]
    """The decoder of the client's events."""
    item_created: ClassVar[type[ItemCreated | ItemAdded]] = ItemCreated
    """The message for a new item of the conversation."""

    def __init__(
        self,
        connection: ClientConnection,
        faults: ConnectionFaults,
        lifecycle: Lifecycle[_State, _Step],
        engine: Engine,
    ) -> None:
        super().__init__(connection, faults, lifecycle)
        self._engine = faults.engine_of(engine)
        self._session_id = new_id("sess")
        self._recognition: Recognition | None = None
        self._items = Items()
        self._uncommitted: list[str] = []
        """The texts recognised since the last commit, of which no item was made."""

    @abstractmethod
    async def _on_event(self, event: ClientMessage) -> None:
        """Process an event of the client."""

    async def _on_text(self, text: str) -> None:
        header = self.events.read_header(text)
        try:
            await self._on_event(self.events.read(text, header))
        except RefusedError as refused:
            await self._send_fault(msgspec.structs.replace(refused.fault, event_id=header.event_id))

    async def _on_audio(self, _data: bytes) -> None:
        fault = RefusedError("invalid_value", "audio must be sent as base64 in input_audio_buffer.append").fault
        await self._send_fault(fault)

    async def _start_speech(self, start_ms: int) -> None:
        """Report that speech has started, as a new item."""
        item_id = self._items.begin()
        await self._send(WireSpeechStarted(event_id=new_id("event"), item_id=item_id, audio_start_ms=start_ms))

    async def _stop_speech(self, end_ms: int) -> None:
        """Report that the speech of the open item has ended."""
        open_id = self._items.open_id
        await self._send(WireSpeechStopped(event_id=new_id("event"), item_id=open_id, audio_end_ms=end_ms))

    async def _create_item(self) -> str:
        """Turn the audio received since the last item into an item of the conversation; return its id."""
        item_id, previous_id = self._items.end()
        await self._send(Committed(event_id=new_id("event"), item_id=item_id, previous_item_id=previous_id))
        item = ItemInfo(id=item_id, content=({"type": "input_audio", "transcript": None},))
        await self._send(self.item_created(event_id=new_id("event"), previous_item_id=previous_id, item=item))
        return item_id

    @contextlib.contextmanager
    def _engine_refusals(self) -> Iterator[None]:
        """Convert what the engine does not support into a refused event, and its other refusals into an error."""

        def failure(code: str, reason: str) -> Exception:
            is_unsupported = code == self.engine_codes["unsupported"]
            return RefusedError(code, reason) if is_unsupported else ServerError(code, reason)

        with engine_refusals(self.engine_codes, failure):
            yield

    def _timed_out(self) -> EndConnection:
        return EndConnection("idle", close_code=WSCloseCode.OK)

    def _failure(self, code: str, message: str) -> EndConnection:
        return ServerError(code, message)

    async def _close_recognition(self) -> None:
        """Close the recognition and forget its texts."""
        if self._recognition is not None:
            await self._recognition.aclose()
        self._recognition = None
        self._uncommitted.clear()

    async def _send_reason(self, end: EndConnection) -> None:
        if isinstance(end, ServerError):
            await self._send_fault(end.fault)

    async def _send_fault(self, fault: WireError) -> None:
        await self._send(ErrorEvent(event_id=new_id("event"), error=fault))
