"""The messages that the realtime protocols share, defined once for client and server.

Only shapes: does not know their order, which the codec checks on the client's side and the emulator on the server's. A
vendor adds its own messages to these. All messages are JSON texts with their name in `type`. Members that this library
uses are lenient; the others are accepted with any value. Sources: the client event and server event pages of
Qwen-ASR-Realtime (2026-03-15), and PyPI `openai` 3.57.0 (`types/realtime`).
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from ..lenient import Count, Milliseconds

__all__ = [
    "Append",
    "Clear",
    "Cleared",
    "ClientMessage",
    "Commit",
    "Committed",
    "ErrorEvent",
    "ItemAdded",
    "ItemCreated",
    "ItemInfo",
    "ItemMessage",
    "ServerMessage",
    "SessionCreated",
    "SessionInfo",
    "SessionUpdated",
    "TranscriptionFailed",
    "WireError",
    "WireSpeechStarted",
    "WireSpeechStopped",
    "names_of",
]

# --- client to server ------------------------------------------------------------------------------------------------


class ClientMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A message of the client; errors refer to it by its id."""

    event_id: str = ""


class Append(ClientMessage, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """A piece of audio as base64, 15 MiB of that at most; the server does not answer it."""

    audio: memoryview


class Commit(ClientMessage, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    """Recognise the audio in the buffer as one utterance."""


class Clear(ClientMessage, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    """Drop the audio in the buffer."""


# --- server to client ------------------------------------------------------------------------------------------------


class WireError(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The server's description of an error; `event_id` is the client's event that caused it.

    `invalid_request_error` leaves the connection open; DashScope's `server_error` ends it (server event page of the
    sibling Qwen-Audio-Realtime, 2026-07-14).
    """

    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The session as the server has configured it; a vendor's server sends more members."""

    id: str = ""


class ItemInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An utterance as an item of the conversation."""

    id: str = ""
    object: Any = "realtime.item"
    type: Any = "message"
    status: Any = "completed"
    role: Any = "user"
    content: Any = ()


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    """A message of the server."""

    event_id: str | None = None


class ItemMessage(ServerMessage, frozen=True, kw_only=True):
    """A message about one utterance."""

    item_id: str | None = None


class SessionCreated(ServerMessage, frozen=True, kw_only=True, tag="session.created"):
    """The first message, with the server's defaults."""

    session: SessionInfo = SessionInfo()


class SessionUpdated(ServerMessage, frozen=True, kw_only=True, tag="session.updated"):
    """The server has accepted session.update."""

    session: SessionInfo = SessionInfo()


class ErrorEvent(ServerMessage, frozen=True, kw_only=True, tag="error"):
    """An error of the session, or of one of the client's events."""

    error: WireError = WireError()


class WireSpeechStarted(ItemMessage, frozen=True, kw_only=True, tag="input_audio_buffer.speech_started"):
    """Speech begins, in milliseconds from the start of the session's audio."""

    audio_start_ms: Milliseconds | None = None


class WireSpeechStopped(ItemMessage, frozen=True, kw_only=True, tag="input_audio_buffer.speech_stopped"):
    """Speech ends, in milliseconds from the start of the session's audio."""

    audio_end_ms: Milliseconds | None = None


class Committed(ItemMessage, frozen=True, kw_only=True, tag="input_audio_buffer.committed"):
    """The audio in the buffer has become an utterance."""

    previous_item_id: str | None = None


class Cleared(ServerMessage, frozen=True, kw_only=True, tag="input_audio_buffer.cleared"):
    """The buffer is empty."""


class ItemCreated(ServerMessage, frozen=True, kw_only=True, tag="conversation.item.created"):
    """The utterance is an item of the conversation."""

    previous_item_id: str | None = None
    item: ItemInfo = ItemInfo()


class ItemAdded(ServerMessage, frozen=True, kw_only=True, tag="conversation.item.added"):
    """OpenAI's newer form of `conversation.item.created`."""

    previous_item_id: str | None = None
    item: ItemInfo = ItemInfo()


class TranscriptionFailed(
    ItemMessage, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.failed"
):
    """The utterance could not be recognised."""

    content_index: Count | None = None
    error: WireError = WireError()


def names_of(messages: Any) -> frozenset[str]:
    """Return the names of the messages of a union."""
    return frozenset(str(message.__struct_config__.tag) for message in get_args(messages))
