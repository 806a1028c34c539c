"""The codec of FunASR's 2pass protocol: a first message, audio, the end of the audio, and the servers' results.

The start is not answered. Online results are the next words of the sentence, so interims are added up; an offline
result is the whole sentence, final, and the next online result begins another one.

The end is confirmed in different ways, by servers that no message tells apart at the beginning:

- Newer versions of the Python server answer `is_end`.
- `is_final` is true in the C++ server's last message alone, and in every message of the Python server but the last one.
  So a message before the end of the audio shows which one it is. A message without `mode`, or with times of words, is
  the C++ server's.
- If neither was seen, the end is quiet: nothing comes for `QUIET_END_S`.

The Python server gives no times, and no count of the audio is kept here, so its sentences have the earliest places that
are possible: each begins where the one before ends, and lasts as long as fast speech. Then nothing is left out after a
lost connection; but what is recognised again cannot be told from what is new, so it is marked (`expect_repeats`).

Does not know sockets or clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..._alignment.words import spoken_length_ms
from ...errors import VendorError
from ...results import Result, Word, join_texts
from ..codec import (
    CodecEvent,
    Failed,
    Finished,
    Message,
    NoSpeech,
    Reread,
    State,
    Step,
    TaskDescription,
    TaskLifecycle,
    Unrecognised,
    read_message,
    reread_events,
)
from ..lenient import LenientReader, Milliseconds, word_start_ms
from ..segments import SegmentTracker, TrackedSegment
from .errors import VENDOR, error_from_text
from .two_pass_wire import ClientEnd, ClientStart, ServerMessage, WireSentence

if TYPE_CHECKING:
    from ...audio import AudioBytes
    from .models import FunASR2Pass

__all__ = ["TwoPassCodec", "describe_two_pass_task"]

# bound here, since an access to a member of an enum is a function call in CPython 3.11
_AUDIO = Step.AUDIO
_STREAMING = State.STREAMING
_RESULT = Step.RESULT

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ServerMessage).decode
_reader: LenientReader[ServerMessage] = LenientReader(ServerMessage)

MAX_FRAME_BYTES = 32_000

QUIET_END_S = 3.0
"""Longer than the second model needs for a sentence, on a server that keeps up."""

FAST_SPEECH = 0.5
"""The length of fast speech, as a share of that at a common pace."""

NO_TEXT = "the server showed speech, and sent no more behind the end of the audio"
NOTHING = (
    "the server sent no message: there was no speech, or this is no server of the 2pass protocol (the options of "
    "funasr-realtime-server are FunASRNano)"
)

Events = list[CodecEvent]


def describe_two_pass_task(options: FunASR2Pass) -> TaskDescription:
    """Return the facts about one task."""
    return TaskDescription(
        audio_format=options.audio,
        min_frame_bytes=2,
        max_frame_bytes=MAX_FRAME_BYTES,
        context_refusal="context: the server takes none while it recognises",
        answers_start=False,
        quiet_end_s=QUIET_END_S,
    )


class TwoPassCodec:
    """One recognition task; see `Codec` for the methods' contract."""

    def __init__(self, options: FunASR2Pass, *, task_id: str) -> None:
        self._options = options
        self._task_id = task_id
        self._lifecycle = TaskLifecycle()
        self._sentences = _Sentences(task_id)
        # the server whose messages show that it is the C++ one (True) or the Python one (False); None: not known yet
        self._is_runtime: bool | None = None
        self._has_messages = False

    def __repr__(self) -> str:
        return f"<TwoPassCodec {self._options.model} {self._task_id} {self._lifecycle.state.value}>"

    @property
    def request_id(self) -> str:
        """The name of the audio (`wav_name`), which the server repeats in its messages and its log."""
        return self._task_id

    def start(self) -> list[Message]:
        """Return the first message, with the options."""
        self._lifecycle.advance(Step.START)
        self._lifecycle.advance(Step.STARTED)  # no answer comes
        options = self._options
        hotwords = _hotwords(options)
        message = ClientStart(
            mode=options.mode,
            wav_name=self._task_id,
            wav_format="pcm",
            is_speaking=True,
            audio_fs=options.sample_rate,
            chunk_size=tuple(options.chunk_size),
            chunk_interval=options.chunk_interval,
            encoder_chunk_look_back=options.encoder_chunk_look_back,
            decoder_chunk_look_back=options.decoder_chunk_look_back,
            hotwords=hotwords,
            hotword=hotwords,
            itn=options.itn,
            svs_lang=options.svs_lang,
            svs_itn=options.svs_itn,
        )
        return [_encode({**msgspec.to_builtins(message), **options.extra_parameters}).decode()]

    def audio(self, frame: AudioBytes) -> Message:
        """Return the audio itself: it is sent as a binary message."""
        if self._lifecycle.state is not _STREAMING:  # else it stays so; a call for each frame costs as much as the rest
            self._lifecycle.advance(_AUDIO)
        return frame

    def finish(self) -> list[Message]:
        """Return the end of the audio."""
        self._lifecycle.advance(Step.FINISH)
        return [_encode(ClientEnd()).decode()]

    def receive(self, message: str | bytes) -> Events:
        """Return the events of one message.

        Raises:
            RemoteProtocolError: the message is not JSON.
        """
        decoded = read_message(message, _decode, _reader, of="FunASR", vendor=VENDOR, request_id=self._task_id)
        if isinstance(decoded, Reread):
            return reread_events(decoded, self._dispatch, message)
        return self._dispatch(decoded, str(message))  # text: `read_message` decodes no other

    def end(self) -> Events:
        """Return the events of the end, which the server does not confirm: see `EndingCodec`."""
        self._lifecycle.advance(Step.FINISHED)
        if not self._has_messages:
            error = VendorError(NOTHING, request_id=self._task_id, vendor=VENDOR)
            return [NoSpeech(error)]
        return [*self._sentences.close(), Finished()]

    @property
    def has_untimed_results(self) -> bool:
        """True unless all finals have times, and there was one: the C++ server reports them; see `UntimedCodec`."""
        return self._sentences.have_times is not True

    def expect_repeats(self) -> None:
        """Mark results without times from now on: see `UntimedCodec`."""
        self._sentences.may_repeat = True

    def _dispatch(self, message: ServerMessage, raw: str) -> Events:
        state = self._lifecycle.state
        if state in {State.DONE, State.FAILED}:
            return []
        if message.text is None and message.is_end is None and message.error is None:
            return [Unrecognised("message without a text", raw)]
        self._has_messages = True
        if message.error:
            self._lifecycle.advance(Step.FAIL)
            return [Failed(error_from_text(message.error, request_id=self._task_id, raw=raw))]
        self._lifecycle.advance(_RESULT)
        self._learn_server(message)
        if state is _STREAMING or not self._is_last(message):
            return self._sentences.receive(message, raw)
        self._lifecycle.advance(Step.FINISHED)
        return [*self._sentences.receive(message, raw, is_last=True), *self._sentences.close(), Finished()]

    def _learn_server(self, message: ServerMessage) -> None:
        """Find out which server this is; see the module's docstring."""
        if message.mode is None or message.timestamp or message.stamp_sents:
            self._is_runtime = True
        elif self._is_runtime is None and self._lifecycle.state is _STREAMING and message.is_final is not None:
            self._is_runtime = not message.is_final

    def _is_last(self, message: ServerMessage) -> bool:
        """Return True if a message behind the end of the audio is the last one."""
        if message.is_end:
            return True
        if self._is_runtime is None:
            return False
        return message.is_final is True if self._is_runtime else message.is_final is False and _is_offline(message)


