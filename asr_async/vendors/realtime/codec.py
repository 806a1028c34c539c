"""The codec of the realtime protocols: session.update, audio as base64 text, commits, and the server's items.

One codec is one session of the vendor, which is one connection: the protocol has no second session on it. The server
sends the first message, but the client does not wait for it: session.created only brings the session's id, before or
after our session.update.

A segment is an item of the conversation (an utterance); segments are numbered in the order of their first sign. The
server detects the speech, or the caller cuts with `commit`, and the times of a segment are those of its committed
audio. The protocol has no times of words, so an interim ends where its segment begins until the end of the speech is
known. Finals are returned as they arrive: if the server completes a later item first, `segment_id` shows the order.
Which item a message is about is in `utterances`.

Errors are handled so that no transcript ends silently short:

- an item that fails (`...failed`) ends the session with the vendor's error: its audio is in no result;
- a `server_error` ends the session, as does any error while the session opens or finishes, and one about our audio;
- an `invalid_request_error` at another time, about a commit or about no message of ours, is reported as `Unrecognised`
  and changes nothing. The audio of a refused commit stays in the server's buffer for the next commit.

A vendor's codec adds the configuration of a session, its texts, and the way in which a session ends. Does not know
vendors, sockets or clocks.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from ...audio import AudioBytes, AudioFormat
from ...errors import ASRError, VendorError
from ..codec import (
    CodecEvent,
    Failed,
    Message,
    Reread,
    Started,
    State,
    Step,
    TaskLifecycle,
    Unrecognised,
    read_message,
    reread_events,
)
from ..lenient import LenientReader, UnreadableError, known_ms, parse_json, without_lone_surrogates
from .utterances import Utterances
from .wire import (
    Append,
    ClientMessage,
    Commit,
    Committed,
    ErrorEvent,
    ItemAdded,
    ItemCreated,
    ServerMessage,
    SessionCreated,
    SessionUpdated,
    TranscriptionFailed,
    WireError,
    WireSpeechStarted,
    WireSpeechStopped,
    names_of,
)

__all__ = [
    "MAX_APPEND_BYTES",
    "BasicRealtimeCodec",
    "CommittedAudio",
    "Events",
    "RealtimeCodec",
    "RealtimeReader",
    "encoded",
]

# bound here, since an access to a member of an enum is a function call in CPython 3.11
_AUDIO = Step.AUDIO
_STREAMING = State.STREAMING
_RESULT = Step.RESULT

MAX_APPEND_BYTES = 15 * 1024 * 1024 // 4 * 3
"""The audio that makes 15 MiB of base64, the most that one message may hold (DashScope's client event page, 2026-03-15;
PyPI `openai` 3.57.0)."""

Events = list[CodecEvent]

_M = TypeVar("_M", bound=ServerMessage)

_encode = msgspec.json.Encoder().encode


def encoded(message: ClientMessage | dict[str, Any]) -> str:
    """Return a message as JSON text."""
    return _encode(message).decode()


class _TypeOnly(msgspec.Struct, frozen=True):
    type: str = ""


_decode_type = msgspec.json.Decoder(_TypeOnly).decode


class RealtimeReader(Generic[_M]):
    """The decoder of a vendor's messages; one that the vendor's union does not have is `Unrecognised`."""

    __slots__ = ("_decode", "_lenient", "_name", "_names", "_vendor")

    def __init__(self, messages: Any, *, of: str, vendor: str) -> None:
        """Make the decoder.

        Args:
            messages: the union of the vendor's messages.
            of: the vendor's name in error texts.
            vendor: the vendor's name in options and errors.
        """
        self._decode: Callable[[str], _M] = msgspec.json.Decoder(messages).decode
        self._lenient: LenientReader[_M] = LenientReader(messages)
        self._names = names_of(messages)
        self._name = of
        self._vendor = vendor

    def __repr__(self) -> str:
        return f"<RealtimeReader {self._name}>"

    def read(self, message: str | bytes, request_id: str | None) -> _M | Reread[_M]:
        """Return a message.

        Raises:
            RemoteProtocolError: the message is not JSON, or its name is no text.
        """
        return read_message(
            message, self._decode_known, self._lenient, of=self._name, vendor=self._vendor, request_id=request_id
        )

    def _decode_known(self, message: str) -> _M | Reread[_M]:
        try:
            return self._decode(message)
        except (msgspec.DecodeError, RecursionError):
            event_type = _type_of(message)
            if event_type is None or event_type in self._names:
                raise
            return Reread(None, Unrecognised(event_type or "message without a type", message))


def _type_of(message: str) -> str | None:
    """Return the name of a message that cannot be decoded; empty if it has none, None if it cannot be read either."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        return _decode_type(message).type
    try:
        members = parse_json(message)
    except UnreadableError:
        return None
    event_type = members.get("type", "") if isinstance(members, dict) else None
    return without_lone_surrogates(event_type) if isinstance(event_type, str) else None


