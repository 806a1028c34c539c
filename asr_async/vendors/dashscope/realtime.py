"""The codec of DashScope's Qwen realtime protocol; the part that it shares with others is `vendors.realtime.codec`.

Only DashScope has an interim with a stable part, and a message for the end of the audio (session.finish), which the
server confirms with session.finished. A session that is confirmed while a commit waits for its confirmation has failed,
and is retried: the committed audio is in no item. What is in an item without a final is returned as
`SegmentTracker.close_at_end` says. Does not know sockets or clocks.
"""

from __future__ import annotations

import msgspec

from ...errors import ASRError, VendorError
from ..codec import Finished, Message, Step, TaskDescription
from ..realtime.codec import MAX_APPEND_BYTES, Events, RealtimeCodec, RealtimeReader, encoded
from ..realtime.wire import WireError
from .errors import VENDOR, error_from_code
from .realtime_models import QwenRealtime
from .realtime_wire import (
    Corpus,
    Finish,
    ServerEvent,
    SessionConfig,
    SessionFinished,
    SessionUpdate,
    Transcription,
    TranscriptionCompleted,
    TranscriptionText,
    TurnDetection,
)

__all__ = ["QwenRealtimeCodec", "describe_session"]

_reader: RealtimeReader[ServerEvent] = RealtimeReader(ServerEvent, of="DashScope", vendor=VENDOR)


def describe_session(options: QwenRealtime) -> TaskDescription:
    """Return the facts about a session."""
    return TaskDescription(
        audio_format=options.audio,
        max_frame_bytes=MAX_APPEND_BYTES,
        takes_commits=options.capabilities.commit,
        context_refusal=f"context: {options.model} accepts it as corpus_text, at the start only",
    )


class QwenRealtimeCodec(RealtimeCodec[ServerEvent]):
    """One session of the vendor; see `Codec` for the methods' contract, and `commit` for the manual mode."""

    def __init__(self, options: QwenRealtime, *, task_id: str) -> None:
        """Make the codec of a session.

        Args:
            options: the options of the model.
            task_id: the beginning of our events' ids.
        """
        super().__init__(options.model, options.audio, _reader, task_id=task_id)
        self._options = options
        self._session_handlers[SessionFinished] = self._on_finished
        self._item_handlers[TranscriptionText] = self._on_text
        self._item_handlers[TranscriptionCompleted] = self._on_completed

    def _session_update(self, event_id: str) -> str:
        message = msgspec.to_builtins(SessionUpdate(event_id=event_id, session=_session_config(self._options)))
        message["session"].update(self._options.extra_parameters)
        return encoded(message)

    def finish(self) -> list[Message]:
        """Return session.finish; in the manual mode, behind a commit of the audio that is not committed yet."""
        self._lifecycle.advance(Step.FINISH)
        commit = self._commit() if self._options.manual_commit else []
        return [*commit, encoded(Finish(event_id=self._next_event_id()))]

    def _on_finished(self, _event: SessionFinished, raw: str) -> Events:
        if self._commits:
            text = "DashScope finished the session without the final text of some of its audio"
            error = VendorError(text, retryable=True, request_id=self._session_id or None, vendor=VENDOR, raw=raw)
            return self._fail(error)
        self._lifecycle.advance(Step.FINISHED)
        return [*self._utterances.close(), Finished()]

    def _on_text(self, event: TranscriptionText, raw: str) -> Events:
        stable_text = event.text or ""
        return self._utterances.interim(
            event.item_id or None,
            stable_text + (event.stash or ""),
            stable_text=stable_text,
            language=event.language,
            request_id=self._session_id,
            raw=raw,
        )

    def _on_completed(self, event: TranscriptionCompleted, raw: str) -> Events:
        item_id, text = event.item_id or None, event.transcript or ""
        events = self._complete_commit(item_id)
        events += self._utterances.final(
            item_id,
            text,
            stable_text=text,
            language=event.language,
            emotion=event.emotion,
            request_id=self._session_id,
            raw=raw,
        )
        return events

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
