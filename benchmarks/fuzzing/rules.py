"""The rules that every task and every session keep, whatever the vendor sends.

`TaskRules` checks the events of one codec, `SessionRules` those of a session; both raise `BrokenRuleError` with the
name of the rule. Does not know how the messages were made, and reads them with `Protocol.finals` only.
"""

from __future__ import annotations

import re
import traceback
from typing import Any, cast

import msgspec

from asr_async import (
    ASRError,
    Gap,
    Reconnected,
    Result,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    TranslationArrived,
    TranslationLost,
)
from asr_async.vendors.codec import (
    ENDINGS,
    Failed,
    FinalPending,
    Finished,
    InputClosed,
    MembersLeftOut,
    NoSpeech,
    Started,
    Unheard,
    Unrecognised,
    Usage,
)

from .conversations import TASK_ID, ExpectedFinal, Protocol, read

__all__ = ["BrokenRuleError", "SessionRules", "TaskRules", "check_error"]

MAX_TIME_MS = 2_000_000_000
"""No time in an event is further from 0 than this, whatever the vendor sends."""

PLACE_TOLERANCE_MS = 250
"""Finals with the same text are surely two if their places are further apart than this."""


class BrokenRuleError(Exception):
    """A rule that an event, an error, or the lack of one breaks."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


_CODEC_IN_TEXT = re.compile(r"codec \w+ of vendor '")
"""The words with which a session names a codec that broke its contract."""


def check_error(error: ASRError) -> None:
    """Check that the error of a session is no wrapped one: every codec here is built in.

    Raises:
        BrokenRuleError: it is.
    """
    if not _CODEC_IN_TEXT.search(str(error)):
        return
    cause: BaseException = error.__cause__ or error
    place = traceback.extract_tb(cause.__traceback__)[-1]
    rule = f"only ASRErrors leave a session ({type(cause).__name__} in {place.name})"
    raise BrokenRuleError(rule, f"{str(error)!r:.300}, line {place.lineno}") from error


_SEGMENT_EVENTS = (Result, SpeechStarted, SpeechEnding, SpeechEnded, TranslationArrived, TranslationLost)
_PUBLIC_EVENTS = (*_SEGMENT_EVENTS, Reconnected, Gap)
_TASK_EVENTS = (
    *_SEGMENT_EVENTS,
    *(Started, InputClosed, FinalPending, Finished, Usage, Unheard, Unrecognised, MembersLeftOut),
)
_DECODERS = {event: msgspec.json.Decoder(event) for event in (*_PUBLIC_EVENTS, *_TASK_EVENTS)}
_encode = msgspec.json.Encoder().encode


def _check_type(event: Any) -> None:
    decoder = _DECODERS.get(type(event))
    if decoder is None:
        raise BrokenRuleError("events have known types", f"{event!r:.300}")
    try:
        is_same = decoder.decode(_encode(event)) == event
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise BrokenRuleError("events are well-typed", f"{error} in {event!r:.300}") from None
    if not is_same:
        raise BrokenRuleError("events are well-typed", f"{event!r:.300}")


def _times_of(event: Any) -> list[int | None]:
    if type(event) is Result:
        times: list[int | None] = [event.start_ms, event.end_ms]
        translated = [word for translation in event.translations.values() for word in translation.words]
        for word in (*event.words, *translated):
            times += (word.start_ms, word.end_ms)
        return times
    return [getattr(event, name, None) for name in ("start_ms", "end_ms", "at_ms")]


def _check_times(event: Any) -> None:
    for time_ms in _times_of(event):
        if time_ms is not None and not -MAX_TIME_MS < time_ms < MAX_TIME_MS:
            raise BrokenRuleError("times are bounded", f"{event!r:.300}")


class _SegmentRules:
    """The rules about the segments of a task, or of a session."""

    def __init__(self) -> None:
        self.started: set[int] = set()
        self.ended: set[int] = set()
        self.final: set[int] = set()
        self._interims: dict[int, str] = {}

    def check(self, event: Any) -> None:
        kind = type(event)
        if kind is Result:
            self._check_result(event)
        elif kind is SpeechStarted:
            self._check_new(self.started, event, "a segment starts once")
        elif kind is SpeechEnded:
            self._check_new(self.ended, event, "a segment ends once")
            self._check_ended(event)

    def _check_result(self, result: Result) -> None:
        if result.segment_id not in self.started:
            raise BrokenRuleError("a segment with a result has started", f"{result!r:.300}")
        if result.segment_id in self.final:
            rule = "a segment is final once" if result.is_final else "no interim follows a final"
            raise BrokenRuleError(rule, f"{result!r:.300}")
        if result.is_final:
            self.final.add(result.segment_id)
        else:
            self._interims[result.segment_id] = result.text

    def _check_ended(self, event: SpeechEnded) -> None:
        if event.segment_id not in self.started:
            raise BrokenRuleError("a segment that ends has started", f"{event!r}")
        if event.is_withdrawn == (event.segment_id in self.final):
            raise BrokenRuleError("a segment ends with a final or is withdrawn", f"{event!r}")
        shown = self._interims.get(event.segment_id, "")
        # without a text as it was spoken, it is that of a translation
        if event.is_withdrawn and shown and event.withdrawn_text != shown:
            raise BrokenRuleError("a withdrawn text is that of the last interim", f"{event!r}, not {shown!r}")

    def _check_new(self, known: set[int], event: Any, rule: str) -> None:
        if event.segment_id in known:
            raise BrokenRuleError(rule, f"{event!r}")
        known.add(event.segment_id)

    def check_end(self) -> None:
        if open_segments := self.started - self.ended:
            raise BrokenRuleError("every segment has ended at the end", f"open: {sorted(open_segments)[:10]}")


class TaskRules:
    """The rules of one vendor task."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._segments = _SegmentRules()
        self._finals = ExpectedFinals()
        self._request_id: str | None = None if protocol.answers_start else TASK_ID
        self.pending: list[int] = []
        """The segments with a final that waits for a translation."""
        self.is_ended = False

    def check_message(self, message: str | bytes) -> None:
        """Note what a message must cause, before the codec receives it."""
        if self._request_id is not None and not self.is_ended:
            for final in self._protocol.finals(read(message), self._request_id):
                self._finals.expect(final)

    def check(self, events: Any, *, is_released: bool = False) -> None:
        """Check the events of one message, or those of finals that were pending."""
        if type(events) is not list:
            raise BrokenRuleError("codecs return lists", f"{type(events)}")
        for event in events:
            kind = type(event)
            if kind in {Failed, NoSpeech}:
                if not isinstance(event.error, ASRError):
                    raise BrokenRuleError("errors are ASRErrors", f"{event!r:.300}")
            else:
                _check_type(event)
                _check_times(event)
            if self.is_ended and not is_released and kind not in {Unrecognised, MembersLeftOut}:
                raise BrokenRuleError("nothing follows the end", f"{event!r:.300}")
            self._segments.check(event)
            if kind is Result and event.is_final:
                self._finals.record(event.text)
                if not event.is_confirmed and type(events[-1]) not in ENDINGS:
                    raise BrokenRuleError("unconfirmed finals come at the end", f"{event!r:.300}")
            elif kind is Started:
                self._request_id = event.request_id
            elif kind is FinalPending:
                self.pending.append(event.segment_id)
            elif kind in ENDINGS:
                self.is_ended = True
                if kind is Finished:
                    self._segments.check_end()

    def check_end(self) -> None:
        """Check what has to hold when no more messages come."""
        self._finals.check_end()


