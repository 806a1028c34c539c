"""The segments of Gummy: sentences and their translations, which do not keep step with each other.

Theory of operation. The vendor recognises and translates side by side: a message holds a transcription, translations,
or both, and the two come together only at the end of a sentence (Gummy WebSocket API page, 2025). The transcriptions
make the segments, one after the other, by the rule of `SegmentTracker`. The final of a sentence waits for its
translations by the rule that `Result.translations` states. Until then, each message about the sentence brings a new
interim with everything that is known of it. Only finals that wait hold back the finals behind them; a sentence that is
not final never does.

A translation belongs to the sentence with its number *and* its place, since numbers may repeat; without a number, to
the one at its place; with neither, to the first one that the translator has not passed. So that late ones find their
segment, a returned sentence is remembered until its translations are final, or lost.

If only translations were requested, they make the segments: the text stays empty, and a sentence is final with its
first final translation.

Does not know clocks: the session decides when a pending final has waited long enough.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import msgspec

from ...results import (
    Result,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    Translation,
    TranslationArrived,
    TranslationLost,
)
from ..codec import CodecEvent, FinalPending, Unrecognised
from ..lenient import MAX_MS, known_ms
from ..segments import MAX_REMEMBERED, SegmentTracker, TrackedSegment
from .segments import NO_TEXT, is_final, place_of, stable_text_of, words_of
from .wire import GummySentence, Output

__all__ = ["TranslatedSegments"]

MAX_OPEN = 64
"""Finals that may wait for the one before them; beyond that, the oldest is returned as it is."""

TASK_ENDED = "the vendor ended the task without it"
FORGOTTEN = "too many later sentences lack a translation too"
"""Reasons for `TranslationLost`."""

START = (-MAX_MS - 1, 0)
"""A place before all others."""

_Key = int | None
_Place = tuple[int | None, int | None]
"""The start and the end in a part, each None if the part has neither it nor words with times."""

_replace = msgspec.structs.replace


class TranslatedSegments:
    """The sentences of one task, in the order of their first sign; see `Segments` for the methods' contract."""

    def __init__(self, request_id: str, *, is_transcribed: bool, languages: tuple[str, ...]) -> None:
        """Track no sentence yet.

        Args:
            request_id: the id in each result.
            is_transcribed: True if the text as it was spoken was requested.
            languages: the languages to translate into.
        """
        self._is_transcribed = is_transcribed
        self._languages = languages
        self._tracker: SegmentTracker[_Key, _Sentence] = SegmentTracker(
            functools.partial(_Sentence.first, request_id=request_id),
            is_sequential=True,
            max_open=MAX_OPEN + MAX_REMEMBERED,
        )
        # language → the place of the last sentence with a final translation: the translator does not return to those
        # before it
        self._translated_until: dict[str, tuple[int, int]] = {}
        # the sentences that are over and were not returned, by their segment
        self._over: dict[int, _Sentence] = {}
        # the sentences that were returned without a final translation, by their segment
        self._incomplete: dict[int, _Sentence] = {}

    def receive(self, output: Output, *, raw: str) -> list[CodecEvent]:
        """Return the events of a message's sentences and translations."""
        spoken, translations = output.transcription, output.translations
        if spoken is None and not translations:
            return [Unrecognised("result-generated without a sentence", raw)]
        collected = _Collected(raw)
        if spoken is not None:
            self._receive_spoken(spoken, collected)
        for part in translations or ():
            # a translation without its language has the only one that was requested
            language = part.lang or (self._languages[0] if len(self._languages) == 1 else "")
            if language:
                self._receive_translation(language, part, collected)
            else:
                collected.report("translation without a language")
        events = [*collected.events, *self._close_complete()] if self._over else collected.events
        still_open = [each for each in collected.changed if not (each.has_final or each.is_withdrawn)]
        for sentence in still_open:
            events += sentence.interim()
        return [*events, *collected.endings, *_pending(still_open)]

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """Return a final that has waited long enough, behind those before it."""
        waiting = self._waiting()
        numbers = [sentence.id for sentence in waiting]
        return self._close(waiting[: numbers.index(segment_id) + 1] if segment_id in numbers else ())

    def lost_translations(self, reason: str) -> list[CodecEvent]:
        """Return an event for each translation that a returned final lacks, and forget them."""
        incomplete, self._incomplete = self._incomplete, {}
        return [event for sentence in incomplete.values() for event in self._lose(sentence, reason)]

    def close(self) -> list[CodecEvent]:
        """Return all open sentences as finals: the vendor has confirmed the end, so none changes any more."""
        events: list[CodecEvent] = []
        for sentence in sorted(self._tracker.open_segments, key=_order):
            if sentence.is_over:
                events += self._close([sentence])
            elif (interim := sentence.interim_result) is not None:
                final = _replace(interim, is_final=True, is_confirmed=False)
                self._tracker.end_unconfirmed(sentence, final)
                events += [final, *self._tracker.close(sentence)]
                self._remember_incomplete(sentence, events)
        return [*events, *self._tracker.close_at_end(NO_TEXT), *self.lost_translations(TASK_ENDED)]

    def withdraw(self) -> list[CodecEvent]:
        """Return the finals that wait, and the ends of the other sentences: what they hold was no speech."""
        events = self._close(self._waiting())
        return [*events, *self._tracker.withdraw_open(), *self.lost_translations(TASK_ENDED)]

    # --- sentences ---------------------------------------------------------------------------------------------------

    def _receive_spoken(self, part: GummySentence, collected: _Collected) -> None:
        place = place_of(part)
        sentence = self._assign(part, place, collected)
        if sentence is not None:
            sentence.transcribe(part, place, collected.raw)
            self._record(sentence, part, collected)
        elif (waiting := self._tracker.find_open(part.sentence_id)) is not None:
            collected.add(waiting)
        if (stash := _stash(part)) is not None:
            place = place_of(stash)
            if (ahead := self._assign_ahead(stash, place, collected)) is not None:
                ahead.transcribe(stash, place, collected.raw)
                collected.add(ahead)

    def _receive_translation(self, language: str, part: GummySentence, collected: _Collected) -> None:
        place = place_of(part)
        sentence = self._find_translated(language, part, place)
        if sentence is None and not self._is_transcribed:
            sentence = self._assign(part, place, collected)
        elif sentence is None and part.text:
            sentence = self._open_translated(part, place, collected)
        if sentence is not None:
            self._translate(sentence, language, part, place, collected)
        if (stash := _stash(part)) is not None:
            place = place_of(stash)
            ahead = self._find_translated(language, stash, place) or self._assign_ahead(stash, place, collected)
            if ahead is not None:
                self._translate(ahead, language, stash, place, collected)

    def _assign(self, part: GummySentence, place: _Place, collected: _Collected) -> _Sentence | None:
        """Return the sentence that a part makes, opened at its first text; None for a repeat."""
        start_ms, end_ms = place
        opening: list[CodecEvent] = []
        sentence = self._tracker.assign(
            part.sentence_id, start_ms, end_ms, part.text or "", is_final=is_final(part), events=opening
        )
        if opening:
            collected.open(sentence, opening)
        return sentence

    def _assign_ahead(self, stash: GummySentence, place: _Place, collected: _Collected) -> _Sentence | None:
        """Return the sentence of a stash; opening it does not end the present one, which goes on."""
        tracker, key, text = self._tracker, stash.sentence_id, stash.text or ""
        start_ms, end_ms = place
        for sentence in tracker.open_segments:
            is_named = sentence.key == key and key is not None
            if is_named or (key is None and start_ms is not None and sentence.is_near(start_ms, end_ms)):
                return None if sentence.is_over else sentence
        if not text or tracker.is_repeat(key, start_ms, end_ms, text, is_final=False):
            return None
        return self._open_ahead(key, start_ms, collected)

    def _open_translated(self, part: GummySentence, place: _Place, collected: _Collected) -> _Sentence | None:
        """Open the sentence of a translation that comes before its text."""
        key, start_ms = part.sentence_id, place[0]
        if key is None and start_ms is None:
            collected.report("translation without a number or a place")
            return None
        if key is not None and self._tracker.is_forgotten(key) and not self._tracker.is_behind_finals(start_ms):
            collected.report("translation of a sentence that was over long ago")
            return None
        return self._open_ahead(key, start_ms, collected)

    def _open_ahead(self, key: _Key, start_ms: int | None, collected: _Collected) -> _Sentence:
        opening: list[CodecEvent] = []
        sentence = self._tracker.open(key, start_ms, opening, is_ahead=True)
        collected.open(sentence, opening)
        return sentence

    def _record(self, sentence: _Sentence, part: GummySentence, collected: _Collected) -> None:
        """Record what a part has changed in the sentence that it makes."""
        if not sentence.is_over and is_final(part):
            result = sentence.result
            if sentence.interim_result is None and self._tracker.resembles_final(result.start_ms, result.text):
                sentence.result = _replace(result, may_repeat=True)
            collected.extend(self._tracker.end(sentence, sentence.result))
            self._over[sentence.id] = sentence
            sentence.text = part.text or ""  # a translation if only those were requested: repeats have the same
        collected.add(sentence)
        collected.endings += sentence.ending(part)

    # --- translations ------------------------------------------------------------------------------------------------

    def _translate(
        self, sentence: _Sentence, language: str, part: GummySentence, place: _Place, collected: _Collected
    ) -> None:
        """Set the translation of a sentence, and record what that changes."""
        is_new = sentence.translate(language, part, place, collected.raw)
        if is_new and sentence.is_translated(language):
            self._translated_until[language] = max(sentence.order, self._translated_until.get(language, START))
        if sentence.has_final:
            if is_new:
                collected.events.append(sentence.arrived(language))
            if not self._missing_languages(sentence):
                self._incomplete.pop(sentence.id, None)
        elif not self._is_transcribed:
            self._record(sentence, part, collected)
        elif not sentence.is_withdrawn:
            collected.add(sentence)

    def _find_translated(self, language: str, part: GummySentence, place: _Place) -> _Sentence | None:
        """Return the sentence of a translation; None if it is about none that is known."""
        key, (start_ms, end_ms) = part.sentence_id, place
        sentence = self._tracker.find_open(key)
        if sentence is not None and sentence.is_near(start_ms, end_ms):
            return sentence
        known = self._tracker.known_segments
        named = [sentence for sentence in known if key in {None, sentence.key}]
        if start_ms is None:
            return self._find_due(language, key, named)
        if key is not None and (near := [sentence for sentence in named if sentence.is_near(start_ms, end_ms)]):
            return _nearest(near, start_ms)
        # the place counts more than another number, if it is exact
        placed = [
            sentence
            for sentence in known
            if sentence.may_lie_at(start_ms, end_ms, key) and not sentence.is_translated_else(language, part.text or "")
        ]
        if placed or key is None:
            return _nearest(placed, start_ms) if placed else None
        named = [sentence for sentence in named if not sentence.is_withdrawn]  # it was elsewhere, or it would be near
        if all(sentence.is_translated(language) for sentence in named):
            return None  # the number is used again
        return self._find_due(language, key, named)

    def _find_due(self, language: str, key: _Key, named: list[_Sentence]) -> _Sentence | None:
        """Return the first sentence that the translator has not passed; without one, the last with the number."""
        until = self._translated_until.get(language, START)
        lacking = [sentence for sentence in named if not sentence.is_translated(language)]
        for sentence in lacking:
            if sentence.order > until:
                return sentence
        candidates = [] if key is None else lacking or named
        return candidates[-1] if candidates else None

    def _missing_languages(self, sentence: _Sentence) -> list[str]:
        if self._is_transcribed and not sentence.result.text:
            return []  # there is nothing to translate
        return [language for language in self._languages if not sentence.is_translated(language)]

    def _remember_incomplete(self, sentence: _Sentence, events: list[CodecEvent]) -> None:
        if not self._missing_languages(sentence):
            return
        self._incomplete[sentence.id] = sentence
        if len(self._incomplete) > MAX_REMEMBERED:
            events += self._lose(self._incomplete.pop(next(iter(self._incomplete))), FORGOTTEN)

    def _lose(self, sentence: _Sentence, reason: str) -> list[CodecEvent]:
        return [
            TranslationLost(segment_id=sentence.id, language=language, reason=reason)
            for language in self._missing_languages(sentence)
        ]

    # --- finals ------------------------------------------------------------------------------------------------------

    def _is_complete(self, sentence: _Sentence) -> bool:
        return all(
            sentence.order < self._translated_until.get(language, START)
            for language in self._missing_languages(sentence)
        )

    def _waiting(self) -> list[_Sentence]:
        """Return the sentences that are over and were not returned, in the order of the audio."""
        return sorted(self._over.values(), key=_order)

    def _close_complete(self) -> list[CodecEvent]:
        """Return the finals from the oldest sentence on, up to the first that has to wait."""
        waiting = self._waiting()
        for count, sentence in enumerate(waiting):
            if not self._is_complete(sentence) and len(waiting) - count <= MAX_OPEN:
                return self._close(waiting[:count])
        return self._close(waiting)

    def _close(self, sentences: Iterable[_Sentence]) -> list[CodecEvent]:
        events: list[CodecEvent] = []
        for sentence in sentences:
            events += sentence.final()
            events += self._tracker.close(sentence)
            self._over.pop(sentence.id, None)
            self._remember_incomplete(sentence, events)
        return events


