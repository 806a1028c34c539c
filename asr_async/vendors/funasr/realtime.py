"""The codec of FunASR's real-time server: START, audio, COMMIT, STOP, and the server's messages.

Each result repeats all sentences since START (with commits: since the last one) and has the text behind them so far,
the *partial*. The codec returns what is new:

- A sentence behind those of the message before is final. If the server divides the earlier ones anew (it does at the
  end, with `--enable-spk`: a sentence of two speakers becomes two), their words are compared: those that were returned
  are not returned again, and a sentence with other words at the place of returned ones is marked `may_repeat`.
- The partial is the interim of the next sentence. Of long speech it is only the newest seconds, so its start moves
  along; it belongs to the same sentence while it reaches back into the audio of the partial before, and is not shorter
  or begins with words that the other one ends with.
  The words that it has lost at its beginning stay in the interim: the server may stop without a final. If already the
  first partial of that sentence has several words, there may be others which none had: the audio between the last final
  and the partial is then reported as unheard.

A COMMIT before START has no effect: the error with which the server answers it says which side finds the ends of
utterances, so a server in the other mode is refused before any audio is sent. The protocol has no ids: `request_id` is
empty. Does not know sockets or clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..._alignment.places import JITTER_MS, SAME_MS
from ..._alignment.words import letters_of, words_of_text
from ...results import Result, join_texts
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
    Unheard,
    Unrecognised,
    read_message,
    reread_events,
)
from ..lenient import LenientReader, UnreadableError
from ..segments import SegmentTracker, TrackedSegment
from .errors import VENDOR, error_from_text
from .realtime_wire import COMMIT, HOTWORDS, LANGUAGE, REPLACEMENTS, START, STOP, ServerMessage, WireSentence

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...audio import AudioBytes
    from ...errors import ASRError
    from .models import FunASRNano

__all__ = ["RealtimeCodec", "describe_realtime_task"]

# bound here, since an access to a member of an enum is a function call in CPython 3.11
_AUDIO = Step.AUDIO
_STREAMING = State.STREAMING
_RESULT = Step.RESULT

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ServerMessage).decode
_reader: LenientReader[ServerMessage] = LenientReader(ServerMessage)
_sentence_reader: LenientReader[WireSentence] = LenientReader(WireSentence)

MAX_FRAME_BYTES = 64_000
"""2 s. The server accepts 10 MB (`--ws-max-size`), and recognises one message at a time."""

ANSWERS = frozenset({"hotwords_set", "postprocess_hotwords_set", "language_set"})
"""The answers to commands with options, which repeat them."""

MAX_SENTENCE_CHARS = 20_000
"""The longest interim that is put together; a minute of speech has a thousand characters."""

NO_COMMITS = "manual_commit=True: the server does not know COMMIT, which funasr-realtime-server has from 1.3.16 on"
NO_TEXT = "the server showed speech, and stopped without a text for it"
NO_BEGINNING = "the server stopped without a final of the last sentence, of which it shows only the newest seconds"

Events = list[CodecEvent]


def describe_realtime_task(options: FunASRNano) -> TaskDescription:
    """Return the facts about one task."""
    return TaskDescription(
        audio_format=options.audio,
        min_frame_bytes=2,  # an odd number of bytes ends the connection
        max_frame_bytes=MAX_FRAME_BYTES,
        takes_commits=options.manual_commit,
        context_refusal="context: the server takes none while it recognises",
    )


class RealtimeCodec:
    """One recognition task, from START to `stopped`; see `Codec` for the methods' contract."""

    def __init__(self, options: FunASRNano) -> None:
        self._options = options
        self._lifecycle = TaskLifecycle()
        self._sentences = _Sentences()
        # the answer to the COMMIT before START has arrived
        self._knows_commits = False
        self._handlers: dict[str, Callable[[ServerMessage, str], Events]] = {
            "started": self._on_started,
            "stopped": self._on_stopped,
            "error": self._on_error,
        }

    def __repr__(self) -> str:
        return f"<RealtimeCodec {self._options.model} {self._lifecycle.state.value}>"

    @property
    def request_id(self) -> str:
        """Empty: the protocol has no ids."""
        return ""

    def start(self) -> list[Message]:
        """Return the commands with options, the COMMIT that shows the server's mode, and START."""
        self._lifecycle.advance(Step.START)
        options = self._options
        commands = [*options.extra_commands]
        if options.language is not None:
            commands.append(f"{LANGUAGE}{options.language}")
        if options.hotwords is not None:
            commands.append(f"{HOTWORDS}{','.join(options.hotwords)}")
        if options.replacements is not None:
            pairs = ",".join(f"{wrong}=>{right}" for wrong, right in options.replacements.items())
            commands.append(f"{REPLACEMENTS}{pairs}")
        return [*commands, COMMIT, START]

    def audio(self, frame: AudioBytes) -> Message:
        """Return the audio itself: it is sent as a binary message."""
        if self._lifecycle.state is not _STREAMING:  # else it stays so; a call for each frame costs as much as the rest
            self._lifecycle.advance(_AUDIO)
        return frame

    def commit(self) -> list[Message]:
        """Return COMMIT, which has the audio since the last one recognised as one utterance."""
        self._lifecycle.advance(Step.COMMIT)
        return [COMMIT]

    def finish(self) -> list[Message]:
        """Return STOP, behind which no audio comes; it commits the rest."""
        self._lifecycle.advance(Step.FINISH)
        return [STOP]

    def receive(self, message: str | bytes) -> Events:
        """Return the events of one message.

        Raises:
            RemoteProtocolError: the message is not JSON, its event is no text, or it is out of order.
        """
        decoded = read_message(message, _decode, _reader, of="FunASR", vendor=VENDOR, request_id=None)
        if isinstance(decoded, Reread):
            return reread_events(decoded, self._dispatch, message)
        return self._dispatch(decoded, str(message))  # text: `read_message` decodes no other

    def _dispatch(self, message: ServerMessage, raw: str) -> Events:
        if self._lifecycle.state in {State.DONE, State.FAILED}:
            return []
        event = message.event
        if event is None:
            return self._on_result(message, raw)
        if event in ANSWERS:
            return []
        handler = self._handlers.get(event)
        return [Unrecognised(event, raw)] if handler is None else handler(message, raw)

    def _on_started(self, _message: ServerMessage, raw: str) -> Events:
        if self._lifecycle.state is not State.STARTING:
            return [Unrecognised("second started", raw)]
        if self._options.manual_commit and not self._knows_commits:
            return self._fail(error_from_text(NO_COMMITS, raw=raw))
        self._lifecycle.advance(Step.STARTED)
        return [Started("")]

    def _on_stopped(self, _message: ServerMessage, _raw: str) -> Events:
        self._lifecycle.advance(Step.FINISHED)
        return [*self._sentences.close(), Finished()]

    def _on_error(self, message: ServerMessage, raw: str) -> Events:
        text = message.error or ""
        finds_ends, is_not_active = "COMMIT requires" in text, "not active" in text
        if self._lifecycle.state is State.STARTING and (finds_ends or is_not_active):
            self._knows_commits = True
            if is_not_active == self._options.manual_commit:
                return []  # the expected answer to the COMMIT before START
        return self._fail(error_from_text(text, raw=raw))

    def _fail(self, error: ASRError) -> Events:
        self._lifecycle.advance(Step.FAIL)
        return [Failed(error)]

    def _on_result(self, message: ServerMessage, raw: str) -> Events:
        if message.sentences is None and message.partial is None:
            return [Unrecognised("message without an event or a result", raw)]
        self._lifecycle.advance(_RESULT)
        events = self._sentences.receive(message)
        if message.is_final and self._lifecycle.state is _STREAMING:
            events += self._sentences.end_utterance()
        return events


