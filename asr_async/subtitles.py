r"""Subtitles: the cues of a transcript, and a writer for captions that appear during the speech.

    Path("talk.srt").write_text(transcript.to_srt(), encoding="utf-8")

    captions = LiveCaptions("vtt")
    file.write(captions.header)
    async for result in session.stream(source):
        file.write(captions.add(result))

A cue is at most two lines of text that a viewer can read at a glance. Text is broken behind a sentence rather than
behind a comma, behind a comma rather than behind a word, and never inside a word. The words of alphabetic scripts are
between spaces; those of Chinese and Japanese are the vendor's, and where it reports none, each character is one. Widths
and durations follow the style guides of Netflix (https://partnerhelp.netflixstudios.com, Timed Text: English 42
characters in a line, Simplified Chinese 16, two lines, at most 7 seconds), read 2026-11.

pysubs2 (the extra `subtitles`) writes the formats; it is imported when a format is written. Does not know results: a
segment is any object with their fields. Does not know files.
"""

from __future__ import annotations

import math
import re
import unicodedata
from difflib import SequenceMatcher
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from ._alignment.words import UNSPACED, place_words, words_of_text
from ._text.lines import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ._alignment.words import TimedWord

__all__ = ["Cue", "Languages", "LiveCaptions", "SubtitleFormat", "cues_of", "subtitles"]

SubtitleFormat = Literal["srt", "vtt"]
"""SubRip, or WebVTT."""

Languages = Literal["both", "original", "translation"]
"""The content of a cue: the text with its translation below it, the text, or the translation.

A segment without a translation shows its text, one without a text its translation."""

LINE_WIDTH = 42
"""The width of a line, in characters of an alphabetic script."""

WIDE = LINE_WIDTH / 16
"""The width of a Chinese, Japanese or Korean character: 16 of them fill a line."""

MAX_LINES = 2
MAX_LINES_OF_BOTH = 3
"""The lines of a cue in two languages, where the texts can be divided so: more would hide the picture."""

MAX_CUE_MS = 7_000
MIN_CUE_MS = 800
"""A shorter cue stays until then, unless the next one begins before."""

MAX_PAUSE_MS = 2_000
"""Words with a longer pause between them are in different cues."""

_BREAK_COSTS = {"sentence": 0.0, "pause": 0.2, "clause": 0.25, "word": 1.5, "inside": 4.0}
"""The cost of a break behind a unit, beside that of an uneven piece, which is 0 (full) to 1 (empty)."""

_SHORT_PAUSE_MS = 500

_OPENING = "\u300a\u3008\u300c\u300e\u3010\u3014\u201c\uff08\uff3b\uff5b"
# full-width and other closing punctuation, and the small kana and marks that may not begin a line
_CLOSING = (
    "\u3001\u3002\u300b\u3009\u300d\u300f\u3011\u3015\u201d\u2026\u2014\uff01\uff09\uff0c\uff1a\uff1b\uff1f\uff3d\uff5d"
    "\uff05\uff5e\u3005\u30fc\u3041\u3043\u3045\u3047\u3049\u3063\u3083\u3085\u3087\u30a1\u30a3\u30a5\u30a7\u30a9\u30c3"
    "\u30e3\u30e5\u30e7"
)
_UNIT = re.compile(
    rf"[{_OPENING}]*(?:(?![{_CLOSING}])[{UNSPACED}][{_CLOSING},.!?;:)\]%\u3099\u309a]*"
    rf"|[^\s{UNSPACED}{_OPENING}{_CLOSING}]+[{_CLOSING}]*|[{_CLOSING}]+)|[{_OPENING}]+"
)
_SENTENCE_END = re.compile("[.!?\u2026\u3002\uff01\uff1f][\"')\\]\u201d\u2019\u300d\u300f\u300b\uff09]*$")
_CLAUSE_END = re.compile("[,;:\u2014\u3001\uff0c\uff1b\uff1a][\"')\\]\u201d\u2019\u300d\u300f\u300b\uff09]*$")


class TimedText(Protocol):
    """A text and its place in the audio, such as a `Result` or a `Translation`."""

    @property
    def text(self) -> str: ...
    @property
    def start_ms(self) -> int: ...
    @property
    def end_ms(self) -> int: ...
    @property
    def words(self) -> Sequence[TimedWord]: ...