class _Collected:
    """The events of one message, as they are collected."""

    __slots__ = ("changed", "endings", "events", "raw")

    def __init__(self, raw: str) -> None:
        self.raw = raw
        # the events that precede the results
        self.events: list[CodecEvent] = []
        self.changed: list[_Sentence] = []
        # the predictions of ends, which follow the results
        self.endings: list[SpeechEnding] = []

    def add(self, sentence: _Sentence) -> None:
        """Record that a sentence has changed."""
        if sentence not in self.changed:
            self.changed.append(sentence)

    def open(self, sentence: _Sentence | None, opening: list[CodecEvent]) -> None:
        """Keep the `SpeechStarted` of a sentence that was opened until its first result."""
        if sentence is not None and isinstance(opening[-1], SpeechStarted):
            sentence.started = opening.pop()
        self.extend(opening)

    def extend(self, events: list[CodecEvent]) -> None:
        """Add the events of sentences that are withdrawn."""
        for event in events:
            for sentence in self.changed:
                if isinstance(event, SpeechEnded) and sentence.id == event.segment_id:
                    self.events += sentence.interim()  # it began in this message too
            self.events.append(event)

    def report(self, name: str) -> None:
        """Report a part of the message that cannot be used."""
        self.events.append(Unrecognised(name, self.raw))