class _Sentences:
    """The sentences of a task, and the partial behind them."""

    __slots__ = (
        "_finals_end_ms",
        "_heard_ms",
        "_may_be_cut",
        "_most_sentences",
        "_partial_ms",
        "_partial_start_ms",
        "_partial_text",
        "_texts",
        "_tracker",
    )

    def __init__(self) -> None:
        self._tracker: SegmentTracker[None, TrackedSegment[None]] = SegmentTracker(TrackedSegment, is_sequential=True)
        # the texts of the sentences of the message before
        self._texts: list[Any] = []
        # the largest number of them
        self._most_sentences = 0
        # where the sentence of the present partial begins; None if there is no partial
        self._partial_start_ms: int | None = None
        # the text of that sentence so far
        self._partial_text = ""
        # words before the first partial of that sentence may have been in none
        self._may_be_cut = False
        # the length of that partial, and the end of the audio in it
        self._partial_ms = 0
        self._heard_ms = 0
        self._finals_end_ms = 0

    def receive(self, message: ServerMessage) -> Events:
        """Return the events of a result; empty if it has nothing new."""
        events: Events = []
        for sentence, may_repeat in self._new_sentences(message.sentences or ()):
            self._partial_start_ms = None
            events += self._complete(sentence, may_repeat=may_repeat)
        if message.partial:
            events += self._continue(message)
        return events

    def end_utterance(self) -> Events:
        """Return the events of the answer to a commit: the next sentences begin anew, and nothing stays open."""
        self._texts = []
        self._most_sentences = 0
        self._partial_start_ms = None
        return self._tracker.withdraw_open()

    def close(self) -> Events:
        """Return the events of what is open at the end that the server confirms."""
        events = self._tracker.close_at_end(NO_TEXT)
        start_ms = next((event.start_ms for event in events if isinstance(event, Result)), 0)
        if self._may_be_cut and start_ms > self._finals_end_ms + JITTER_MS:
            events.insert(0, Unheard(self._finals_end_ms, start_ms, NO_BEGINNING))
        return events

    def _new_sentences(self, sentences: tuple[dict[str, Any], ...]) -> list[tuple[dict[str, Any], bool]]:
        """Return the sentences that are not returned yet; True beside those that may repeat words that are."""
        known, self._texts = self._texts, [sentence.get("text") for sentence in sentences]
        self._most_sentences = max(self._most_sentences, len(sentences))
        if self._texts[: len(known)] == known:
            return [(sentence, False) for sentence in sentences[len(known) :]]
        returned = "".join(map(_letters, known))
        new: list[tuple[dict[str, Any], bool]] = []
        at = 0
        for sentence in sentences:
            letters = _letters(sentence.get("text"))
            if at < len(returned) and returned.startswith(letters, at):
                at += len(letters)  # the same words, divided otherwise
            else:
                start_ms = sentence.get("start")
                is_behind = isinstance(start_ms, int) and self._tracker.is_behind_finals(start_ms + JITTER_MS)
                new.append((sentence, at < len(returned) and not is_behind))
        return new

    def _complete(self, members: dict[str, Any], *, may_repeat: bool) -> Events:
        """Return the events of a final."""
        raw = _encode(members).decode()
        sentence = _read_sentence(members, raw)
        text, start_ms, end_ms = sentence.text or "", sentence.start, sentence.end
        if end_ms is not None and start_ms is not None and end_ms < start_ms:
            end_ms = None
        events: Events = []
        segment = self._tracker.assign(None, start_ms, end_ms, text, is_final=True, events=events)
        if segment is None:
            return events
        if start_ms is None:
            start_ms = segment.start_ms
        result = Result(
            text=text,
            is_final=True,
            segment_id=segment.id,
            start_ms=start_ms,
            end_ms=max(start_ms, segment.end_ms) if end_ms is None else end_ms,
            may_repeat=may_repeat,
            raw=raw,
        )
        self._finals_end_ms = max(self._finals_end_ms, result.end_ms)
        events += self._tracker.end(segment, result)
        events.append(self._tracker.in_order(segment, result))
        events += self._tracker.close(segment)
        return events

    def _continue(self, message: ServerMessage) -> Events:
        """Return the events of a partial."""
        text, heard_ms, before_ms = message.partial or "", message.duration_ms, self._heard_ms
        start_ms = self._start_of_partial(message.partial_start_ms, heard_ms, text)
        left_ms = 0 if start_ms is None or message.partial_start_ms is None else message.partial_start_ms - start_ms
        if start_ms is not None and left_ms > 0:
            # a move by the jitter alone leaves out a word only if the text says so
            share = left_ms / max(left_ms, before_ms - start_ms) if left_ms > JITTER_MS else 0
            text = _continued(self._partial_text, text, share=share)
        self._partial_text = text
        finals_end_ms = self._finals_end_ms
        is_newest = len(self._texts) == self._most_sentences  # else it may be from before the last sentence
        if is_newest and start_ms is not None and start_ms < finals_end_ms <= start_ms + SAME_MS:
            start_ms = (
                finals_end_ms  # a partial is behind all sentences of its message, whatever the jitter of its times
            )
        events: Events = []
        segment = self._tracker.assign(None, start_ms, heard_ms, text, is_final=False, events=events)
        if segment is None:
            return events
        members = {name: getattr(message, name) for name in ("partial", "partial_start_ms", "duration_ms", "is_final")}
        segment.interim_result = result = Result(
            text=text,
            is_final=False,
            segment_id=segment.id,
            start_ms=segment.start_ms if start_ms is None else start_ms,
            end_ms=segment.end_ms,
            raw=_encode(members).decode(),
        )
        events.append(result)
        return events

    def _start_of_partial(self, start_ms: int | None, heard_ms: int | None, text: str) -> int | None:
        """Return where the sentence of a partial begins: the partial itself may only be its end."""
        if start_ms is None or heard_ms is None:
            return start_ms
        length_ms = heard_ms - start_ms
        continues = start_ms <= self._heard_ms and (
            length_ms >= self._partial_ms - JITTER_MS or _seam(self._partial_text, text, is_first_cut=True) is not None
        )
        self._partial_ms, self._heard_ms = length_ms, heard_ms
        if self._partial_start_ms is None or not continues:
            self._partial_start_ms = start_ms
            self._may_be_cut = len(words_of_text(text)) > 1
        elif start_ms < self._partial_start_ms:
            self._partial_start_ms = start_ms
        return self._partial_start_ms