class _Sentences:
    """The sentences of a task, one after the other."""

    __slots__ = ("_online_text", "_request_id", "_tracker", "have_times", "may_repeat")

    def __init__(self, request_id: str) -> None:
        self._tracker: SegmentTracker[None, TrackedSegment[None]] = SegmentTracker(TrackedSegment, is_sequential=True)
        self._request_id = request_id
        # the online results since the last final
        self._online_text = ""
        # results without times may repeat words of an earlier task
        self.may_repeat = False
        # all finals have times; None while there is none
        self.have_times: bool | None = None

    def receive(self, message: ServerMessage, raw: str, *, is_last: bool = False) -> Events:
        """Return the events of a result; with `is_last`, its sentence reaches to the end of the audio."""
        text = message.text or ""
        if not text.strip():
            return []
        if _is_offline(message):
            self._online_text = ""
            return self._complete(text, message, raw, is_last=is_last)
        self._online_text = _appended(self._online_text, text)
        return self._continue(raw)

    def close(self) -> Events:
        """Return the events of what is open at the end."""
        return self._tracker.close_at_end(NO_TEXT)

    def _continue(self, raw: str) -> Events:
        events: Events = []
        segment = self._tracker.assign(None, None, None, self._online_text, is_final=False, events=events)
        if segment is None:
            return events
        segment.interim_result = result = Result(
            text=self._online_text,
            is_final=False,
            segment_id=segment.id,
            start_ms=segment.start_ms,
            end_ms=segment.end_ms,
            may_repeat=self.may_repeat,
            request_id=self._request_id,
            raw=raw,
        )
        return [*events, result]

    def _complete(self, text: str, message: ServerMessage, raw: str, *, is_last: bool) -> Events:
        words = _words(message.stamp_sents)
        start_ms, end_ms = _place_of(words, message.timestamp)
        events: Events = []
        segment = self._tracker.assign(None, start_ms, end_ms, text, is_final=True, events=events)
        has_times = start_ms is not None and end_ms is not None
        self.have_times = has_times and self.have_times is not False
        is_equal = segment is None and not has_times
        if is_equal:  # to the one before: no place shows whether it repeats that, or was said again
            segment = self._tracker.open(None, None, events)
        if segment is None:
            return events
        if start_ms is None or end_ms is None:
            start_ms = segment.start_ms
            # an end at the start stands for the end of the audio so far
            end_ms = start_ms if is_last else start_ms + round(FAST_SPEECH * spoken_length_ms(text))
        result = Result(
            text=text,
            is_final=True,
            segment_id=segment.id,
            start_ms=start_ms,
            end_ms=end_ms,
            words=words,
            may_repeat=is_equal or (self.may_repeat and not has_times),
            request_id=self._request_id,
            raw=raw,
        )
        events += self._tracker.end(segment, result)
        events.append(self._tracker.in_order(segment, result))
        return [*events, *self._tracker.close(segment)]


