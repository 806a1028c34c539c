"""The codec of Huawei's RASR protocol, in all three modes: START, audio, END, and the server's messages.

One codec is one task, which lasts from START to END; a connection may carry several, one after the other. The codec
does not know whether there were others: late messages of an earlier one, which come before START or carry another trace
id than START, are reported as `Unrecognised` and change nothing, and messages behind the cancellation or the failure of
this task (the END that follows an ERROR) are dropped. If START comes twice with two ids, one of them is late, and the
id of the next message is this task's.

In the sentence mode the server stops recognising by itself, but no document says that it then sends END without a
request. So the codec returns `InputClosed`, and the task ends as in every mode: the client sends END, the results
arrive, the server answers with END. If the server has reported nothing but silence by then, the end is `NoSpeech`.

The protocol has no ids of sentences: their times decide which sentence a message is about (see `SegmentTracker`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...audio import AudioBytes
from ...errors import ASRError, VendorError
from ...results import Result, Word
from ..codec import (
    CodecEvent,
    Failed,
    Finished,
    InputClosed,
    Message,
    NoSpeech,
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
from ..lenient import LenientReader, known_ms, word_start_ms
from ..segments import SegmentTracker, TrackedSegment
from .errors import VENDOR, error_from_code
from .models import FRAME_LIMITS, Rasr
from .wire import ClientMessage, End, ServerMessage, Start, WireResult, WireSegment, WireWord

__all__ = ["RasrCodec", "describe_task"]

# bound here, since an access to a member of an enum is a function call in CPython 3.11
_AUDIO = Step.AUDIO
_STREAMING = State.STREAMING
_RESULT = Step.RESULT

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ServerMessage).decode
_reader: LenientReader[ServerMessage] = LenientReader(ServerMessage)

EVENT_NAMES = {
    "VOICE_START": "VOICE_START",
    "VOICE_END": "VOICE_END",
    "EXCEEDED_SILENCE": "EXCEEDED_SILENCE",
    "EXCEEDED_AUDIO": "EXCEEDED_AUDIO",
    # as the documents misspell it (event pages, 2021-10)
    "EXCEEDED_SILCENCE": "EXCEEDED_SILENCE",
    "EXCEED_SLIENCE": "EXCEEDED_SILENCE",
}
"""The name of an event as the server may spell it → its name."""

IDENTIFIED = frozenset({"RESULT", "EVENT", "END", "ERROR"})
"""The messages that are dropped if they carry another trace id than the task's START. A FATAL_ERROR is about the
connection."""

NO_TEXT = "the vendor reported speech, and ended the task without a text for it"

Events = list[CodecEvent]


def describe_task(options: Rasr) -> TaskDescription:
    """Return the facts about one task."""
    min_bytes, max_bytes = FRAME_LIMITS[options.audio.sample_rate]
    return TaskDescription(
        audio_format=options.audio,
        min_frame_bytes=min_bytes,
        max_frame_bytes=max_bytes,
        context_refusal=f"context: {options.model} does not take one, nor does any other model of Huawei",
    )


class RasrCodec:
    """One recognition task, from START to END; see `Codec` for the methods' contract."""

    def __init__(self, options: Rasr) -> None:
        self._options = options
        self._trace_id = ""
        self._lifecycle = TaskLifecycle()
        # the trace id of a second START; empty when another message has shown which of the two is this task's
        self._other_trace_id = ""
        self._is_identified = False
        self._sentences = _Sentences()
        # the EXCEEDED_SILENCE of a mode that ends with it
        self._silence: str | None = None
        # an error that an event has reported; it is returned at the end, behind the results that still arrive until END
        self._error_at_end: ASRError | None = None
        self._handlers: dict[str, Callable[[ServerMessage, str], Events]] = {
            "START": self._on_start,
            "RESULT": self._on_result,
            "EVENT": self._on_event,
            "END": self._on_end,
            "ERROR": self._on_error,
            "FATAL_ERROR": self._on_error,
        }

    def __repr__(self) -> str:
        trace_id = self._trace_id or "without a trace id"
        return f"<RasrCodec {self._options.model} {trace_id} {self._lifecycle.state.value}>"

    @property
    def request_id(self) -> str:
        """The trace id, which is in the server's first message; empty until then."""
        return self._trace_id

    def start(self) -> list[Message]:
        """Return START, which opens the task."""
        self._lifecycle.advance(Step.START)
        message = msgspec.to_builtins(Start(self._options.config()))
        message["config"].update(self._options.extra_parameters)
        return [_encode(message).decode()]

    def audio(self, frame: AudioBytes) -> Message:
        """Return the audio itself: it is sent as a binary message."""
        if self._lifecycle.state is not _STREAMING:  # else it stays so; a call for each frame costs as much as the rest
            self._lifecycle.advance(_AUDIO)
        return frame

    def finish(self) -> list[Message]:
        """Return END, behind which no audio comes."""
        self._lifecycle.advance(Step.FINISH)
        return [_text(End())]

    def cancel(self) -> list[Message]:
        """Return the END that has the server drop the audio that is not recognised yet."""
        self._lifecycle.advance(Step.CANCEL)
        return [_text(End(cancel=True))]

    def receive(self, message: str | bytes) -> Events:
        """Return the events of one message.

        Raises:
            RemoteProtocolError: the message is not JSON, its name is no text, or it is out of order.
        """
        request_id = self._trace_id or None
        decoded = read_message(message, _decode, _reader, of="Huawei", vendor=VENDOR, request_id=request_id)
        if isinstance(decoded, Reread):
            return reread_events(decoded, self._dispatch, message)
        return self._dispatch(decoded, str(message))  # text: `read_message` decodes no other

    def _dispatch(self, message: ServerMessage, raw: str) -> Events:
        # old gateways leave resp_type out of an error (the official SDK of 2020 reads error_code first)
        kind = message.resp_type or ("ERROR" if message.error_code else "")
        handler = self._handlers.get(kind)
        if handler is None:
            return [Unrecognised(kind or "message without a resp_type", raw)]
        state = self._lifecycle.state
        if state in {State.DONE, State.FAILED}:
            return []
        if state is State.STARTING and kind in {"RESULT", "EVENT", "END"}:
            return [Unrecognised(f"{kind} of an earlier task", raw)]
        if message.trace_id and kind in IDENTIFIED and not self._is_of_this_task(message.trace_id):
            return [Unrecognised(f"{kind} of another task", raw)]
        return handler(message, raw)

    def _is_of_this_task(self, trace_id: str) -> bool:
        if not self._trace_id:  # START had none
            return True
        if trace_id == self._other_trace_id:
            self._trace_id = trace_id
        if trace_id != self._trace_id:
            return False
        self._is_identified, self._other_trace_id = True, ""
        return True

    def _on_start(self, message: ServerMessage, raw: str) -> Events:
        trace_id = message.trace_id or ""
        if self._lifecycle.state in {State.STREAMING, State.FINISHING}:
            if not self._is_identified:
                self._other_trace_id = trace_id
            return [Unrecognised("second START", raw)]
        self._lifecycle.advance(Step.STARTED)
        self._trace_id = trace_id
        return [Started(trace_id)]

    def _on_result(self, message: ServerMessage, raw: str) -> Events:
        self._lifecycle.advance(_RESULT)
        if message.segments is None:
            return [Unrecognised("RESULT without segments", raw)]
        request_id = message.trace_id or self._trace_id
        events: Events = []
        for segment in message.segments:
            events += self._sentences.receive(segment, request_id=request_id, raw=raw)
        return events

    def _on_event(self, message: ServerMessage, raw: str) -> Events:
        self._lifecycle.advance(_RESULT)
        name = EVENT_NAMES.get(message.event or "")
        if name == "VOICE_START":
            return self._sentences.announce(known_ms(message.timestamp))
        if name == "EXCEEDED_AUDIO":
            self._error_at_end = error_from_code("SIS.0309", name, request_id=self._trace_id_of(message), raw=raw)
            return self._close_input()
        events: Events = []
        if name == "EXCEEDED_SILENCE" and self._options.mode != "continue":
            self._silence = raw
            events += self._sentences.withdraw_noise()
        if name is not None and self._options.model_row.is_single_sentence:
            return [*events, *self._close_input()]
        return [*events, Unrecognised(f"event {message.event!r} in mode {self._options.mode}", raw)]

    def _close_input(self) -> Events:
        return [InputClosed()] if self._lifecycle.state is State.STREAMING else []

    def _on_end(self, message: ServerMessage, raw: str) -> Events:
        if message.reason not in {"NORMAL", "", None}:
            text = f"Huawei ended the task with reason {message.reason} and no error code"
            return self._fail(VendorError(text, request_id=self._trace_id_of(message), vendor=VENDOR, raw=raw))
        if self._error_at_end is not None:
            return self._fail(self._error_at_end)
        is_early = self._lifecycle.state is State.STREAMING and self._options.model_row.is_single_sentence
        self._lifecycle.advance(Step.FINISHED_EARLY if is_early else Step.FINISHED)
        events = self._sentences.close()
        if self._silence is None or self._sentences.has_text:
            return [*events, Finished()]
        trace_id = self._trace_id_of(message)
        error = error_from_code("EXCEEDED_SILENCE", "no speech was recognised", request_id=trace_id, raw=self._silence)
        return [*events, NoSpeech(error)]

    def _on_error(self, message: ServerMessage, raw: str) -> Events:
        text = message.error_msg or "Huawei ended the task with an error"
        trace_id = self._trace_id_of(message)
        return self._fail(error_from_code(message.error_code or "", text, request_id=trace_id, raw=raw))

    def _fail(self, error: ASRError) -> Events:
        self._lifecycle.advance(Step.FAIL)
        return [Failed(error)]

    def _trace_id_of(self, message: ServerMessage) -> str | None:
        """Return the trace id for an error: the message's own, or the task's if the message has none."""
        return message.trace_id or self._trace_id or None


