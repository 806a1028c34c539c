"""The messages of OpenAI's realtime transcription that only OpenAI has; see `realtime.wire`.

Source: PyPI `openai` 3.57.0 (`types/realtime`), which is generated from the vendor's description of its interface.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..lenient import Count
from ..realtime.wire import (
    Append,
    Clear,
    Cleared,
    ClientMessage,
    Commit,
    Committed,
    ErrorEvent,
    ItemAdded,
    ItemCreated,
    ItemInfo,
    ItemMessage,
    ServerMessage,
    SessionCreated,
    SessionInfo,
    SessionUpdated,
    TranscriptionFailed,
    WireSpeechStarted,
    WireSpeechStopped,
)

__all__ = [
    "ClientEvent",
    "ConfiguredSession",
    "ItemAdded",
    "ItemDone",
    "LogProb",
    "ServerEvent",
    "SessionUpdate",
    "TranscriptionCompleted",
    "TranscriptionDelta",
    "WireLanguage",
    "WireUsage",
]

# --- client to server ------------------------------------------------------------------------------------------------


class SessionUpdate(ClientMessage, frozen=True, kw_only=True, tag="session.update"):
    """Configure the session."""

    session: dict[str, Any]


ClientEvent = SessionUpdate | Append | Commit | Clear

# --- server to client ------------------------------------------------------------------------------------------------


class ConfiguredSession(SessionInfo, frozen=True, kw_only=True, gc=False):
    """The session as OpenAI reports it."""

    object: Any = "realtime.transcription_session"
    type: Any = "transcription"
    audio: Any = None
    include: Any = None
    expires_at: Any = None


class ItemDone(ServerMessage, frozen=True, kw_only=True, tag="conversation.item.done"):
    """The item of an utterance is complete, but for its text; it brings nothing new."""

    previous_item_id: str | None = None
    item: ItemInfo = ItemInfo()


class LogProb(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The logarithm of the probability of one token."""

    token: Any = None
    bytes: Any = None
    logprob: float | None = None


class WireLanguage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A language that was detected in the audio."""

    code: str | None = None


class WireUsage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The usage that is billed for one utterance; `seconds` where audio is billed by its length, tokens elsewhere."""

    type: str | None = None
    seconds: float | None = None
    input_tokens: Any = None
    output_tokens: Any = None
    total_tokens: Any = None


class TranscriptionDelta(
    ItemMessage, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.delta"
):
    """More text of an utterance, behind that of the deltas before."""

    content_index: Count | None = None
    delta: str | None = None


class TranscriptionCompleted(
    ItemMessage,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag="conversation.item.input_audio_transcription.completed",
):
    """The final text of an utterance."""

    content_index: Count | None = None
    transcript: str | None = None
    usage: WireUsage | None = None
    languages: tuple[WireLanguage, ...] | None = None
    logprobs: tuple[LogProb, ...] | None = None


ServerEvent = (
    SessionCreated
    | SessionUpdated
    | ErrorEvent
    | WireSpeechStarted
    | WireSpeechStopped
    | Committed
    | Cleared
    | ItemCreated
    | ItemAdded
    | ItemDone
    | TranscriptionDelta
    | TranscriptionCompleted
    | TranscriptionFailed
)