class Segment(TimedText, Protocol):
    """The text of a segment and its translations: a `Result`."""

    @property
    def is_final(self) -> bool: ...
    @property
    def segment_id(self) -> int: ...
    @property
    def stable_text(self) -> str | None: ...
    @property
    def translations(self) -> Mapping[str, TimedText]: ...


class Cue(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of text that are shown together."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


class _Unit(msgspec.Struct, frozen=True):
    """A piece of text that no line break divides: a word, or a CJK character, with its punctuation."""

    text: str
    is_spaced: bool
    """True if a space separates it from the unit before."""
    start_ms: int
    end_ms: int
    width: float
    break_cost: float
    """The cost of a break behind it."""

    @property
    def form(self) -> str:
        """The text as it is compared."""
        return _form(self.text)


def _form(text: str) -> str:
    """Return the text of a unit without case and punctuation."""
    return "".join(form for form, _, _ in words_of_text(text)) or text


# --- units ------------------------------------------------------------------------------------------------------------


def _units_of(segment: TimedText, line_width: float) -> list[_Unit]:
    """Return the units of a text, with the times of its words; a unit that is longer than a line is divided."""
    text = one_line(segment.text)
    spans = [part for match in _UNIT.finditer(text) for part in _parts(text, match.start(), match.end(), line_width)]
    times = _times_of(segment, text, spans)
    word_ends = _word_ends(text, segment.words)
    units: list[_Unit] = []
    for number, ((begin, end), (start_ms, end_ms)) in enumerate(zip(spans, times, strict=True)):
        pause_ms = times[number + 1][0] - end_ms if number + 1 < len(times) else 0
        units.append(
            _Unit(
                text[begin:end],
                begin > 0 and text[begin - 1].isspace(),
                start_ms,
                end_ms,
                _width(text[begin:end]),
                _break_cost(text, begin, end, word_ends, pause_ms),
            )
        )
    return units


def _parts(text: str, begin: int, end: int, line_width: float) -> Iterator[tuple[int, int]]:
    """Yield the parts of a unit that fit into a line, without separating a letter from its marks."""
    position, width = begin, 0.0
    for number in range(begin, end):
        character_width = _width(text[number])
        if width + character_width > line_width and not unicodedata.combining(text[number]):
            yield position, number
            position, width = number, 0.0
        width += character_width
    yield position, end


def _times_of(segment: TimedText, text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the start and the end of each unit; a unit without a word, such as a dash, has no length."""
    words = list(reversed(place_words(text, segment.words, segment.start_ms, segment.end_ms).words))
    times: list[tuple[int, int]] = []
    behind_ms = segment.start_ms
    for _, end in spans:
        inside = []
        while words and words[-1].begins_at < end:
            inside.append(words.pop())
        start_ms = max(behind_ms, inside[0].start_ms) if inside else behind_ms
        behind_ms = max(start_ms, inside[-1].end_ms) if inside else behind_ms
        times.append((start_ms, behind_ms))
    return times


def _word_ends(text: str, words: Sequence[TimedWord]) -> set[int]:
    """Return the positions behind the vendor's words; empty if it reports no words of several characters."""
    ends: set[int] = set()
    position = 0
    for word in words:
        word_text = word.text.strip()
        begins_at = text.find(word_text, position) if word_text else -1
        if begins_at >= 0:
            position = begins_at + len(word_text)
            ends.add(position)
    return ends if any(len(word.text.strip()) > 1 for word in words) else set()


def _break_cost(text: str, begin: int, end: int, word_ends: set[int], pause_ms: int) -> float:
    unit = text[begin:end]
    is_inside = end < len(text) and not text[end].isspace() and bool(word_ends) and end not in word_ends
    if _SENTENCE_END.search(unit):
        kind = "sentence"
    elif _CLAUSE_END.search(unit):
        kind = "clause"
    elif is_inside and re.match(f"[{UNSPACED}]", unit):
        kind = "inside"
    else:
        kind = "pause" if pause_ms >= _SHORT_PAUSE_MS else "word"
    return _BREAK_COSTS[kind]


def _width(text: str) -> float:
    widths = (0.0 if unicodedata.combining(c) else _character_width(c) for c in text)
    return sum(widths)


def _character_width(character: str) -> float:
    return WIDE if unicodedata.east_asian_width(character) in {"W", "F"} else 1.0


# --- pieces -----------------------------------------------------------------------------------------------------------


def _joined(units: Sequence[_Unit]) -> str:
    return "".join(f" {unit.text}" if unit.is_spaced and number else unit.text for number, unit in enumerate(units))


def _total_width(units: Sequence[_Unit]) -> float:
    return sum(unit.width + (unit.is_spaced and number > 0) for number, unit in enumerate(units))


def _divide(
    units: Sequence[_Unit], fits: Callable[[Sequence[_Unit]], bool], full_width: float, piece_cost: float
) -> list[Sequence[_Unit]]:
    """Divide a text into pieces that fit, such that the costs of the breaks and of the free widths are the lowest.

    A single unit fits always. If units do not fit, the same with more units does not either.
    """
    costs = [0.0] + [math.inf] * len(units)
    begins = [0] * (len(units) + 1)
    for end in range(1, len(units) + 1):
        for begin in range(end - 1, -1, -1):
            piece = units[begin:end]
            if len(piece) > 1 and not fits(piece):
                break
            free = max(0.0, 1 - _total_width(piece) / full_width)
            break_cost = piece[-1].break_cost if end < len(units) else 0.0
            cost = costs[begin] + piece_cost + free * free + break_cost
            if cost < costs[end]:
                costs[end], begins[end] = cost, begin
    pieces: list[Sequence[_Unit]] = []
    end = len(units)
    while end:
        pieces.append(units[begins[end] : end])
        end = begins[end]
    return pieces[::-1]


def _lines(units: Sequence[_Unit], line_width: float) -> list[str]:
    """Break the text of a cue into as few lines as possible, of similar width."""
    few_lines = 10.0  # more than what a break at a better place can save
    pieces = _divide(units, lambda piece: _total_width(piece) <= line_width, line_width, few_lines)
    return [_joined(piece) for piece in pieces]


def _cue_pieces(units: Sequence[_Unit], line_width: float, max_lines: int) -> list[Sequence[_Unit]]:
    """Divide a text into cues."""

    def fits(piece: Sequence[_Unit]) -> bool:
        # The pauses behind the first one were looked at with the shorter pieces.
        pause_ms = piece[1].start_ms - piece[0].end_ms
        is_short = pause_ms <= MAX_PAUSE_MS and piece[-1].end_ms - piece[0].start_ms <= MAX_CUE_MS
        return is_short and _fits_lines(piece, line_width, max_lines)

    return _divide(units, fits, max_lines * line_width, piece_cost=0.1)


def _fits_lines(units: Sequence[_Unit], line_width: float, max_lines: int) -> bool:
    lines, width = 1, 0.0
    for unit in units:
        with_unit = width + unit.width + (unit.is_spaced and width > 0)
        if with_unit > line_width:
            lines, with_unit = lines + 1, unit.width
        width = with_unit
    return lines <= max_lines


def _divide_by_shares(units: Sequence[_Unit], shares: Sequence[float], line_width: float) -> list[Sequence[_Unit]]:
    """Divide a translation into as many pieces as its text, at good breaks near the same shares of the width."""
    total = _total_width(units)
    ends = [0]
    for share in shares[:-1]:
        target = total * share
        behind = [_total_width(units[: number + 1]) for number in range(len(units))]
        candidates = range(ends[-1], len(units))
        nearest = min(
            candidates,
            key=lambda number: abs(behind[number] - target) / line_width + units[number].break_cost / 2,
            default=len(units) - 1,
        )
        ends.append(nearest + 1)
    return [units[begin:end] for begin, end in pairwise([*ends, len(units)])]


# --- cues -------------------------------------------------------------------------------------------------------------


def cues_of(
    segments: Iterable[Segment],
    *,
    languages: Languages = "both",
    translation: str | None = None,
    width: int = LINE_WIDTH,
) -> list[Cue]:
    """Return the cues of final results, in their order.

    Args:
        segments: the final results of a source, in the order of the audio.
        languages: the texts that are shown.
        translation: the language of the translation, of several; None is the first one of each segment.
        width: the longest line, in characters of an alphabetic script; a Chinese character counts as 2.6 of them.
    """
    cues = [cue for segment in segments for cue in _segment_cues(segment, languages, translation, width)]
    return [_with_end(cue, follower) for cue, follower in zip_longest(cues, cues[1:])]


def _with_end(cue: Cue, follower: Cue | None) -> Cue:
    """Return a cue that can be read, and that ends before the next one begins."""
    end_ms = max(cue.end_ms, cue.start_ms + MIN_CUE_MS)
    if follower is not None and follower.start_ms > cue.start_ms:
        end_ms = min(end_ms, follower.start_ms)
    return msgspec.structs.replace(cue, end_ms=end_ms)


def _segment_cues(segment: Segment, languages: Languages, translation: str | None, width: float) -> list[Cue]:
    upper, lower = _texts(segment, languages, translation)
    if lower is None:
        return [_cue(piece, width) for piece in _cue_pieces(_units_of(upper, width), width, MAX_LINES)]
    cues = _cues_in_two_languages(upper, lower, width, MAX_LINES)
    if any(len(cue.lines) > MAX_LINES_OF_BOTH for cue in cues):
        cues = _cues_in_two_languages(upper, lower, width, max_lines=1)
    return cues


def _cues_in_two_languages(upper: TimedText, lower: TimedText, width: float, max_lines: int) -> list[Cue]:
    pieces = _cue_pieces(_units_of(upper, width), width, max_lines)
    widths = [_total_width(piece) for piece in pieces]
    shares = [sum(widths[: number + 1]) / sum(widths) for number in range(len(widths))]
    below = _divide_by_shares(_units_of(lower, width), shares, width)
    return [_cue(piece, width, second) for piece, second in zip(pieces, below, strict=True)]


def _texts(segment: Segment, languages: Languages, translation: str | None) -> tuple[TimedText, TimedText | None]:
    """Return the text of the cue, and the text below it if there is one."""
    translations = segment.translations
    translated = translations.get(translation) if translation else next(iter(translations.values()), None)
    if translated is None or not translated.text.strip() or (languages == "original" and segment.text.strip()):
        return segment, None
    if languages == "translation" or not segment.text.strip():
        return translated, None
    return segment, translated


def _cue(units: Sequence[_Unit], width: float, second: Sequence[_Unit] = ()) -> Cue:
    lines = _lines(units, width) + (_lines(second, width) if second else [])
    start_ms = units[0].start_ms
    return Cue(start_ms=start_ms, end_ms=max(start_ms + 1, units[-1].end_ms), lines=tuple(lines))


# --- formats ----------------------------------------------------------------------------------------------------------


def subtitles(cues: Iterable[Cue], subtitle_format: SubtitleFormat) -> str:
    """Return cues as a whole file of subtitles.

    Raises:
        ModuleNotFoundError: pysubs2 is not installed.
    """
    try:
        import pysubs2  # noqa: PLC0415 - an optional dependency
    except ModuleNotFoundError as error:
        message = "subtitles need an extra: pip install 'asr-async[subtitles]'"
        raise ModuleNotFoundError(message, name=error.name) from None
    file = pysubs2.SSAFile()
    for cue in cues:
        lines = (_escape(line, subtitle_format) for line in cue.lines)
        file.append(pysubs2.SSAEvent(start=cue.start_ms, end=cue.end_ms, text="\\N".join(lines)))
    # With this option, pysubs2 leaves braces as they are; otherwise, it takes them for its own markup.
    return file.to_string(subtitle_format, keep_ssa_tags=True)


def _escape(line: str, subtitle_format: SubtitleFormat) -> str:
    # pysubs2 reads a backslash before these letters as a line break or a space. U+2060, word joiner, is invisible.
    line = re.sub(r"\\(?=[nNh])", "\\\\\u2060", line)
    if subtitle_format == "vtt":
        return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # SubRip has no escape for the arrow of its timing line, and some players search every line for it.
    return line.replace("-->", "\u2192")


class LiveCaptions:
    """A writer of subtitles that grow with the speech: a cue that is written is never changed.

    Text is written when it fills a cue and is certain, and the rest when the segment is final. Certain is the vendor's
    `stable_text`, and where it reports none, the text on which two interims in a row agree. A later correction of words
    that are shown is not written; the words behind them are. With `languages="both"` or `"translation"`, a segment is
    written when it is final, with its translation.

    Args:
        subtitle_format: `"vtt"` or `"srt"`.
        languages: the texts that are shown.
        translation: the language of the translation, of several; None is the first one.
        width: the longest line, see `cues_of`.
    """

    def __init__(
        self,
        subtitle_format: SubtitleFormat = "vtt",
        *,
        languages: Languages = "original",
        translation: str | None = None,
        width: int = LINE_WIDTH,
    ) -> None:
        self._format: SubtitleFormat = subtitle_format
        self._languages: Languages = languages
        self._translation = translation
        self._width = width
        # of each segment that is not final: the forms of the units that are shown, and those of the newest interim
        self._shown: dict[int, list[str]] = {}
        self._newest: dict[int, list[str]] = {}
        self._cues = 0
        self._last_end_ms = 0

    def __repr__(self) -> str:
        return f"<LiveCaptions {self._format}, {self._cues} cues>"

    @property
    def header(self) -> str:
        """The text at the beginning of the file."""
        return subtitles([], self._format)

    def add(self, result: Segment) -> str:
        """Return the cues that an interim or a final completes, to be appended to the file; empty if there are none."""
        return "".join(self._write(cue) for cue in self.cues(result))

    def cues(self, result: Segment) -> list[Cue]:
        """Return the cues that an interim or a final completes, as values."""
        if result.is_final:
            cues = self._final_cues(result)
            self._shown.pop(result.segment_id, None)
            self._newest.pop(result.segment_id, None)
        else:
            cues = self._interim_cues(result) if self._languages == "original" else []
        return [self._in_order(cue) for cue in cues]

    def _final_cues(self, result: Segment) -> list[Cue]:
        shown = self._shown.get(result.segment_id)
        if not shown:
            return _segment_cues(result, self._languages, self._translation, self._width)
        units = _units_of(result, self._width)
        rest = units[_behind(shown, [unit.form for unit in units]) :]
        return [_cue(piece, self._width) for piece in _cue_pieces(rest, self._width, MAX_LINES)]

    def _interim_cues(self, result: Segment) -> list[Cue]:
        units = _units_of(result, self._width)
        forms = [unit.form for unit in units]
        agreed = _common(forms, self._certain_forms(result, forms))
        shown = self._shown.setdefault(result.segment_id, [])
        begin = _behind(shown, forms)
        # The last word that two interims share may still grow.
        pending = units[begin : agreed - 1 if agreed == len(forms) else agreed]
        # The last piece may not be full yet.
        pieces = _cue_pieces(pending, self._width, MAX_LINES)[:-1]
        if pieces:
            end = begin + sum(map(len, pieces))
            self._shown[result.segment_id] = forms[:end]
        return [_cue(piece, self._width) for piece in pieces]

    def _certain_forms(self, result: Segment, forms: list[str]) -> list[str]:
        """Return the units that the vendor will not change, or else those of the interim before."""
        if result.stable_text is not None:
            return [_form(match[0]) for match in _UNIT.finditer(one_line(result.stable_text))]
        before = self._newest.get(result.segment_id, [])
        self._newest[result.segment_id] = forms
        return before

    def _in_order(self, cue: Cue) -> Cue:
        """Return a cue that begins behind those that are written: their times may come from an earlier estimate."""
        start_ms = max(cue.start_ms, self._last_end_ms)
        self._last_end_ms = max(cue.end_ms, start_ms + 1)
        return msgspec.structs.replace(cue, start_ms=start_ms, end_ms=self._last_end_ms)

    def _write(self, cue: Cue) -> str:
        self._cues += 1
        block = subtitles([cue], self._format).removeprefix(self.header)
        _, _, without_number = block.partition("\n")
        return f"{self._cues}\n{without_number}"


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the number of equal items at the beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def _behind(shown: list[str], forms: list[str]) -> int:
    """Return the position in a text behind the words that are shown, although words before it may have changed."""
    if forms[: len(shown)] == shown:
        return len(shown)
    blocks = SequenceMatcher(None, shown, forms, autojunk=False).get_matching_blocks()
    last = max((block for block in blocks if block.size), key=lambda block: block.a, default=None)
    if last is None:
        return min(len(shown), len(forms))
    unmatched = len(shown) - (last.a + last.size)
    return min(last.b + last.size + unmatched, len(forms))