class _Sentences:
    """The sentences of a task, which have no key: their places decide which sentence a message is about."""

    __slots__ = ("_tracker", "has_text")

    def __init__(self) -> None:
        self._tracker: SegmentTracker[None, TrackedSegment[None]] = SegmentTracker(TrackedSegment)
        self.has_text = False
        """True if any text was recognised."""

    def announce(self, start_ms: int | None) -> Events:
        """Return the event of a sentence before its text arrives; empty while one is open."""
        events: Events = []
        if not self._tracker.has_open:
            # the time of the detection, which is not where the sentence begins
            self._tracker.open(None, start_ms, events).is_placed = False
        return events

    def receive(self, wire: WireSegment, *, request_id: str, raw: str) -> Events:
        """Return the events of a segment; empty if it reports nothing, or nothing new."""
        wire_result = wire.result if isinstance(wire.result, WireResult) else _NO_RESULT
        text, is_final = wire_result.text or "", bool(wire.is_final)
        if not text and not is_final:
            return []
        tracker, events = self._tracker, Events()
        wire_words = wire_result.word_info if isinstance(wire_result.word_info, tuple) else ()
        start_ms, end_ms = _place_of(wire, wire_words)
        segment = tracker.assign(None, start_ms, end_ms, text, is_final=is_final, events=events)
        if segment is None:
            return events
        if start_ms is None:
            start_ms = segment.start_ms
        self.has_text = self.has_text or text != ""
        result = Result(
            text=text,
            is_final=is_final,
            segment_id=segment.id,
            start_ms=start_ms,
            end_ms=start_ms if end_ms is None else end_ms,
            words=_words(wire_words, start_ms),
            confidence=wire_result.score if is_final else None,  # 0.0 in interims means "not known yet"
            request_id=request_id,
            raw=raw,
        )
        if is_final:
            events += tracker.end(segment, result)
            events.append(result)
            events += tracker.close(segment)
        else:
            segment.interim_result = result
            events.append(result)
        return events

    def withdraw_noise(self) -> Events:
        """Return the end of an announced sentence without a text: the vendor has found that it was no speech."""
        events: Events = []
        for segment in self._tracker.open_segments:
            if segment.interim_result is None:
                events += self._tracker.withdraw(segment)
        return events

    def close(self) -> Events:
        """Return the events of the sentences that are open at the end that the vendor confirms."""
        return self._tracker.close_at_end(NO_TEXT)


