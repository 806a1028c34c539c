"""The messages of the Qwen realtime protocol (`/api-ws/v1/realtime`), defined once for client and server.

Only shapes: does not know their order, which the codec checks on the client's side and the emulator on the server's.
All messages are JSON texts with their name in `type`. Members that this library uses are lenient; the others are
accepted with any value. Sources: the client event and server event pages of Qwen-ASR-Realtime (2026-03-15), and the
messages of the official SDK 2.0.2 (`audio/qwen_omni`).
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from msgspec import UNSET, UnsetType

from ..lenient import Count, Milliseconds

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


class _ClientEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    event_id: str = ""


class SessionUpdate(_ClientEvent, frozen=True, kw_only=True, tag="session.update"):
    """Configure the session."""

    session: SessionConfig


class Append(_ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """A piece of audio as base64, 15 MiB of that at most; the server does not answer it."""

    audio: memoryview


class Commit(_ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    """Manual mode: recognise the audio in the buffer as one utterance."""


class Clear(_ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    """Drop the audio in the buffer."""


class Finish(_ClientEvent, frozen=True, kw_only=True, tag="session.finish"):
    """The end of the audio; the server still sends its results."""


ClientEvent = SessionUpdate | Append | Commit | Clear | Finish

# --- server to client ------------------------------------------------------------------------------------------------


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The session as the server has configured it."""

    id: str = ""
    object: Any = "realtime.session"
    model: Any = None
    modalities: Any = ("text",)
    input_audio_format: Any = None
    sample_rate: Any = None
    input_audio_transcription: Any = None
    turn_detection: Any = None


class WireError(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The server's description of an error; `event_id` is the client's event that caused it.

    `invalid_request_error` leaves the connection open, `server_error` ends it (server event page of the sibling
    Qwen-Audio-Realtime, 2026-07-14).
    """

    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


class ItemInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An utterance as an item of the conversation."""

    id: str = ""
    object: Any = "realtime.item"
    type: Any = "message"
    status: Any = "completed"
    role: Any = "user"
    content: Any = ()


class _ServerEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    event_id: str | None = None


class _ItemEvent(_ServerEvent, frozen=True, kw_only=True):
    """An event of one utterance."""

    item_id: str | None = None


class SessionCreated(_ServerEvent, frozen=True, kw_only=True, tag="session.created"):
    """The first message, with the server's defaults."""

    session: SessionInfo = SessionInfo()


class SessionUpdated(_ServerEvent, frozen=True, kw_only=True, tag="session.updated"):
    """The server has accepted session.update."""

    session: SessionInfo = SessionInfo()


class SessionFinished(_ServerEvent, frozen=True, kw_only=True, tag="session.finished"):
    """The end: every result has been sent."""


class ErrorEvent(_ServerEvent, frozen=True, kw_only=True, tag="error"):
    """An error of the session, or of one of the client's events."""

    error: WireError = WireError()


class WireSpeechStarted(_ItemEvent, frozen=True, kw_only=True, tag="input_audio_buffer.speech_started"):
    """Speech begins, in milliseconds from the start of the session's audio."""

    audio_start_ms: Milliseconds | None = None


class WireSpeechStopped(_ItemEvent, frozen=True, kw_only=True, tag="input_audio_buffer.speech_stopped"):
    """Speech ends, in milliseconds from the start of the session's audio."""

    audio_end_ms: Milliseconds | None = None


class Committed(_ItemEvent, frozen=True, kw_only=True, tag="input_audio_buffer.committed"):
    """The audio in the buffer has become an utterance."""

    previous_item_id: str | None = None


class Cleared(_ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.cleared"):
    """The buffer is empty."""


class ItemCreated(_ServerEvent, frozen=True, kw_only=True, tag="conversation.item.created"):
    """The utterance is an item of the conversation."""

    previous_item_id: str | None = None
    item: ItemInfo = ItemInfo()


class TranscriptionText(_ItemEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.text"):
    """The utterance so far: `text` does not change any more, `stash` behind it may still change."""

    content_index: Count | None = None
    language: str | None = None
    emotion: str | None = None
    text: str | None = None
    stash: str | None = None


class TranscriptionCompleted(
    _ItemEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.completed"
):
    """The final text of the utterance."""

    content_index: Count | None = None
    language: str | None = None
    emotion: str | None = None
    transcript: str | None = None


class TranscriptionFailed(
    _ItemEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.failed"
):
    """The utterance could not be recognised."""

    content_index: Count | None = None
    error: WireError = WireError()


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

SERVER_EVENT_NAMES = frozenset(str(event.__struct_config__.tag) for event in get_args(ServerEvent))
CLIENT_EVENT_NAMES = frozenset(str(event.__struct_config__.tag) for event in get_args(ClientEvent))
