"""How Gummy's sentences become segments: what was said and its translations, which run out of step.

Theory of operation. The vendor recognises and translates side by side: a message holds a transcription, translations,
or both, and only at the end of a sentence do the two come together (Gummy WebSocket API page, 2025). A sentence is open
from its first sign until its final result is given out, which waits for the translations by the rule that stands at
`Result.translations`. Until then each message about it brings a new interim of all that is known. For a while after
that it is remembered, so that a translation that comes late finds its segment.

Where only translations were asked for, they make the segments: the text stays empty, and a sentence is final with its
first final translation.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ...results import Result, SpeechEnded, SpeechEnding, SpeechStarted, Translation, TranslationArrived
from ..codec import CodecEvent, FinalPending, Unrecognised
from .segments import end_ms_of, is_final, words_of
from .wire import GummySentence, Output

__all__ = ["TranslatedSegments"]

MAX_OPEN = 64
"""Sentences that may wait for the one before them; the oldest is then given out as it is."""

MAX_REMEMBERED = 64
"""Sentences that were given out; a translation comes seconds late, a meeting has thousands of sentences."""

_replace = msgspec.structs.replace


class TranslatedSegments:
    """The sentences of one task, in the order of their first sign; see `Segments` for the methods' contract."""

    def __init__(self, request_id: str, *, is_transcribed: bool, languages: tuple[str, ...]) -> None:
        """Take what was asked for: whether what is said is written down, and the languages to translate it into."""
        self._request_id = request_id
        self._is_transcribed = is_transcribed
        self._languages = languages
        self._count = 0
        # by the vendor's id, oldest first
        self._open: dict[int, _Segment] = {}
        self._given_out: dict[int, _Segment] = {}
        self._forgotten_id = -1
        # language → the newest segment with a final translation: the translator will not come back to those before
        self._translated_until: dict[str, int] = {}

    def take(self, output: Output, *, raw: str) -> list[CodecEvent]:
        """Turn what was said and translated into events."""
        if output.transcription is None and not output.translations:
            return [Unrecognised("result-generated without a sentence", raw)]
        events: list[CodecEvent] = []
        endings: list[SpeechEnding] = []
        touched: dict[int, _Segment] = {}
        for language, sentence in _sentences(output):
            if sentence.sentence_id is None or language == "":
                events.append(Unrecognised("sentence without an id or a language", raw))
            elif sentence.sentence_id <= self._forgotten_id:
                events.append(Unrecognised("sentence that was over long ago", raw))
            elif (late := self._given_out.get(sentence.sentence_id)) is not None:
                events += self._take_late(late, language, sentence, raw)
            elif (segment := self._segment_of(sentence)) is not None:
                endings += self._take_part(segment, language, sentence, raw)
                touched[sentence.sentence_id] = segment
        events += self._give_out_due()
        still_open = [segment for sentence_id, segment in touched.items() if sentence_id in self._open]
        for segment in still_open:
            events += segment.interim()
        return [*events, *endings, *_waiting(still_open)]

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """Give out a final that has waited long enough, behind those before it."""
        return self._give_out([key for key, segment in self._open.items() if segment.id <= segment_id])

    def close(self) -> list[CodecEvent]:
        """Give out all that is open: the vendor has confirmed the end, so what stands is final."""
        return self._give_out(list(self._open))

    def _segment_of(self, sentence: GummySentence) -> _Segment | None:
        """The open segment of a sentence, a new one at its first sign; None while there is nothing to show."""
        assert sentence.sentence_id is not None  # noqa: S101 - the caller has looked
        segment = self._open.get(sentence.sentence_id)
        if segment is None and sentence.text:
            segment = self._open[sentence.sentence_id] = _Segment(self._count, self._request_id)
            self._count += 1
        return segment

    def _take_part(
        self, segment: _Segment, language: str | None, sentence: GummySentence, raw: str
    ) -> list[SpeechEnding]:
        if language is None:
            segment.transcribe(sentence, raw)
        else:
            segment.translate(language, sentence, raw)
            self._note_final(segment, language)
            segment.is_over |= not self._is_transcribed and is_final(sentence)
        makes_segments = language is None or not self._is_transcribed
        return segment.ending(sentence) if makes_segments else []

    def _take_late(
        self, segment: _Segment, language: str | None, sentence: GummySentence, raw: str
    ) -> list[CodecEvent]:
        """More of a sentence whose final was given out: a translation, or a final said twice."""
        if language is None:
            return [] if segment.is_over else [Unrecognised("sentence that goes on after its final", raw)]
        if not segment.translate(language, sentence, raw):
            return []
        self._note_final(segment, language)
        translation = segment.result.translations[language]
        return [TranslationArrived(segment_id=segment.id, language=language, translation=translation)]

    def _note_final(self, segment: _Segment, language: str) -> None:
        if segment.has_final(language):
            self._translated_until[language] = max(segment.id, self._translated_until.get(language, -1))

    def _is_due(self, segment: _Segment) -> bool:
        return segment.is_over and all(
            segment.has_final(language) or segment.id < self._translated_until.get(language, -1)
            for language in self._languages
        )

    def _give_out_due(self) -> list[CodecEvent]:
        """The finals from the oldest on, until one that has to wait."""
        due: list[int] = []
        for sentence_id, segment in self._open.items():
            if not self._is_due(segment) and len(self._open) - len(due) <= MAX_OPEN:
                break
            due.append(sentence_id)
        return self._give_out(due)

    def _give_out(self, sentence_ids: list[int]) -> list[CodecEvent]:
        events: list[CodecEvent] = []
        for sentence_id in sentence_ids:
            segment = self._open.pop(sentence_id)
            self._given_out[sentence_id] = segment
            events += segment.final()
        while len(self._given_out) > MAX_REMEMBERED:
            forgotten_id = next(iter(self._given_out))
            del self._given_out[forgotten_id]
            self._forgotten_id = max(self._forgotten_id, forgotten_id)
        return events


