"""The codec of Huawei's RASR protocol, in all three modes: START, audio, END, and the server's messages.

One codec is one task, which lasts from START to END; a connection may carry several, one after the other. The codec
does not know whether there were others: a late END of an earlier task is reported as `Unrecognised` and changes
nothing, and messages behind the cancellation or the failure of this task (the END that follows an ERROR) are dropped.

In the sentence mode the server stops recognising by itself, but no document says that it then sends END without a
request. So the codec returns `InputClosed`, and the task ends as in every mode: the client sends END, the results
arrive, the server answers with END.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...audio import AudioBytes
from ...errors import ASRError, VendorError
from ...results import Result, SpeechEnded, SpeechStarted, Word
from ..codec import (
    CodecEvent,
    Failed,
    Finished,
    InputClosed,
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
from ..lenient import LenientReader
from ..segments import SegmentTracker, TrackedSegment
from .errors import VENDOR, error_from_code
from .models import FRAME_LIMITS, Rasr
from .wire import ClientMessage, End, ServerMessage, Start, WireResult, WireSegment

__all__ = ["RasrCodec", "describe_task"]

# bound here, since an access to a member of an enum is a function call in CPython 3.11
_AUDIO = Step.AUDIO
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
        self._sentences = _Sentences()
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
        return [_text(Start(self._options.config()))]

    def audio(self, frame: AudioBytes) -> Message:
        """Return the audio itself: it is sent as a binary message."""
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
        return handler(message, raw)

    def _on_start(self, message: ServerMessage, _raw: str) -> Events:
        self._lifecycle.advance(Step.STARTED)
        self._trace_id = message.trace_id or ""
        return [Started(self._trace_id)]

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
            return [*self._sentences.announce(message.timestamp or 0)]
        if name == "EXCEEDED_AUDIO":
            self._error_at_end = error_from_code("SIS.0309", name, request_id=self._trace_id_of(message), raw=raw)
            return self._close_input()
        if name is not None and self._options.capability.is_single_sentence:
            return self._close_input()
        return [Unrecognised(f"event {message.event!r} in mode {self._options.mode}", raw)]

    def _close_input(self) -> Events:
        return [InputClosed()] if self._lifecycle.state is State.STREAMING else []

    def _on_end(self, message: ServerMessage, raw: str) -> Events:
        if message.reason not in {"NORMAL", "", None}:
            text = f"Huawei ended the task with reason {message.reason} and no error code"
            return self._fail(VendorError(text, request_id=self._trace_id_of(message), vendor=VENDOR, raw=raw))
        if self._error_at_end is not None:
            return self._fail(self._error_at_end)
        is_early = self._lifecycle.state is State.STREAMING and self._options.capability.is_single_sentence
        self._lifecycle.advance(Step.FINISHED_EARLY if is_early else Step.FINISHED)
        return [Finished()]

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
    """The sentences of a task, by their start: the protocol has no other key for them."""

    __slots__ = ("_tracker",)

    def __init__(self) -> None:
        self._tracker: SegmentTracker[int, TrackedSegment[int]] = SegmentTracker(TrackedSegment)

    def announce(self, start_ms: int) -> list[SpeechStarted]:
        """Return the event of a sentence whose text is still to come; empty while one is open."""
        return self._tracker.announce(start_ms)

    def receive(self, wire: WireSegment, *, request_id: str, raw: str) -> list[Result | SpeechStarted | SpeechEnded]:
        """Return the events of a segment; empty if it reports nothing, or nothing new."""
        tracker = self._tracker
        wire_result = wire.result if isinstance(wire.result, WireResult) else WireResult()
        words = _words(wire_result)
        is_final = bool(wire.is_final)
        start_ms = self._start_ms(wire, words)
        end_ms = _end_ms(wire, words, start_ms)
        segment = tracker.find_open(start_ms)
        if segment is None and tracker.is_repeat(start_ms, end_ms=end_ms):
            return []  # a repeated final, or an interim behind it
        if not wire_result.text and not (is_final and segment):
            return []
        events: list[Result | SpeechStarted | SpeechEnded] = []
        if segment is None:
            segment = tracker.open(start_ms, start_ms)
            events += segment.start()
        result = Result(
            text=wire_result.text or "",
            is_final=is_final,
            segment_id=segment.id,
            start_ms=start_ms,
            end_ms=end_ms,
            words=words,
            confidence=wire_result.score if is_final else None,  # 0.0 in interims means "not known yet"
            request_id=request_id,
            raw=raw,
        )
        segment.has_text = True
        events.append(result)
        if is_final:
            events.append(tracker.close(segment, end_ms))
        return events

    def _start_ms(self, wire: WireSegment, words: tuple[Word, ...]) -> int:
        if wire.start_time is not None:
            return wire.start_time
        newest = self._tracker.newest_open
        if newest is not None:  # a segment without a start continues it
            return newest.key
        return words[0].start_ms if words else 0


def _words(wire: WireResult) -> tuple[Word, ...]:
    if not isinstance(wire.word_info, tuple):
        return ()
    return tuple(
        Word(
            text=word.word or "",
            start_ms=word.start_time or 0,
            end_ms=word.end_time or word.start_time or 0,
        )
        for word in wire.word_info
    )


def _end_ms(segment: WireSegment, words: tuple[Word, ...], start_ms: int) -> int:
    if segment.end_time is not None:
        return segment.end_time
    return words[-1].end_ms if words else start_ms


def _text(message: ClientMessage) -> str:
    return _encode(message).decode()
