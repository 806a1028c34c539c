"""The codec of DashScope's Qwen realtime protocol: session.update, audio as base64 text, session.finish.

One codec is one session of the vendor, which is one connection: the protocol has no second session on it. The server
sends the first message, but the client does not wait for it: session.created only brings the session's id, before or
after our session.update.

A segment is an item of the conversation (an utterance); segments are numbered in the order of their first sign. The
server detects the speech, or in the manual mode the caller cuts with `commit`, and the times of a segment are those of
its committed audio. The protocol has no times of words, so an interim ends where its segment begins until the end of
the speech is known. Finals are returned as they arrive: if the server completes a later item first, `segment_id` shows
the order. Which item a message is about is in `realtime_utterances`.

Errors are handled so that no transcript ends silently short:

- an item that fails (`...failed`) ends the session with the vendor's error: its audio is in no result;
- session.finished while a commit waits for its confirmation is an error too, which is retried: the committed audio is
  in no item. What is in an item without a final is returned as `SegmentTracker.close_at_end` says;
- a `server_error` ends the session, as does any error while the session opens or finishes, and one about our audio;
- an `invalid_request_error` at another time, about a commit or about no message of ours, is reported as `Unrecognised`
  and changes nothing. The audio of a refused commit stays in the server's buffer for the next commit.

Does not know sockets or clocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from ...audio import AudioBytes
from ...errors import ASRError, VendorError
from ..codec import (
    CodecEvent,
    Failed,
    Finished,
    Message,
    Reread,
    Started,
    State,
    Step,
    TaskDescription,
    TaskLifecycle,
    Unrecognised,
    read_message,
    reread_events,
)
from ..lenient import LenientReader, UnreadableError, known_ms, parse_json, without_lone_surrogates
from .errors import VENDOR, error_from_code
from .realtime_models import QwenRealtime
from .realtime_utterances import Utterances
from .realtime_wire import (
    SERVER_EVENT_NAMES,
    Append,
    ClientEvent,
    Commit,
    Committed,
    Corpus,
    ErrorEvent,
    Finish,
    ItemCreated,
    ServerEvent,
    SessionConfig,
    SessionCreated,
    SessionFinished,
    SessionUpdate,
    SessionUpdated,
    Transcription,
    TranscriptionCompleted,
    TranscriptionFailed,
    TranscriptionText,
    TurnDetection,
    WireError,
    WireSpeechStarted,
    WireSpeechStopped,
)

__all__ = ["RealtimeCodec", "describe_session"]

# bound here, since an access to a member of an enum is a function call in CPython 3.11
_AUDIO = Step.AUDIO
_STREAMING = State.STREAMING
_RESULT = Step.RESULT

MAX_APPEND_BYTES = 15 * 1024 * 1024 // 4 * 3
"""The audio that makes 15 MiB of base64, the most that one message may hold (client event page, 2026-03-15)."""

_encode = msgspec.json.Encoder().encode
_decode: Callable[[str], ServerEvent] = msgspec.json.Decoder(ServerEvent).decode
_reader: LenientReader[ServerEvent] = LenientReader(ServerEvent)


class _TypeOnly(msgspec.Struct, frozen=True):
    type: str = ""


_decode_type = msgspec.json.Decoder(_TypeOnly).decode

Events = list[CodecEvent]


class _CommittedAudio:
    """The audio of one commit, by its place in the bytes of the session."""

    __slots__ = ("end_bytes", "start_bytes")

    def __init__(self, start_bytes: int, end_bytes: int) -> None:
        self.start_bytes = start_bytes
        self.end_bytes = end_bytes


def describe_session(options: QwenRealtime) -> TaskDescription:
    """Return the facts about a session."""
    return TaskDescription(
        audio_format=options.audio,
        max_frame_bytes=MAX_APPEND_BYTES,
        takes_commits=options.capabilities.commit,
        context_refusal=f"context: {options.model} accepts it as corpus_text, at the start only",
    )


class RealtimeCodec:
    """One session of the vendor; see `Codec` for the methods' contract, and `commit` for the manual mode."""

    def __init__(self, options: QwenRealtime, *, task_id: str) -> None:
        """Make the codec of a session.

        Args:
            options: the options of the model.
            task_id: the beginning of our events' ids.
        """
        self._options = options
        self._task_id = task_id
        self._session_id = ""
        self._event_count = 0
        self._lifecycle = TaskLifecycle()
        self._utterances = Utterances()
        self._sent_bytes = 0
        # the end of the audio in the commits, without those that the server has refused
        self._committed_bytes = 0
        # event id → the audio, of the commits that the server has not confirmed yet
        self._commits: dict[str, _CommittedAudio] = {}
        self._session_handlers: dict[type[ServerEvent], Callable[[Any, str], Events]] = {
            SessionCreated: self._on_created,
            SessionUpdated: self._on_updated,
            SessionFinished: self._on_finished,
            ErrorEvent: self._on_error,
        }
        self._item_handlers: dict[type[ServerEvent], Callable[[Any, str], Events]] = {
            TranscriptionText: self._on_text,
            TranscriptionCompleted: self._on_completed,
            TranscriptionFailed: self._on_item_failed,
            WireSpeechStarted: self._on_speech_started,
            WireSpeechStopped: self._on_speech_stopped,
            Committed: self._on_committed,
            ItemCreated: self._on_item_created,
        }

    def __repr__(self) -> str:
        return f"<RealtimeCodec {self._options.model} {self._task_id} {self._lifecycle.state.value}>"

    # --- client to server --------------------------------------------------------------------------------------------

    @property
    def request_id(self) -> str:
        """The session's id, which is in the server's first message; empty until then."""
        return self._session_id

    def start(self) -> list[Message]:
        """Return session.update, which configures the session."""
        self._lifecycle.advance(Step.START)
        update = SessionUpdate(event_id=self._next_event_id(), session=_session_config(self._options))
        message = msgspec.to_builtins(update)
        message["session"].update(self._options.extra_parameters)
        return [_encode(message).decode()]

    def audio(self, frame: AudioBytes) -> Message:
        """Return the message that carries the audio as base64."""
        if self._lifecycle.state is not _STREAMING:  # else it stays so; a call for each frame costs as much as the rest
            self._lifecycle.advance(_AUDIO)
        self._sent_bytes += len(frame)
        return _text(Append(event_id=self._next_event_id(), audio=memoryview(frame)))

    def commit(self) -> list[Message]:
        """Return the commit of the audio since the last one, as one utterance; empty if there is no such audio."""
        self._lifecycle.advance(Step.COMMIT)
        return self._commit()

    def finish(self) -> list[Message]:
        """Return session.finish; in the manual mode, behind a commit of the audio that is not committed yet."""
        self._lifecycle.advance(Step.FINISH)
        commit = self._commit() if self._options.manual_commit else []
        return [*commit, _text(Finish(event_id=self._next_event_id()))]

    def _commit(self) -> list[Message]:
        if self._sent_bytes == self._committed_bytes:
            return []  # the server refuses to commit an empty buffer
        event_id = self._next_event_id()
        self._commits[event_id] = _CommittedAudio(self._committed_bytes, self._sent_bytes)
        self._committed_bytes = self._sent_bytes
        return [_text(Commit(event_id=event_id))]

    def _next_event_id(self) -> str:
        self._event_count += 1
        return f"{self._task_id}_{self._event_count}"

    # --- server to client --------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes) -> Events:
        """Return the events of one message.

        Raises:
            RemoteProtocolError: the message is not JSON, its name is no text, or it is out of order.
        """
        request_id = self._session_id or None
        event = read_message(message, _decode_event, _reader, of="DashScope", vendor=VENDOR, request_id=request_id)
        if isinstance(event, Reread):
            return reread_events(event, self._dispatch, message)
        return self._dispatch(event, str(message))  # text: `read_message` decodes no other

    def _dispatch(self, event: ServerEvent, raw: str) -> Events:
        if self._lifecycle.state in {State.DONE, State.FAILED}:
            return []
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

    def _on_finished(self, _event: SessionFinished, raw: str) -> Events:
        if self._commits:
            text = "DashScope finished the session without the final text of some of its audio"
            error = VendorError(text, retryable=True, request_id=self._session_id or None, vendor=VENDOR, raw=raw)
            return self._fail(error)
        self._lifecycle.advance(Step.FINISHED)
        return [*self._utterances.close(), Finished()]

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

    def _on_item_event(self, event: ServerEvent, raw: str) -> Events:
        self._lifecycle.advance(_RESULT)
        handler = self._item_handlers.get(type(event))
        return handler(event, raw) if handler else []

    def _on_text(self, event: TranscriptionText, raw: str) -> Events:
        return self._utterances.interim(event, request_id=self._session_id, raw=raw)

    def _on_completed(self, event: TranscriptionCompleted, raw: str) -> Events:
        events = self._complete_commit(event.item_id or None) if self._commits else []
        return [*events, *self._utterances.final(event, request_id=self._session_id, raw=raw)]

    def _on_speech_started(self, event: WireSpeechStarted, _raw: str) -> Events:
        return self._utterances.start(event.item_id or None, self._to_sent_ms(event.audio_start_ms))

    def _on_speech_stopped(self, event: WireSpeechStopped, _raw: str) -> Events:
        return self._utterances.stop(event.item_id or None, self._to_sent_ms(event.audio_end_ms))

    def _on_item_created(self, event: ItemCreated, _raw: str) -> Events:
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
        return None if self._options.audio.bytes_per_second is None else self._options.audio.to_ms(size_bytes)

    def _to_error(self, error: WireError, raw: str) -> ASRError:
        text = error.message or "DashScope reported an error without a reason"
        return error_from_code(
            error.code or "",
            f"{text} ({error.param})" if error.param else text,
            kind=error.type or "",
            request_id=self._session_id or None,
            # a code that is in no table is then treated as an error of the server, or of the client
            status=500 if error.type == "server_error" else None,
            raw=raw,
        )

    def _fail(self, error: ASRError) -> Events:
        self._lifecycle.advance(Step.FAIL)
        return [Failed(error)]


def _decode_event(message: str) -> ServerEvent | Reread[ServerEvent]:
    try:
        return _decode(message)
    except (msgspec.DecodeError, RecursionError):
        event_type = _type_of(message)
        if event_type is None or event_type in SERVER_EVENT_NAMES:
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


def _session_config(options: QwenRealtime) -> SessionConfig:
    corpus = None if options.corpus_text is None else Corpus(options.corpus_text)
    return SessionConfig(
        modalities=("text",),
        input_audio_format=options.audio.encoding,
        sample_rate=options.audio.sample_rate,
        input_audio_transcription=Transcription(language=options.language, corpus=corpus),
        turn_detection=None if options.manual_commit else _turn_detection(options),
    )


def _turn_detection(options: QwenRealtime) -> TurnDetection:
    return TurnDetection(
        type="server_vad",
        threshold=options.vad_threshold,
        prefix_padding_ms=options.prefix_padding_ms,
        silence_duration_ms=options.silence_duration_ms,
    )


def _text(message: ClientEvent) -> str:
    return _encode(message).decode()
