"""The codec of OpenAI's realtime transcription; the part that it shares with others is `vendors.realtime.codec`.

No message ends the audio, and none confirms its end. So `finish` commits the rest of the audio, and the end is
confirmed once the server has answered that commit and has completed the item of every commit, its own ones included.
The answer is an item, or the error that there was nothing to commit: with server VAD the server has often committed all
of it before. A commit is sent even if no audio is left, since only its answer is sure to come behind everything else.
The server refuses to commit less than 100 ms (`input_audio_buffer_commit_empty`), so a shorter rest of a caller's
utterance is filled up with silence.

Deltas are appended to the text of their item: an interim is all of them. Does not know sockets or clocks.
"""

from __future__ import annotations

import math
from typing import Any

from ...errors import ASRError, RemoteProtocolError
from ..codec import Finished, Message, State, Step, TaskDescription, Usage
from ..error_rules import code_key
from ..realtime.codec import MAX_APPEND_BYTES, CommittedAudio, Events, RealtimeCodec, RealtimeReader, encoded
from ..realtime.wire import (
    Append,
    Commit,
    Committed,
    ErrorEvent,
    ItemAdded,
    ItemCreated,
    TranscriptionFailed,
    WireError,
)
from .errors import VENDOR, error_from_event
from .models import OpenAIRealtime
from .wire import (
    LogProb,
    ServerEvent,
    SessionUpdate,
    TranscriptionCompleted,
    TranscriptionDelta,
    WireUsage,
)

__all__ = ["OpenAIRealtimeCodec", "describe_session"]

_STREAMING = State.STREAMING

MIN_COMMIT_MS = 100
"""The shortest audio of a commit ("buffer too small. Expected at least 100ms of audio")."""

MAX_OWED_ITEMS = 1_000
"""The most utterances that wait for their text."""

MAX_UTTERANCE_CHARS = 1_000_000
"""The longest text of an utterance; one hour of speech has a tenth of that."""

_COMMIT_EMPTY = code_key("input_audio_buffer_commit_empty")

_WIRE_FORMATS: dict[str, dict[str, Any]] = {
    "pcm": {"type": "audio/pcm", "rate": 24_000},
    "ulaw": {"type": "audio/pcmu"},
    "alaw": {"type": "audio/pcma"},
}

_reader: RealtimeReader[ServerEvent] = RealtimeReader(ServerEvent, of="OpenAI", vendor=VENDOR)


def describe_session(options: OpenAIRealtime) -> TaskDescription:
    """Return the facts about a session."""
    return TaskDescription(
        audio_format=options.audio,
        max_frame_bytes=MAX_APPEND_BYTES,
        takes_commits=options.capabilities.commit,
        context_refusal=f"context: {options.model} accepts it as prompt, at the start only",
    )


