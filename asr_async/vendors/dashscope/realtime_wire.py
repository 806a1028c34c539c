"""The messages of the Qwen realtime protocol (`/api-ws/v1/realtime`) that only DashScope has; see `realtime.wire`.

Sources: the client event and server event pages of Qwen-ASR-Realtime (2026-03-15), and the
messages of the official SDK 2.0.2 (`audio/qwen_omni`).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from ..lenient import Count
from ..realtime.wire import (
    Append,
    Clear,
    Cleared,
    ClientMessage,
    Commit,
    Committed,
    ErrorEvent,
    ItemCreated,
    ItemMessage,
    ServerMessage,
    SessionCreated,
    SessionInfo,
    SessionUpdated,
    TranscriptionFailed,
    WireSpeechStarted,
    WireSpeechStopped,
    names_of,
)

# --- client to server ------------------------------------------------------------------------------------------------


class Corpus(msgspec.Struct, frozen=True):
    """A text about the subject of the speech, with its names and terms; 10,000 tokens at most."""

    text: str | None = None


class Transcription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of the recognition."""

    language: str | None = None
    corpus: Corpus | None = None


class TurnDetection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The server's detection of utterances; `type` is always server_vad. Times in milliseconds."""

    type: str
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None


class InputFormat(msgspec.Struct, frozen=True):
    """The encoding and the sample rate in Hz of the audio that the client sends."""

    type: str | None = None
    sample_rate: int | None = None


class AudioInput(msgspec.Struct, frozen=True):
    """The audio that the client sends."""

    format: InputFormat | None = None


class AudioConfig(msgspec.Struct, frozen=True):
    """The newer form of `input_audio_format` and `sample_rate` (`input_audio_config` of the official SDK 2.0.2)."""

    input: AudioInput | None = None


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a session. `turn_detection` null is the manual mode; without it, the server's setting stays."""

    modalities: tuple[str, ...] | None = None
    input_audio_format: str | None = None
    sample_rate: int | None = None
    input_audio_transcription: Transcription | None = None
    turn_detection: TurnDetection | UnsetType | None = UNSET
    audio: AudioConfig | UnsetType | None = UNSET


class SessionUpdate(ClientMessage, frozen=True, kw_only=True, tag="session.update"):
    """Configure the session."""

    session: SessionConfig


class Finish(ClientMessage, frozen=True, kw_only=True, tag="session.finish"):
    """The end of the audio; the server still sends its results."""


ClientEvent = SessionUpdate | Append | Commit | Clear | Finish

# --- server to client ------------------------------------------------------------------------------------------------


class ConfiguredSession(SessionInfo, frozen=True, kw_only=True, gc=False):
    """The session as DashScope reports it."""

    object: Any = "realtime.session"
    model: Any = None
    modalities: Any = ("text",)
    input_audio_format: Any = None
    sample_rate: Any = None
    input_audio_transcription: Any = None
    turn_detection: Any = None


class SessionFinished(ServerMessage, frozen=True, kw_only=True, tag="session.finished"):
    """The end: every result has been sent."""


class TranscriptionText(ItemMessage, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.text"):
    """The utterance so far: `text` does not change any more, `stash` behind it may still change."""

    content_index: Count | None = None
    language: str | None = None
    emotion: str | None = None
    text: str | None = None
    stash: str | None = None


class TranscriptionCompleted(
    ItemMessage, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.completed"
):
    """The final text of the utterance."""

    content_index: Count | None = None
    language: str | None = None
    emotion: str | None = None
    transcript: str | None = None


ServerEvent = (
    SessionCreated
    | SessionUpdated
    | SessionFinished
    | ErrorEvent
    | WireSpeechStarted
    | WireSpeechStopped
    | Committed
    | Cleared
    | ItemCreated
    | TranscriptionText
    | TranscriptionCompleted
    | TranscriptionFailed
)

CLIENT_EVENT_NAMES = names_of(ClientEvent)
