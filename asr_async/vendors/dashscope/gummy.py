"""The segments of Gummy: sentences and their translations, which do not keep step with each other.

Theory of operation. The vendor recognises and translates side by side: a message holds a transcription, translations,
or both, and the two come together only at the end of a sentence (Gummy WebSocket API page, 2025). A sentence is open
from its first sign until its final result is returned; that waits for the translations by the rule that
`Result.translations` states. Until then, each message about the sentence brings a new interim with everything that is
known of it. A closed sentence is remembered for a while, so that a late translation finds its segment.

If only translations were requested, they make the segments: the text stays empty, and a sentence is final with its
first final translation.

Does not know clocks: the session decides when a pending final has waited long enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ...results import Result, SpeechEnding, Translation, TranslationArrived, TranslationLost
from ..codec import CodecEvent, FinalPending, Unrecognised
from ..lenient import known_ms
from ..segments import SegmentTracker, TrackedSegment
from .segments import end_ms_of, is_final, words_of
from .wire import GummySentence, Output

__all__ = ["TranslatedSegments"]

MAX_OPEN = 64
"""Sentences that may wait for the one before them; beyond that, the oldest is returned as it is."""

_Key = int | str
"""The id of a sentence, or a name of our own for one without an id."""

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
            lambda segment_id, key, _start_ms: _Sentence(segment_id, key, request_id), max_open=None
        )
        # language → the newest segment with a final translation: the translator does not return to those before it
        self._translated_until: dict[str, int] = {}
        # the finals without an id that became segments of their own
        self._without_id = 0
        # the sentences that were returned without a final translation, by their segment
        self._incomplete: dict[int, _Sentence] = {}

    def receive(self, output: Output, *, raw: str) -> list[CodecEvent]:
        """Return the events of a message's sentences and translations."""
        if output.transcription is None and not output.translations:
            return [Unrecognised("result-generated without a sentence", raw)]
        events: list[CodecEvent] = []
        endings: list[SpeechEnding] = []
        changed: dict[_Key, _Sentence] = {}
        for language, part in _parts(output, self._languages):
            key = self._assume_key(language, part) if part.sentence_id is None else part.sentence_id
            if key is None or language == "":
                events.append(Unrecognised("sentence without an id or a language", raw))
            elif isinstance(key, int) and self._tracker.is_forgotten(key):
                events.append(Unrecognised("sentence that was over long ago", raw))
            elif (closed := self._tracker.find_closed(key)) is not None:
                events += self._receive_late(closed, language, part, raw)
            elif (sentence := self._find_or_open(key, part)) is not None:
                endings += self._update(sentence, language, part, raw)
                changed[key] = sentence
        events += self._close_complete()
        still_open = [sentence for sentence in changed.values() if not sentence.has_ended]
        for sentence in still_open:
            events += sentence.interim()
        return [*events, *endings, *_pending(still_open)]

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """Return a final that has waited long enough, behind those before it."""
        return self._close(sentence for sentence in self._tracker.open_segments if sentence.id <= segment_id)

    def close(self) -> list[CodecEvent]:
        """Return all open sentences as finals: the vendor has confirmed the end, so none changes any more."""
        events = self._close(self._tracker.open_segments)
        return [*events, *self.lost_translations("the vendor ended the task without it")]

    def withdraw(self) -> list[CodecEvent]:
        """Return nothing: sentences that wait are returned when they are released."""
        return []

    def lost_translations(self, reason: str) -> list[CodecEvent]:
        """Return an event for each translation that a returned final lacks, and forget them."""
        incomplete, self._incomplete = self._incomplete, {}
        return [
            TranslationLost(segment_id=sentence.id, language=language, reason=reason)
            for sentence in incomplete.values()
            for language in self._missing_languages(sentence)
        ]

    def _assume_key(self, language: str | None, part: GummySentence) -> _Key | None:
        """Return the key of a sentence without an id; None if there is no telling to which segment it belongs.

        Sentences end in their order, and so do the translations into one language: it is the first one that is open. If
        none is, a final is a segment of its own.
        """
        makes_segments = self._makes_segments(language)
        for sentence in self._tracker.open_segments:
            if not (sentence.is_over if makes_segments else sentence.has_final(language or "")):
                return sentence.key
        if not (makes_segments and part.text and is_final(part)):
            return None
        self._without_id += 1
        return f"without an id {self._without_id}"

    def _makes_segments(self, language: str | None) -> bool:
        return language is None or not self._is_transcribed

    def _find_or_open(self, key: _Key, part: GummySentence) -> _Sentence | None:
        """Return the open sentence with this key, opened at its first text; None until then."""
        sentence = self._tracker.find_open(key)
        if sentence is None and part.text:
            opening: list[CodecEvent] = []
            sentence = self._tracker.open(key, known_ms(part.begin_time) or 0, opening)
            sentence.opening_events = opening
            sentence.interim_result = sentence.result
        return sentence

    def _update(self, sentence: _Sentence, language: str | None, part: GummySentence, raw: str) -> list[SpeechEnding]:
        if language is None:
            sentence.transcribe(part, raw)
        else:
            sentence.translate(language, part, raw)
            self._note_final(sentence, language)
            sentence.is_over |= not self._is_transcribed and is_final(part)
        return sentence.ending(part) if self._makes_segments(language) else []

    def _receive_late(
        self, sentence: _Sentence, language: str | None, part: GummySentence, raw: str
    ) -> list[CodecEvent]:
        """Return the events of a translation, or of a repeated final, that comes after the final was returned."""
        if language is None:
            return [] if sentence.is_confirmed else [Unrecognised("sentence that continues after its final", raw)]
        if not sentence.translate(language, part, raw):
            return []
        self._note_final(sentence, language)
        if not self._missing_languages(sentence):
            self._incomplete.pop(sentence.id, None)
        translation = sentence.result.translations[language]
        return [TranslationArrived(segment_id=sentence.id, language=language, translation=translation)]

    def _note_final(self, sentence: _Sentence, language: str) -> None:
        if sentence.has_final(language):
            self._translated_until[language] = max(sentence.id, self._translated_until.get(language, -1))

    def _is_complete(self, sentence: _Sentence) -> bool:
        return sentence.is_over and all(
            sentence.has_final(language) or sentence.id < self._translated_until.get(language, -1)
            for language in self._languages
        )

    def _close_complete(self) -> list[CodecEvent]:
        """Return the finals from the oldest sentence on, up to the first that has to wait."""
        open_sentences = self._tracker.open_segments
        complete: list[_Sentence] = []
        for sentence in open_sentences:
            if not self._is_complete(sentence) and len(open_sentences) - len(complete) <= MAX_OPEN:
                break
            complete.append(sentence)
        return self._close(complete)

    def _close(self, sentences: Iterable[_Sentence]) -> list[CodecEvent]:
        events: list[CodecEvent] = []
        for sentence in sentences:
            events += sentence.final()
            sentence.is_confirmed = sentence.is_over
            events += self._tracker.end(sentence, sentence.result)
            events += self._tracker.close(sentence)
            if self._missing_languages(sentence):
                self._incomplete[sentence.id] = sentence
        return events

    def _missing_languages(self, sentence: _Sentence) -> list[str]:
        return [language for language in self._languages if not sentence.has_final(language)]