class OpenAIRealtimeCodec(RealtimeCodec[ServerEvent]):
    """One session of the vendor; see `Codec` for the methods' contract."""

    def __init__(self, options: OpenAIRealtime, *, task_id: str) -> None:
        """Make the codec of a session.

        Args:
            options: the options of the model.
            task_id: the beginning of our events' ids.
        """
        super().__init__(options.model, options.audio, _reader, task_id=task_id)
        self._options = options
        self._detects_turns = options.detects_turns
        # the items of commits that the server has confirmed and not completed; None for one without an id
        self._owed_items: list[str | None] = []
        # the rest of the audio, until there is a text of it: its item, and its place
        self._unplaced_rest: tuple[str | None, CommittedAudio] | None = None
        self._billed_seconds = 0.0
        self._item_handlers |= {
            ItemAdded: self._on_item_created,
            TranscriptionDelta: self._on_delta,
            TranscriptionCompleted: self._on_completed,
        }

    def _session_update(self, event_id: str) -> str:
        return encoded(SessionUpdate(event_id=event_id, session=_session_of(self._options)))

    # --- commits and the end -----------------------------------------------------------------------------------------

    def finish(self) -> list[Message]:
        """Return the commit of the rest of the audio, which is sent even if there is none."""
        self._lifecycle.advance(Step.FINISH)
        return self._commit() or [self._commit_of(CommittedAudio(self._sent_bytes, self._sent_bytes))]

    def _commit(self) -> list[Message]:
        audio = CommittedAudio(self._committed_bytes, self._sent_bytes)
        if audio.start_bytes == audio.end_bytes:
            return []
        self._committed_bytes = self._sent_bytes
        missing_bytes = self._audio_format.to_bytes(MIN_COMMIT_MS) - (audio.end_bytes - audio.start_bytes)
        if missing_bytes <= 0 or self._detects_turns:
            return [self._commit_of(audio)]
        silence = Append(event_id=self._next_event_id(), audio=memoryview(self._audio_format.silence(missing_bytes)))
        return [encoded(silence), self._commit_of(audio)]

    def _commit_of(self, audio: CommittedAudio) -> str:
        event_id = self._next_event_id()
        self._commits[event_id] = audio
        return encoded(Commit(event_id=event_id))

    def _dispatch(self, event: ServerEvent, raw: str) -> Events:
        events = super()._dispatch(event, raw)
        if self._lifecycle.state is State.FINISHING and not self._commits and not self._owed_items:
            self._lifecycle.advance(Step.FINISHED)
            events += [*self._utterances.close(), Finished()]
        return events

    def _on_error(self, event: ErrorEvent, raw: str) -> Events:
        if self._commits and _is_empty_commit(event.error):
            event_id = event.error.event_id or ""
            event_id = event_id if event_id in self._commits else next(iter(self._commits))
            audio = self._commits[event_id]
            if self._detects_turns or audio.start_bytes == audio.end_bytes or self._lifecycle.state is _STREAMING:
                self._on_commit_refused(event_id)
                return []  # else the server has lost audio that was sent: no end of this session is whole
        return super()._on_error(event, raw)

    def _on_speech_stopped(self, event: Any, raw: str) -> Events:
        events = super()._on_speech_stopped(event, raw)
        end_ms = self._to_sent_ms(event.audio_end_ms)
        if end_ms is not None:  # the server commits the audio until then by itself
            self._committed_bytes = max(self._committed_bytes, self._audio_format.to_bytes(end_ms))
        return events

    def _on_committed(self, event: Committed, raw: str) -> Events:
        item_id = event.item_id or None
        self._owe(item_id)
        if item_id is not None and self._utterances.is_stopped(item_id):  # the server's own commit, or a repeat
            return self._utterances.stop(item_id, None, is_reported=False)
        return super()._on_committed(event, raw)

    def _answer_commit(self, item_id: str | None, *, number: int, is_confirmed: bool) -> Events:
        """Return the events of a commit's answer.

        Where the server detects the speech, the rest of the audio is in the item of the open utterance, or in a new one
        that has no speech most of the time: that is an utterance only if it gets a text.
        """
        event_id = list(self._commits)[number]
        audio = self._commits[event_id]
        if not self._detects_turns and audio.start_bytes < audio.end_bytes:
            return super()._answer_commit(item_id, number=number, is_confirmed=is_confirmed)
        del self._commits[event_id]
        if item_id is not None and self._utterances.is_known(item_id):
            return self._utterances.commit(item_id, None, self._to_ms(audio.end_bytes), is_confirmed=is_confirmed)
        self._unplaced_rest = (item_id, audio)
        return []

    def _place_rest(self, item_id: str | None, text: str) -> Events:
        """Return the events of the utterance that the rest of the audio is, if this is its first text."""
        rest = self._unplaced_rest
        if rest is None or rest[0] != item_id or not text:
            return []
        self._unplaced_rest = None
        start_ms, end_ms = self._to_ms(rest[1].start_bytes), self._to_ms(rest[1].end_bytes)
        return self._utterances.commit(item_id, start_ms, end_ms, is_confirmed=True)

    def _on_item_created(self, event: ItemCreated | ItemAdded, raw: str) -> Events:
        rest = self._unplaced_rest
        return [] if rest is not None and rest[0] == event.item.id else super()._on_item_created(event, raw)

    def _owe(self, item_id: str | None) -> None:
        """Record that the server owes the text of an item."""
        if item_id is not None and (item_id in self._owed_items or self._utterances.is_over(item_id)):
            return
        if len(self._owed_items) >= MAX_OWED_ITEMS:
            text = f"OpenAI has committed {MAX_OWED_ITEMS} utterances, and completed none of them"
            raise RemoteProtocolError(text, request_id=self._session_id or None, vendor=VENDOR)
        self._owed_items.append(item_id)

    def _settle(self, item_id: str | None) -> None:
        """Record that an item owes nothing more."""
        owed = self._owed_items
        for key in (item_id, None):
            if key in owed:
                owed.remove(key)
                return
        if item_id is None and owed:
            del owed[0]

    # --- texts -------------------------------------------------------------------------------------------------------

    def _on_delta(self, event: TranscriptionDelta, raw: str) -> Events:
        item_id = event.item_id or None
        if item_id is not None and self._utterances.is_over(item_id):
            return []  # a late one: the final has its words
        events = self._place_rest(item_id, event.delta or "")
        text = self._utterances.shown_text(item_id) + (event.delta or "")
        if len(text) > MAX_UTTERANCE_CHARS:
            text = f"OpenAI sent an utterance of more than {MAX_UTTERANCE_CHARS} characters"
            raise RemoteProtocolError(text, request_id=self._session_id or None, vendor=VENDOR)
        events += self._utterances.interim(item_id, text, request_id=self._session_id, raw=raw)
        return events

    def _on_completed(self, event: TranscriptionCompleted, raw: str) -> Events:
        item_id = event.item_id or None
        text = event.transcript or ""
        events = self._complete_commit(item_id)
        events += self._place_rest(item_id, text)
        self._settle(item_id)
        languages = event.languages or ()
        events += self._utterances.final(
            item_id,
            text,
            language=languages[0].code if len(languages) == 1 else None,
            confidence=_confidence(event.logprobs or ()),
            request_id=self._session_id,
            raw=raw,
        )
        return [*events, *self._count_usage(event.usage)]

    def _count_usage(self, usage: WireUsage | None) -> Events:
        seconds = usage.seconds if usage is not None else None
        if seconds is None or not 0 < seconds < math.inf:
            return []
        self._billed_seconds = round(self._billed_seconds + seconds, 3)
        return [Usage(self._billed_seconds)]

    def _on_item_failed(self, event: TranscriptionFailed, raw: str) -> Events:
        self._settle(event.item_id or None)
        return super()._on_item_failed(event, raw)

    def _to_error(self, error: WireError, raw: str) -> ASRError:
        return error_from_event(error, request_id=self._session_id or None, raw=raw)