class ExpectedFinals:
    """The finals that must arrive, and those that have."""

    def __init__(self) -> None:
        self._expected: dict[str, list[ExpectedFinal]] = {}
        self._arrived: dict[str, int] = {}

    def expect(self, final: ExpectedFinal) -> None:
        """Add a final, unless it may be a repeat of one before it."""
        if not (letters := _letters_of(final.text)):
            return
        known = self._expected.setdefault(letters, [])
        if all(_are_two(final, other) for other in known):
            known.append(final)

    def record(self, text: str) -> None:
        """Record a final that has arrived."""
        letters = _letters_of(text)
        self._arrived[letters] = self._arrived.get(letters, 0) + 1

    def check_end(self) -> None:
        """Check that all have arrived."""
        for text, finals in self._expected.items():
            if self._arrived.get(text, 0) < len(finals):
                detail = f"{text!r:.200} arrived {self._arrived.get(text, 0)} times, not {len(finals)}"
                raise BrokenRuleError("well-formed finals arrive", detail)


def _letters_of(text: str) -> str:
    """Return what a comparison of texts sees; empty for texts without a word."""
    return "".join(character for character in text.casefold() if character.isalnum())


def _are_two(final: ExpectedFinal, other: ExpectedFinal) -> bool:
    """Return True if two finals with the same text are surely not the same one."""
    if final.key is not None and other.key is not None:
        return final.key != other.key
    if final.start_ms is None or other.start_ms is None:
        return False
    start_ms, end_ms = final.start_ms, cast("int", final.end_ms)
    other_end_ms = cast("int", other.end_ms)
    return start_ms > other_end_ms + PLACE_TOLERANCE_MS or end_ms < other.start_ms - PLACE_TOLERANCE_MS


class SessionRules:
    """The rules of one session."""

    def __init__(self) -> None:
        self._segments = _SegmentRules()
        self._finals = ExpectedFinals()
        self.has_reconnected = False

    def expect(self, finals: list[ExpectedFinal]) -> None:
        """Add finals that the session must deliver if it ends without an error on its only connection."""
        for final in finals:
            self._finals.expect(final)

    def check(self, event: Any) -> None:
        """Check one event that the caller has received."""
        _check_type(event)
        _check_times(event)
        self._segments.check(event)
        if any(time_ms is not None and time_ms < 0 for time_ms in _times_of(event)):
            raise BrokenRuleError("no time is before the source", f"{event!r:.300}")
        if type(event) in {Result, Gap} and event.start_ms > event.end_ms:
            raise BrokenRuleError("a result or a gap ends behind its start", f"{event!r:.300}")
        if type(event) is Result:
            if any(word.start_ms > word.end_ms for word in event.words):
                raise BrokenRuleError("a word ends behind its start", f"{event.words!r:.300}")
            if event.is_final:
                self._finals.record(event.text)
        elif type(event) is Reconnected:
            self.has_reconnected = True
            if _CODEC_IN_TEXT.search(event.reason):
                raise BrokenRuleError("no codec fails at a message", f"{event!r:.300}")

    def check_end(self) -> None:
        """Check what has to hold when a session has ended without an error."""
        self._segments.check_end()
        if not self.has_reconnected:
            self._finals.check_end()