def _continued(before: str, text: str, *, share: float) -> str:
    """Return the text of a sentence with the newest words of it, of which the first ones are in the text too.

    Args:
        before: the text so far.
        text: the newest words. The first one may be cut in two.
        share: the part of the audio before that they leave out, for words that are others than before.
    """
    words = words_of_text(before)
    if len(before) > MAX_SENTENCE_CHARS or not words or not words_of_text(text):
        return text
    if (seam := _seam(before, text, is_first_cut=share > 0)) is not None:
        return join_texts([before[: seam[0]], text[seam[1] :]])
    kept = words[: round(share * len(words))]
    return join_texts([before[: kept[-1][2]], text]) if kept else text


def _seam(before: str, text: str, *, is_first_cut: bool) -> tuple[int, int] | None:
    """Return the places in both texts from which on the later one repeats all words of the other; None if it does not.

    Args:
        before: the text so far.
        text: the newest words.
        is_first_cut: the first one of them may be cut in two.
    """
    words, newest = words_of_text(before), words_of_text(text)
    forms, newest_forms = [form for form, _, _ in words], [form for form, _, _ in newest]
    for first in range(min(2 if is_first_cut else 1, len(newest))):
        for at in range(len(words)):
            common = min(len(words) - at, len(newest) - first)
            if forms[at : at + common] == newest_forms[first : first + common]:
                return words[at][1], newest[first][1]
    return None


def _letters(text: Any) -> str:
    return letters_of(text) if isinstance(text, str) else ""


def _read_sentence(members: dict[str, Any], raw: str) -> WireSentence:
    try:
        return msgspec.convert(members, WireSentence)
    except msgspec.ValidationError:
        try:
            return _sentence_reader.read(raw)[0]
        except UnreadableError:
            return WireSentence()