def _is_empty_commit(error: WireError) -> bool:
    """Return True for the refusal to commit an empty buffer, which had no code in 2024-10."""
    text = (error.message or "").casefold()
    return code_key(error.code or "") == _COMMIT_EMPTY or (
        "committing input audio buffer" in text and ("empty" in text or "too small" in text)
    )


def _confidence(logprobs: tuple[LogProb, ...]) -> float | None:
    """Return the geometric mean of the probabilities; None if there are none."""
    values = [each.logprob for each in logprobs if each.logprob is not None and each.logprob <= 0]
    return math.exp(math.fsum(values) / len(values)) if values else None


def _session_of(options: OpenAIRealtime) -> dict[str, Any]:
    """Return the configuration of a session, as `RealtimeTranscriptionSessionCreateRequestParam` of PyPI `openai`."""
    transcription = _without_none(
        model=options.model,
        language=options.language,
        languages=options.languages,
        prompt=options.prompt,
        keywords=options.keywords,
        delay=options.delay,
    )
    noise_reduction = None if options.noise_reduction is None else {"type": options.noise_reduction}
    audio_input = {
        "format": _WIRE_FORMATS[options.audio.encoding],
        "transcription": transcription,
        "noise_reduction": noise_reduction,
        "turn_detection": _turn_detection(options) if options.detects_turns else None,
    }
    session: dict[str, Any] = {"type": "transcription", "audio": {"input": audio_input}}
    if options.logprobs:
        session["include"] = ["item.input_audio_transcription.logprobs"]
    return _merged(session, options.extra_parameters)


def _turn_detection(options: OpenAIRealtime) -> dict[str, Any]:
    return _without_none(
        type=options.turn_detection or "server_vad",
        threshold=options.vad_threshold,
        prefix_padding_ms=options.prefix_padding_ms,
        silence_duration_ms=options.silence_duration_ms,
        eagerness=options.eagerness,
    )


def _without_none(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _merged(members: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Return members with others in their place; objects are merged."""
    merged = dict(members)
    for name, value in others.items():
        mine = members.get(name)
        merged[name] = _merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return merged