class _Segment:
    """One sentence and its translations, as they stand."""

    def __init__(self, segment_id: int, request_id: str) -> None:
        self.id = segment_id
        self.result = Result(
            text="", is_final=False, segment_id=segment_id, start_ms=0, end_ms=0, request_id=request_id
        )
        # the vendor's own final has come; ours may still wait
        self.is_over = False
        self.is_waiting = False
        self._is_announced = False
        self._is_ending = False

    def __repr__(self) -> str:
        return f"<_Segment {self.id} {'over' if self.is_over else 'open'} {sorted(self.result.translations)}>"

    def transcribe(self, sentence: GummySentence, raw: str) -> None:
        """Take what was said; an interim that comes behind the final says nothing."""
        if self.is_over and not is_final(sentence):
            return
        words = words_of(sentence)
        start_ms = self.result.start_ms if sentence.begin_time is None else sentence.begin_time
        end_ms = end_ms_of(sentence, words, start_ms)
        self.result = _replace(
            self.result, text=sentence.text or "", words=words, start_ms=start_ms, end_ms=end_ms, raw=raw
        )
        self.is_over |= is_final(sentence)

    def translate(self, language: str, sentence: GummySentence, raw: str) -> bool:
        """Take a translation, unless there is a final one already; whether it was taken."""
        if self.has_final(language):
            return False
        words = words_of(sentence)
        start_ms = self.result.start_ms if sentence.begin_time is None else sentence.begin_time
        translation = Translation(
            text=sentence.text or "",
            is_final=is_final(sentence),
            start_ms=start_ms,
            end_ms=end_ms_of(sentence, words, start_ms),
            words=words,
        )
        translations = {**self.result.translations, language: translation}
        self.result = _replace(self.result, translations=translations, raw=raw)
        if not self.result.text:  # nobody else knows the times
            self.result = _replace(self.result, start_ms=start_ms, end_ms=translation.end_ms)
        return True

    def has_final(self, language: str) -> bool:
        translation = self.result.translations.get(language)
        return translation is not None and translation.is_final

    def ending(self, sentence: GummySentence) -> list[SpeechEnding]:
        """The guess that the sentence is about to end, or its withdrawal, when either is new."""
        if self.is_over:
            return []
        if sentence.pre_end_failed:
            was_ending, self._is_ending = self._is_ending, False
            return [SpeechEnding(segment_id=self.id, is_withdrawn=True)] if was_ending else []
        if not sentence.vad_pre_end or self._is_ending:
            return []
        self._is_ending = True
        end_ms = sentence.pre_end_end_time
        # the official SDKs have -1 for "not known"
        return [SpeechEnding(segment_id=self.id, end_ms=None if end_ms is None or end_ms < 0 else end_ms)]

    def interim(self) -> list[CodecEvent]:
        return [*self._announce(), self.result]

    def final(self) -> list[CodecEvent]:
        result = _replace(self.result, is_final=True)
        return [*self._announce(), result, SpeechEnded(segment_id=self.id, end_ms=result.end_ms)]

    def _announce(self) -> list[CodecEvent]:
        was_announced, self._is_announced = self._is_announced, True
        return [] if was_announced else [SpeechStarted(segment_id=self.id, start_ms=self.result.start_ms)]


def _sentences(output: Output) -> Iterator[tuple[str | None, GummySentence]]:
    """All that a message holds: sentences and beginnings of the next, each with its language (None: as it was said)."""
    said = [] if output.transcription is None else [(None, output.transcription)]
    translated = [(sentence.lang or "", sentence) for sentence in output.translations or ()]
    for language, sentence in (*said, *translated):
        yield language, sentence
        if sentence.stash is not None:
            yield language, _replace(sentence.stash, sentence_end=False)


def _waiting(segments: list[_Segment]) -> Iterator[FinalPending]:
    """Tell of each final that has to wait, once."""
    for segment in segments:
        if segment.is_over and not segment.is_waiting:
            segment.is_waiting = True
            yield FinalPending(segment.id)