class CommittedAudio:
    """The audio of one commit, by its place in the bytes of the session."""

    __slots__ = ("end_bytes", "start_bytes")

    def __init__(self, start_bytes: int, end_bytes: int) -> None:
        self.start_bytes: int = start_bytes
        self.end_bytes: int = end_bytes


class BasicRealtimeCodec(ABC, Generic[_M]):
    """The part of a codec that all servers share: the ids of our events, the audio, and the reading of messages."""

    def __init__(self, model: str, audio_format: AudioFormat, reader: RealtimeReader[_M], *, task_id: str) -> None:
        """Make the codec of a session.

        Args:
            model: the name of the model.
            audio_format: the format of the audio that is sent.
            reader: the decoder of the vendor's messages.
            task_id: the beginning of our events' ids.
        """
        self._model = model
        self._audio_format = audio_format
        self._read = reader.read
        self._task_id = task_id
        self._session_id = ""
        self._event_count = 0
        self._lifecycle = TaskLifecycle()
        self._utterances = Utterances()
        self._sent_bytes = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._model} {self._task_id} {self._lifecycle.state.value}>"

    @property
    def request_id(self) -> str:
        """The session's id, which is in the server's first message; empty until then."""
        return self._session_id

    def audio(self, frame: AudioBytes) -> Message:
        """Return the message that carries the audio as base64."""
        if self._lifecycle.state is not _STREAMING:  # else it stays so; a call for each frame costs as much as the rest
            self._lifecycle.advance(_AUDIO)
        self._sent_bytes += len(frame)
        return _encode(Append(event_id=self._next_event_id(), audio=memoryview(frame))).decode()

    def _next_event_id(self) -> str:
        self._event_count += 1
        return f"{self._task_id}_{self._event_count}"

    def receive(self, message: str | bytes) -> Events:
        """Return the events of one message; none behind the end.

        Raises:
            RemoteProtocolError: the message is not JSON, its name is no text, or it is out of order.
        """
        event = self._read(message, self._session_id or None)
        if isinstance(event, Reread):
            return reread_events(event, self._dispatch, message)
        return self._dispatch(event, str(message))  # text: `read_message` decodes no other

    def _dispatch(self, event: _M, raw: str) -> Events:
        return [] if self._lifecycle.state in {State.DONE, State.FAILED} else self._on_event(event, raw)

    @abstractmethod
    def _on_event(self, event: _M, raw: str) -> Events:
        """Return the events of one message of a session that goes on."""