class _Sentence(TrackedSegment[_Key]):
    """One sentence and its translations, as far as they are known."""

    __slots__ = ("_is_ending", "is_confirmed", "is_pending", "opening_events", "result")

    def __init__(self, segment_id: int, key: _Key, request_id: str) -> None:
        super().__init__(segment_id, key, 0)
        self.result = Result(
            text="", is_final=False, segment_id=segment_id, start_ms=0, end_ms=0, request_id=request_id
        )
        # its `SpeechStarted`, until the first result follows
        self.opening_events: list[CodecEvent] = []
        # it was returned as a final, and the vendor's own final had arrived
        self.is_confirmed = False
        # `FinalPending` was returned
        self.is_pending = False
        # `SpeechEnding` was returned, and not withdrawn
        self._is_ending = False

    def transcribe(self, part: GummySentence, raw: str) -> None:
        """Set the text as it was spoken; an interim behind the final changes nothing."""
        if self.is_over and not is_final(part):
            return
        start_ms = _start_ms(part, self.result)
        words = words_of(part, start_ms)
        end_ms = end_ms_of(part, start_ms)
        self.result = _replace(
            self.result, text=part.text or "", words=words, start_ms=start_ms, end_ms=end_ms, raw=raw
        )
        self.is_over |= is_final(part)

    def translate(self, language: str, part: GummySentence, raw: str) -> bool:
        """Set the translation into a language unless it is final already; return True if it was set."""
        if self.has_final(language):
            return False
        start_ms = _start_ms(part, self.result)
        words = words_of(part, start_ms)
        translation = Translation(
            text=part.text or "",
            is_final=is_final(part),
            start_ms=start_ms,
            end_ms=end_ms_of(part, start_ms),
            words=words,
        )
        translations = {**self.result.translations, language: translation}
        self.result = _replace(self.result, translations=translations, raw=raw)
        if not self.result.text:  # no transcription has reported the times
            self.result = _replace(self.result, start_ms=start_ms, end_ms=translation.end_ms)
        return True

    def has_final(self, language: str) -> bool:
        translation = self.result.translations.get(language)
        return translation is not None and translation.is_final

    def ending(self, part: GummySentence) -> list[SpeechEnding]:
        """Return the prediction that the sentence is about to end, or its withdrawal, if either is new."""
        if self.is_over:
            return []
        if part.pre_end_failed:
            was_ending, self._is_ending = self._is_ending, False
            return [SpeechEnding(segment_id=self.id, is_withdrawn=True)] if was_ending else []
        if not part.vad_pre_end or self._is_ending:
            return []
        self._is_ending = True
        return [SpeechEnding(segment_id=self.id, end_ms=known_ms(part.pre_end_end_time))]

    def interim(self) -> list[CodecEvent]:
        self.interim_result = self.result
        return [*self._start(), self.result]

    def final(self) -> list[CodecEvent]:
        return [*self._start(), _replace(self.result, is_final=True)]

    def _start(self) -> list[CodecEvent]:
        opening, self.opening_events = self.opening_events, []
        return opening


def _start_ms(part: GummySentence, result: Result) -> int:
    start_ms = known_ms(part.begin_time)
    return result.start_ms if start_ms is None else start_ms


def _parts(output: Output, languages: tuple[str, ...]) -> Iterator[tuple[str | None, GummySentence]]:
    """Yield the sentences of a message, and the beginnings of the next, each with its language (None: as spoken).

    A translation without its language has the only language that was requested; it is empty if there are several.
    """
    spoken = [] if output.transcription is None else [(None, output.transcription)]
    only_language = languages[0] if len(languages) == 1 else ""
    translated = [(part.lang or only_language, part) for part in output.translations or ()]
    for language, part in (*spoken, *translated):
        yield language, part
        if part.stash is not None and part.stash.sentence_id is not None:
            yield language, _replace(part.stash, sentence_end=False)


def _pending(sentences: list[_Sentence]) -> Iterator[FinalPending]:
    """Report each final that has to wait, once."""
    for sentence in sentences:
        if sentence.is_over and not sentence.is_pending:
            sentence.is_pending = True
            yield FinalPending(sentence.id)