_NO_RESULT = WireResult()


def _place_of(wire: WireSegment, words: tuple[WireWord, ...]) -> tuple[int | None, int | None]:
    """Return the start and the end of a segment, from its words if need be; each None if unknown."""
    start_ms, end_ms = wire.start_time, wire.end_time
    if start_ms is None or start_ms == -1:
        start_ms = next(
            (ms for word in words if (ms := word_start_ms(word.start_time, word.end_time)) is not None), None
        )
    if end_ms is None or end_ms == -1 or (start_ms is not None and end_ms < start_ms):
        end_ms = next((ms for word in reversed(words) if (ms := _end_of(word)) is not None), None)
        if start_ms is not None and end_ms is not None and end_ms < start_ms:
            end_ms = None
    return start_ms, end_ms


def _end_of(word: WireWord) -> int | None:
    end_ms = known_ms(word.end_time)
    return known_ms(word.start_time) if end_ms is None else end_ms


def _words(wire_words: tuple[WireWord, ...], start_ms: int) -> tuple[Word, ...]:
    """Return the words; one without times, or before the audio, has the place where the word before it ends."""
    words: list[Word] = []
    for word in wire_words:
        begin_ms, end_ms = word.start_time, word.end_time
        if begin_ms is None or (begin_ms < 0 and (begin_ms == -1 or start_ms >= 0)):
            begin_ms = start_ms
        start_ms = begin_ms if end_ms is None or end_ms < begin_ms else end_ms
        words.append(Word(text=word.word or "", start_ms=begin_ms, end_ms=start_ms))
    return tuple(words)


def _text(message: ClientMessage) -> str:
    return _encode(message).decode()