class RealtimeCodec(BasicRealtimeCodec[_M]):
    """One session of the vendor; see `Codec` for the methods' contract, and `commit` for the commits of the caller."""

    def __init__(self, model: str, audio_format: AudioFormat, reader: RealtimeReader[_M], *, task_id: str) -> None:
        """Make the codec of a session; see `BasicRealtimeCodec`."""
        super().__init__(model, audio_format, reader, task_id=task_id)
        # the end of the audio in the commits, without those that the server has refused
        self._committed_bytes = 0
        # event id → the audio, of the commits that the server has not confirmed yet
        self._commits: dict[str, CommittedAudio] = {}
        self._session_handlers: dict[type[ServerMessage], Callable[[Any, str], Events]] = {
            SessionCreated: self._on_created,
            SessionUpdated: self._on_updated,
            ErrorEvent: self._on_error,
        }
        self._item_handlers: dict[type[ServerMessage], Callable[[Any, str], Events]] = {
            TranscriptionFailed: self._on_item_failed,
            WireSpeechStarted: self._on_speech_started,
            WireSpeechStopped: self._on_speech_stopped,
            Committed: self._on_committed,
            ItemCreated: self._on_item_created,
        }

    @abstractmethod
    def _session_update(self, event_id: str) -> str:
        """Return session.update, which configures the session."""

    @abstractmethod
    def _to_error(self, error: WireError, raw: str) -> ASRError:
        """Return the error for the vendor's description of one."""

    # --- client to server --------------------------------------------------------------------------------------------

    def start(self) -> list[Message]:
        """Return session.update, which configures the session."""
        self._lifecycle.advance(Step.START)
        return [self._session_update(self._next_event_id())]

    def commit(self) -> list[Message]:
        """Return the commit of the audio since the last one, as one utterance; empty if there is no such audio."""
        self._lifecycle.advance(Step.COMMIT)
        return self._commit()

    @abstractmethod
    def finish(self) -> list[Message]:
        """Return the messages that end the audio."""

    def _commit(self) -> list[Message]:
        if self._sent_bytes == self._committed_bytes:
            return []  # the server refuses to commit an empty buffer
        event_id = self._next_event_id()
        self._commits[event_id] = CommittedAudio(self._committed_bytes, self._sent_bytes)
        self._committed_bytes = self._sent_bytes
        return [encoded(Commit(event_id=event_id))]

    # --- server to client --------------------------------------------------------------------------------------------

    def _on_event(self, event: _M, raw: str) -> Events:
        handler = self._session_handlers.get(type(event))
        return handler(event, raw) if handler else self._on_item_event(event, raw)

    def _on_created(self, event: SessionCreated, _raw: str) -> Events:
        self._session_id = event.session.id or self._session_id
        return []

    def _on_updated(self, event: SessionUpdated, _raw: str) -> Events:
        if self._lifecycle.state is State.STREAMING:
            return []  # a repeat
        self._lifecycle.advance(Step.STARTED)
        self._session_id = self._session_id or event.session.id
        return [Started(self._session_id)]

    def _on_error(self, event: ErrorEvent, raw: str) -> Events:
        wire_error = event.error
        error = self._to_error(wire_error, raw)
        if self._lifecycle.state is State.STREAMING and self._is_harmless(wire_error, error):
            self._on_commit_refused(wire_error.event_id or "")
            return [Unrecognised(f"error {wire_error.code or wire_error.type}", raw)]
        return self._fail(error)

    def _on_commit_refused(self, event_id: str) -> None:
        """Give the audio of a refused commit to the next one: it stays in the server's buffer."""
        refused = self._commits.pop(event_id, None)
        if refused is None:
            return
        for audio in self._commits.values():
            if audio.start_bytes == refused.end_bytes:
                audio.start_bytes = refused.start_bytes
                return
        self._committed_bytes = refused.start_bytes

    def _is_harmless(self, wire_error: WireError, error: ASRError) -> bool:
        """Return True if the session goes on and no audio is lost by the error."""
        if wire_error.type != "invalid_request_error":
            return False
        if error.retryable or type(error) is not VendorError:  # a rate limit or a refused key, whatever its type
            return False
        event_id = wire_error.event_id or ""
        is_about_audio = event_id.startswith(f"{self._task_id}_") and event_id not in self._commits
        return not is_about_audio

    def _on_item_event(self, event: _M, raw: str) -> Events:
        self._lifecycle.advance(_RESULT)
        handler = self._item_handlers.get(type(event))
        return handler(event, raw) if handler else []

    def _on_speech_started(self, event: WireSpeechStarted, _raw: str) -> Events:
        return self._utterances.start(event.item_id or None, self._to_sent_ms(event.audio_start_ms))

    def _on_speech_stopped(self, event: WireSpeechStopped, _raw: str) -> Events:
        return self._utterances.stop(event.item_id or None, self._to_sent_ms(event.audio_end_ms))

    def _on_item_created(self, event: ItemCreated | ItemAdded, _raw: str) -> Events:
        return self._utterances.detect(event.item.id or None)

    def _on_item_failed(self, event: TranscriptionFailed, raw: str) -> Events:
        return self._fail(self._to_error(event.error, raw))

    def _on_committed(self, event: Committed, _raw: str) -> Events:
        item_id = event.item_id or None
        if not self._commits:
            return self._utterances.stop(item_id, None, is_reported=False)
        if self._utterances.confirm_commit(item_id):
            return []
        is_second = len(self._commits) > 1 and self._follows_unknown(event.previous_item_id)
        return self._answer_commit(item_id, number=1 if is_second else 0, is_confirmed=True)

    def _follows_unknown(self, previous_item_id: str | None) -> bool:
        """Return True if the item before an item is not known yet, so that its commit was sent before."""
        return bool(previous_item_id) and not self._utterances.is_known(previous_item_id or "")

    def _complete_commit(self, item_id: str | None) -> Events:
        """Return the events of a commit that a final answers: one about no utterance that is known."""
        if not self._commits:
            return []
        utterances = self._utterances
        is_known = utterances.has_due_commit if item_id is None else utterances.is_known(item_id)
        return [] if is_known else self._answer_commit(item_id, number=0, is_confirmed=False)

    def _answer_commit(self, item_id: str | None, *, number: int, is_confirmed: bool) -> Events:
        audio = self._commits.pop(list(self._commits)[number])
        start_ms, end_ms = self._to_ms(audio.start_bytes), self._to_ms(audio.end_bytes)
        return self._utterances.commit(item_id, start_ms, end_ms, is_confirmed=is_confirmed)

    def _to_sent_ms(self, time_ms: int | None) -> int | None:
        """Return a time of the server, or the end of the audio sent so far for one behind it; None if not known."""
        time_ms = known_ms(time_ms)
        if time_ms is None or not self._sent_bytes:
            return time_ms
        sent_ms = self._to_ms(self._sent_bytes)
        return time_ms if sent_ms is None else min(time_ms, sent_ms)

    def _to_ms(self, size_bytes: int) -> int | None:
        return None if self._audio_format.bytes_per_second is None else self._audio_format.to_ms(size_bytes)

    def _fail(self, error: ASRError) -> Events:
        self._lifecycle.advance(Step.FAIL)
        return [Failed(error)]