class _Sentence(TrackedSegment[_Key], kw_only=True):
    """One sentence and its translations, as far as they are known."""

    result: Result
    """What is known of it."""
    started: CodecEvent | None = None
    """Its `SpeechStarted`, until the first result follows."""
    has_final: bool = False
    """True if its final was returned."""
    is_pending: bool = False
    """True if `FinalPending` was returned."""
    is_ending: bool = False
    """True if `SpeechEnding` was returned, and not withdrawn."""

    @classmethod
    def first(cls, segment_id: int, key: _Key, start_ms: int, end_ms: int, *, request_id: str) -> _Sentence:
        """Return a sentence of which nothing but its place is known."""
        result = Result(
            text="", is_final=False, segment_id=segment_id, start_ms=start_ms, end_ms=end_ms, request_id=request_id
        )
        return cls(segment_id, key, start_ms, end_ms, result=result)

    @property
    def is_withdrawn(self) -> bool:
        """True if the sentence has ended without a final that was returned or waits."""
        return self.has_ended and not self.is_over

    @property
    def order(self) -> tuple[int, int]:
        """The place in the order of the sentences: by the start, then by the first sign."""
        return self.start_ms, self.id

    def transcribe(self, part: GummySentence, place: _Place, raw: str) -> None:
        """Set the text as it was spoken; an interim without a text changes nothing."""
        if not part.text and not is_final(part):
            return
        start_ms, end_ms = self._placed(place)
        text, words = part.text or "", words_of(part, start_ms)
        self.result = _replace(
            self.result,
            text=text,
            words=words,
            start_ms=start_ms,
            end_ms=end_ms,
            raw=raw,
            stable_text=stable_text_of(text, words, is_final=is_final(part)),
        )

    def translate(self, language: str, part: GummySentence, place: _Place, raw: str) -> bool:
        """Set the translation into a language; return False if it is final already, or has no text."""
        before = self.result.translations.get(language)
        is_end, text = is_final(part), part.text or ""
        if before is not None and before.is_final and (not is_end or before.text == text):
            return False
        if not text and not is_end:
            return False
        start_ms, end_ms = self._placed(place)
        translation = Translation(
            text=text, is_final=is_end, start_ms=start_ms, end_ms=end_ms, words=words_of(part, start_ms)
        )
        self.result = _replace(self.result, translations={**self.result.translations, language: translation}, raw=raw)
        if not self.result.text:  # no transcription has reported the times
            self.result = _replace(self.result, start_ms=start_ms, end_ms=end_ms)
        return True

    def _placed(self, place: _Place) -> tuple[int, int]:
        start_ms, end_ms = place
        if start_ms is None:
            start_ms = self.start_ms
        return start_ms, start_ms if end_ms is None else max(start_ms, end_ms)

    def is_translated(self, language: str) -> bool:
        """Return True if the translation into a language is final."""
        translation = self.result.translations.get(language)
        return translation is not None and translation.is_final

    def is_near(self, start_ms: int | None, end_ms: int | None) -> bool:
        """Return True if a translation may lie where the sentence does."""
        return start_ms is None or not self.is_placed or self.overlaps(start_ms, end_ms)

    def is_translated_else(self, language: str, text: str) -> bool:
        """Return True if the translation into a language is final, and has other words."""
        translation = self.result.translations.get(language)
        return translation is not None and translation.is_final and translation.text != text

    def may_lie_at(self, start_ms: int, end_ms: int | None, key: _Key) -> bool:
        """Return True if a translation at this place may be that of the sentence; exactly there for another number."""
        if self.key is None or key is None:
            return self.is_near(start_ms, end_ms)
        return self.is_placed and self.has_place(start_ms, end_ms)

    def ending(self, part: GummySentence) -> list[SpeechEnding]:
        """Return the prediction that the sentence is about to end, or its withdrawal, if either is new."""
        if self.is_over:
            return []
        if part.pre_end_failed:
            was_ending, self.is_ending = self.is_ending, False
            return [SpeechEnding(segment_id=self.id, is_withdrawn=True)] if was_ending else []
        if not part.vad_pre_end or self.is_ending:
            return []
        self.is_ending = True
        return [SpeechEnding(segment_id=self.id, end_ms=known_ms(part.pre_end_end_time))]

    def arrived(self, language: str) -> TranslationArrived:
        """Return the event of a translation that comes after the final."""
        translation = self.result.translations[language]
        return TranslationArrived(segment_id=self.id, language=language, translation=translation)

    def interim(self) -> list[CodecEvent]:
        """Return the present text; the event of the sentence's start precedes the first."""
        if not self.is_over:
            self.interim_result = self.result
        return [*self._start(), self.result]

    def final(self) -> list[CodecEvent]:
        """Return the final text, which was not returned before."""
        self.has_final = True
        return [*self._start(), _replace(self.result, is_final=True)]

    def _start(self) -> list[CodecEvent]:
        started, self.started = self.started, None
        return [] if started is None else [started]


def _nearest(sentences: list[_Sentence], start_ms: int) -> _Sentence:
    return min(sentences, key=lambda sentence: abs(sentence.start_ms - start_ms))


def _order(sentence: _Sentence) -> tuple[int, int]:
    return sentence.order


def _stash(part: GummySentence) -> GummySentence | None:
    """Return the beginning of the next sentence, which is never final; None if it is missing or has no place."""
    stash = part.stash
    if stash is None or (stash.sentence_id is None and known_ms(stash.begin_time) is None):
        return None
    return _replace(stash, sentence_end=False)


def _pending(sentences: list[_Sentence]) -> Iterator[FinalPending]:
    """Report each final that has to wait, once."""
    for sentence in sentences:
        if sentence.is_over and not sentence.is_pending:
            sentence.is_pending = True
            yield FinalPending(sentence.id)