def _is_offline(message: ServerMessage) -> bool:
    return message.mode is None or "offline" in message.mode


def _hotwords(options: FunASR2Pass) -> str | None:
    words = options.hotwords
    if not words:
        return None
    return _encode(words).decode() if isinstance(words, dict) else " ".join(words)


def _appended(text: str, more: str) -> str:
    """Return the text of a sentence with its next words; blanks that the server sends are kept."""
    return text + more if text[-1:].isspace() or more[:1].isspace() else join_texts([text, more])


def _words(stamp_sents: Any) -> tuple[Word, ...]:
    """Return the words of a final with their times; empty if it has none, or not one for each."""
    try:
        sentences = msgspec.convert(stamp_sents, tuple[WireSentence, ...])
    except msgspec.ValidationError:
        return ()
    words: list[Word] = []
    for sentence in sentences:
        texts, places = (sentence.text_seg or "").split(), sentence.ts_list or ()
        if len(texts) != len(places) or any(len(place) != 2 for place in places):
            return ()
        for index, (text, place) in enumerate(zip(texts, places, strict=True)):
            start_ms, end_ms = word_start_ms(*place), place[1]
            if start_ms is None or (words and start_ms < words[-1].start_ms):
                return ()  # not known, or out of order
            punctuation = (sentence.punc or "") if index == len(texts) - 1 else ""
            words.append(Word(text=text, start_ms=start_ms, end_ms=max(start_ms, end_ms), punctuation=punctuation))
    return tuple(words)


def _place_of(words: tuple[Word, ...], timestamp: Any) -> tuple[int | None, int | None]:
    """Return the start and the end of a final: of its words, else of its times; each None if not known."""
    if words:
        return words[0].start_ms, words[-1].end_ms
    try:
        places = msgspec.json.decode(timestamp) if isinstance(timestamp, str) else timestamp
        places = msgspec.convert(places, tuple[tuple[Milliseconds, Milliseconds], ...])
    except msgspec.MsgspecError:
        return None, None
    if not places:
        return None, None
    # the server moves all times by -1.5 frames of its model, so the first may lie before the audio
    start_ms, end_ms = word_start_ms(*places[0]), places[-1][1]
    return (None, None) if start_ms is None or start_ms > end_ms else (start_ms, end_ms)
