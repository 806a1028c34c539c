"""The timeline of a session: the results of several connections, placed in the source, each word once.

Each connection counts its own milliseconds and segments from 0. A `ConnectionTimeline` belongs to one connection: it
moves times to the source's clock, leaves out the silence that only the connection was sent, and replaces segment ids by
the session's.

Theory of operation. The session is *covered* up to the place where everything is in final results. A new connection
begins there, or a little earlier, since a vendor's times are off by up to a frame (by more if that was seen). Where
words have times, it begins with a whole word (`Timeline.replay_ms`). Behind the place there may be finals of earlier
connections, if a segment before them was open. The new connection recognises that audio again, and a vendor draws its
segments anew. So

- a result keeps only the words that were not delivered (`new_parts`); a final that lies around others becomes several
  results, in the order of the audio;
- a segment that an earlier connection left open belongs to its place: the segment that is recognised there continues
  under its id. If a later final has passed the place, the open segment is withdrawn. Its place may still be recognised
  late, so for `HOLD_MS` a replay would begin there all the same.

Pure rules. Does not know connections or clocks.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import msgspec

from .._alignment.overlap import DeliveredSpeech, NewPart, NewParts, new_parts
from .._alignment.places import DOUBT_MS, JITTER_MS, SAME_MS, is_same_place
from .._alignment.words import MAX_WORDS, Speech, place_words, spoken_length_ms, words_of_text
from ..results import (
    Event,
    Result,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    Translation,
    TranslationArrived,
    TranslationLost,
    Word,
    join_texts,
    shown_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._connection.silence import Silence

__all__ = ["ConnectionTimeline", "Timeline"]

MAX_REMEMBERED = 1_000
"""The segments of a connection that may still change or be repeated; a session of hours has many more."""

MAX_FINALS_BYTES = 4_000_000
WORD_BYTES = 160
"""The size of the finals that are kept for comparison, with that of words with times: a thousand of 25 such words,
or many hours of text."""

KEPT_FINALS = 4
"""The finals before the covered place that are kept: some vendors repeat one although its audio is not sent again."""

FEW_FINALS = 8
"""The finals that may be delivered between two that begin at one place: vendors' finals are some seconds late."""

KEPT_MS = 2_000
"""The finals that end so long before the place of a replay are kept as well: a replay begins there or a little earlier,
since vendors have a smallest message of audio, and decoders need packets from before."""

MAX_REACH_MS = 1_500
"""The longest audio before the covered place that a replay repeats, so that it begins with whole words."""

MAX_ORPHANS = 64
"""The open segments of lost connections that are remembered; more is no speech."""

LONGEST_MS = 60_000
"""The longest segment: the vendors cut one at a minute."""

ROUNDING_MS = 2
"""The difference of two places that are the same: sizes are rounded down to milliseconds, per connection and in all."""

HOLD_MS = 15_000
"""The length of final results behind a segment without a text, or a passed one, until it counts as covered. Vendors
whose finals are not in order send them some seconds late."""


class _Final(msgspec.Struct, frozen=True, gc=False):
    """A final result that was delivered; its place ends where the audio that was sent ended, at the latest."""

    text: str
    words: tuple[Word, ...]
    start_ms: int
    end_ms: int
    reported_end_ms: int
    """The end that the vendor has reported; not behind the start if it has reported none."""
    latest_ms: int = 0
    """The end of the audio that was sent by then, if the vendor has reported no end."""

    @property
    def last_ms(self) -> int:
        """The last place that another report of it may have."""
        return max(self.end_ms, self.reported_end_ms, self.latest_ms)

    @property
    def covered_ms(self) -> int:
        """The place up to which it covers the source: without an end, none of its words is certain to be before it."""
        return self.end_ms if self.reported_end_ms > self.start_ms else min(self.start_ms, self.end_ms)

    @property
    def size_bytes(self) -> int:
        """The size in memory, about."""
        return len(self.text) + WORD_BYTES * len(self.words)

    def is_same(self, text: str, start_ms: int, end_ms: int) -> bool:
        """Return True if a final has the same place and the same words, whether its audio was sent or not."""
        if self.reported_end_ms > self.start_ms and end_ms > start_ms:
            is_same = is_same_place(start_ms, end_ms, self.start_ms, self.reported_end_ms)
        else:
            is_same = abs(self.start_ms - start_ms) <= SAME_MS and abs(self.reported_end_ms - end_ms) <= SAME_MS
        return is_same and _forms_of(self.text) == _forms_of(text)

    def speech(self) -> Speech:
        """Return its words with their places."""
        start_ms = min(self.start_ms, self.end_ms)
        return place_words(self.text, self.words, start_ms, self.end_ms, max_words=MAX_WORDS)


class _Segment(msgspec.Struct, eq=False, gc=False):
    """A segment of one connection; its id is None as long as it only repeats what was delivered.

    A thousand of each connection are kept, so they are of a type that the garbage collector does not follow.
    """

    start_ms: int
    end_ms: int
    reported_ms: int
    """The start in the vendor's newest result; the start of a detection is another one."""
    id: int | None = None
    has_results: bool = False
    text: str = ""
    """The text of the last interim that was delivered."""
    is_started: bool = False
    """True if the codec has reported its start."""
    is_closed: bool = False
    """True if the codec has reported its end."""
    has_final: bool = False
    is_delivered: bool = False
    """True if its final was delivered, since it was not only a repeat."""
    piece_ids: tuple[int, ...] = ()
    """The segments that other pieces of its final became."""
    left_out: Counter[str] | None = None
    """The words of the newest interim that were left out, since they repeat others; None if it was not compared."""
    may_repeat: bool = False
    """True if one of its results has the mark."""
    is_ending: bool = False
    """True if the sign that its speech ends was delivered, and not withdrawn."""
    is_ended: bool = False
    """True if the event of its end was delivered."""

    @classmethod
    def at(cls, start_ms: int) -> _Segment:
        """Return a segment that begins at a place in the source."""
        return cls(start_ms, start_ms, start_ms)

    def __repr__(self) -> str:
        return f"<_Segment {self.id} {self.start_ms} to {self.end_ms} ms>"


class Timeline:
    """The segments of a whole session."""

    __slots__ = (
        "_finals",
        "_finals_bytes",
        "_has_timed_words",
        "_held_ms",
        "_jitter_ms",
        "_last_finals",
        "_next_id",
        "_offset_ms",
        "_open",
        "_orphans",
        "_recognised_ms",
        "_untimed_until_ms",
        "finals_end_ms",
    )

    def __init__(self) -> None:
        self._next_id = 0
        # the open segments of the connection that is read, with the places where a replay would begin for each
        self._open: dict[_Segment, int] = {}
        # segments that an earlier connection left open and none has recognised again, in the order of the audio
        self._orphans: list[_Segment] = []
        # the places of segments that ended without a final result, and may get one late
        self._held_ms: list[int] = []
        self._finals: deque[_Final] = deque()
        self._finals_bytes = 0
        # the last ones, also those that only repeat others
        self._last_finals: deque[_Final] = deque(maxlen=KEPT_FINALS)
        # the place in the source where the connection that is read begins
        self._offset_ms = 0
        # the most by which the vendor's times were seen to be off
        self._jitter_ms = 0
        # any final has words with times
        self._has_timed_words = False
        # the end of the last final of the connection that is read, also of one that repeats others; behind it there may
        # be finals of earlier connections, and between those, words that no final has
        self._recognised_ms = 0
        # the place up to which finals without times may have words, whatever their places
        self._untimed_until_ms = 0
        self.finals_end_ms = 0
        """The end of the last final result in the source."""

    def __repr__(self) -> str:
        return f"<Timeline {self._next_id} segments, {len(self._open)} open, covered to {self.covered_ms} ms>"

    @property
    def covered_ms(self) -> int:
        """The place up to which everything that was recognised is in a final result."""
        covered_ms = self._recognised_ms
        if self._open or self._orphans or self._held_ms:
            orphans_ms = [orphan.start_ms for orphan in self._orphans]
            covered_ms = min([covered_ms, *self._open.values(), *orphans_ms, *self._held_ms])
        return max(0, covered_ms)

    @property
    def replay_ms(self) -> int:
        """The place where a replay begins: before the covered place, by as much as the vendor's times may be off.

        Else a short word that follows directly could lie before it for the most part, and would never be recognised.
        There are two places which are exact: that where the connection began, and the boundary between two segments
        that a vendor has drawn itself, so that the one begins where the other ends.
        """
        covered_ms = self.covered_ms
        is_boundary = covered_ms == self._recognised_ms and covered_ms in self._open.values()
        if covered_ms <= self._offset_ms or (is_boundary and self._jitter_ms <= JITTER_MS // 2):
            return covered_ms
        return self._replay_start_ms(covered_ms)

    @property
    def longest_reach_ms(self) -> int:
        """The distance from the covered place to the earliest one at which a replay may begin.

        It is read for each final, when nothing but a bound is needed.
        """
        return max(JITTER_MS, self._jitter_ms) + (MAX_REACH_MS if self._has_timed_words else 0)

    def _replay_start_ms(self, place_ms: int) -> int:
        """Return the place where audio has to begin so that each word behind `place_ms` is recognised from its start.

        The place may be as late as the vendor's times were seen to be off, and by a frame in any case.

        A word that is cut in two may be recognised or not, and so does not tell whether an equal word behind it is a
        new one. Where words have times, the audio therefore begins with a whole word that the one before it does not
        equal, or in a pause.
        """
        words = self._words_before(place_ms)
        begin_ms, jitter_ms = place_ms, max(JITTER_MS, self._jitter_ms)
        for word, before in pairwise([*words, None]):
            if word is None or word.end_ms + JITTER_MS <= begin_ms - jitter_ms:  # a pause
                break
            if word.start_ms < place_ms - MAX_REACH_MS:
                begin_ms = place_ms
                break
            begin_ms = min(begin_ms, word.start_ms)
            if before is not None and _forms_of(before.text) != _forms_of(word.text):
                break
        return max(0, begin_ms - jitter_ms)

    def _words_before(self, place_ms: int) -> list[Word]:
        """Return the words with times that begin within reach of a place, the last one first."""
        words: list[Word] = []
        for final in islice(reversed(self._finals), KEPT_FINALS):
            for word in reversed(final.words):
                if word.end_ms < place_ms - MAX_REACH_MS:
                    break
                if word.start_ms < min(word.end_ms, place_ms) and words_of_text(word.text):
                    words.append(word)
        words.sort(key=lambda word: word.start_ms, reverse=True)
        return words

    @property
    def has_finals(self) -> bool:
        """True if any segment is final."""
        return bool(self._finals)

    @property
    def is_between_segments(self) -> bool:
        """True if no segment is open."""
        return not self._open

    def is_final_until(self, place_ms: int) -> bool:
        """Return True if all that was recognised before a place is final, and a final reaches it, but for rounding."""
        segments = [*self._open, *self._orphans]
        return self._recognised_ms >= place_ms - ROUNDING_MS and all(s.start_ms >= place_ms for s in segments)

    def connect(
        self, offset_ms: int, silence: Silence | None = None, *, untimed_until_ms: int = 0
    ) -> ConnectionTimeline:
        """Return the timeline of the next connection: its audio begins at `offset_ms` in the source.

        Args:
            offset_ms: the place in the source.
            silence: the silence that the connection is sent beside the source.
            untimed_until_ms: the end of the audio of the connection before, if its results had no times and those of
                this one have: up to there, what is recognised may repeat words of the other one.
        """
        self._untimed_until_ms = max(self._untimed_until_ms, untimed_until_ms)
        orphans = [*self._orphans, *(segment for segment in self._open if segment.id is not None)]
        self._orphans = sorted(orphans, key=lambda segment: segment.start_ms)
        self._open.clear()
        self._recognised_ms = self._offset_ms = offset_ms
        return ConnectionTimeline(
            self,
            offset_ms,
            silence,
            list(self._finals),
            open_ms=[orphan.start_ms for orphan in self._orphans],
            untimed_until_ms=self._untimed_until_ms,
        )

    def confirm(self, end_ms: int) -> list[Event]:
        """Record that a task has confirmed its end at this place: everything up to there was recognised.

        Returns:
            The events that withdraw the segments before it that were not recognised again.
        """
        self._settle(end_ms)
        orphans = [orphan for orphan in self._orphans if orphan.start_ms < end_ms]
        self._orphans = [orphan for orphan in self._orphans if orphan.start_ms >= end_ms]
        return [_withdrawal(orphan) for orphan in orphans]

    def finish(self) -> list[Event]:
        """Return the events that withdraw all segments that were never recognised again: the session has ended."""
        orphans, self._orphans = self._orphans, []
        return [_withdrawal(orphan) for orphan in orphans]

    # --- for the timelines of the connections ------------------------------------------------------------------------

    def new_id(self) -> int:
        """Return the id of the session's next segment."""
        self._next_id += 1
        return self._next_id - 1

    def identify(self, segment: _Segment) -> bool:
        """Give a segment its id: that of an open segment of an earlier connection at its place, else the next one.

        Returns:
            True if the session knows the segment from an earlier connection.
        """
        near = [
            orphan
            for orphan in self._orphans
            if orphan.start_ms - SAME_MS <= segment.end_ms and segment.start_ms <= orphan.end_ms + SAME_MS
        ]
        if near:
            orphan = min(near, key=lambda orphan: abs(orphan.start_ms - segment.start_ms))
            self._orphans.remove(orphan)
            segment.id, segment.text, segment.is_ending = orphan.id, orphan.text, orphan.is_ending
            return True
        segment.id = self.new_id()
        return False

    def record_jitter(self, distance_ms: int) -> None:
        """Record by how much the vendor's times are off.

        Args:
            distance_ms: that of two starts of one segment, the overlap of two segments in a row, or the length of one
                beyond the audio that was sent. By more than `DOUBT_MS`, they are not about one time.
        """
        if distance_ms > self._jitter_ms:
            self._jitter_ms = min(distance_ms, DOUBT_MS)

    def open(self, segment: _Segment) -> None:
        """Record that a segment is open: a replay begins where it starts, or earlier."""
        if not segment.is_ended and self._open.setdefault(segment, segment.start_ms) > segment.start_ms:
            self._open[segment] = segment.start_ms

    def close(self, segment: _Segment) -> None:
        """Record that a segment gets no more results."""
        self._open.pop(segment, None)

    def reopen(self, segment: _Segment) -> None:
        """Leave a segment to the next one at its place, as if an earlier connection had left it open.

        In audio that is recognised again, an interim may have new words, and its final only words that were delivered:
        the vendor has drawn the boundary between them anew.
        """
        orphan = _Segment.at(segment.start_ms)
        orphan.id, orphan.end_ms = segment.id, segment.end_ms
        orphan.text, orphan.is_ending = segment.text, segment.is_ending
        segment.id, segment.text = None, ""
        self._orphans = sorted([*self._orphans, orphan], key=lambda each: each.start_ms)

    def hold(self, start_ms: int) -> None:
        """Let a replay begin at this place for some time: a segment that has ended there may get its final late."""
        self._held_ms.append(start_ms)
        del self._held_ms[:-MAX_ORPHANS]

    def add_final(self, final: _Final) -> list[Event]:
        """Record a final result, and return the events that withdraw the open segments which it has passed."""
        self._finals.append(final)
        if final.words:
            self._has_timed_words = True
        self._last_finals.append(final)
        self._finals_bytes += final.size_bytes
        self._settle(final.covered_ms)
        if self._held_ms:
            self._held_ms = [held_ms for held_ms in self._held_ms if self.finals_end_ms - held_ms <= HOLD_MS]
        withdrawals = self._pass_orphans(final) if self._orphans else []
        finals = self._finals
        while len(finals) > MAX_REMEMBERED or (self._finals_bytes > MAX_FINALS_BYTES and len(finals) > 1):
            self._forget_oldest()
        return withdrawals

    def _settle(self, end_ms: int) -> None:
        """Record that everything up to this place was recognised."""
        self._recognised_ms = max(self._recognised_ms, end_ms)
        self.finals_end_ms = max(self.finals_end_ms, end_ms)

    def cover(self, final: _Final) -> list[Event]:
        """Record a final whose words were all delivered before; the return value is that of `add_final`.

        It covers more audio only if that was sent: a place beyond it is none.
        """
        self._last_finals.append(final)
        if final.reported_end_ms <= final.end_ms:
            self._settle(final.covered_ms)
        return self._pass_orphans(final) if self._orphans else []

    def _pass_orphans(self, final: _Final) -> list[Event]:
        events: list[Event] = []
        remaining: list[_Segment] = []
        for orphan in self._orphans:
            is_inside = (
                final.start_ms - JITTER_MS <= orphan.start_ms < final.end_ms - JITTER_MS // 2
                and orphan.end_ms <= final.end_ms + JITTER_MS
            )
            is_before = orphan.end_ms + JITTER_MS < final.start_ms
            if not is_inside and not is_before and len(self._orphans) - len(events) <= MAX_ORPHANS:
                remaining.append(orphan)
                continue
            events.append(_withdrawal(orphan))
            if not is_inside:
                self.hold(orphan.start_ms)
        self._orphans = remaining
        return events

    def resembles_final(self, result: Result) -> bool:
        """Return True if a final may repeat one of the last ones with other times; or the same word was said again."""
        return result.start_ms < self.finals_end_ms + SAME_MS and any(
            abs(final.start_ms - result.start_ms) <= SAME_MS and _forms_of(final.text) == _forms_of(shown_text(result))
            for final in self._last_finals
        )

    def start_in_order(self, final: _Final) -> int:
        """Return the start of a final, in the order of the audio with those that begin there but for the jitter.

        Two sentences in a row have no audio in common. So the one with the earlier middle is the first: in the other
        order, their times would be off by more.
        """
        start_ms, middle_ms = final.start_ms, final.start_ms + final.end_ms
        for other in islice(reversed(self._finals), FEW_FINALS):
            if abs(other.start_ms - final.start_ms) > SAME_MS:
                continue
            if other.start_ms + other.end_ms <= middle_ms:
                start_ms = max(start_ms, other.start_ms + 1)
            else:
                start_ms = min(start_ms, other.start_ms - 1)
        return max(0, start_ms)

    def forget(self, before_ms: int) -> None:
        """Forget the finals that end before the place where a replay would begin, but for the last ones."""
        finals = self._finals
        while len(finals) > KEPT_FINALS and finals[KEPT_FINALS].end_ms < before_ms - KEPT_MS:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._finals_bytes -= self._finals.popleft().size_bytes


def _withdrawal(segment: _Segment) -> SpeechEnded:
    assert segment.id is not None  # noqa: S101 - only segments that were reported are withdrawn
    segment.is_ended = True
    text, segment.text = segment.text, ""  # a thousand such segments are remembered
    return SpeechEnded(segment_id=segment.id, end_ms=segment.end_ms, is_withdrawn=True, withdrawn_text=text)


class ConnectionTimeline:
    """The results of one connection."""

    __slots__ = (
        "_known",
        "_known_by_words",
        "_known_finals",
        "_known_until_ms",
        "_offset_ms",
        "_open_ms",
        "_segments",
        "_silence",
        "_timeline",
        "_untimed_until_ms",
        "limit_ms",
    )

    def __init__(
        self,
        timeline: Timeline,
        offset_ms: int,
        silence: Silence | None,
        known_finals: Sequence[_Final],
        *,
        open_ms: Sequence[int],
        untimed_until_ms: int,
    ) -> None:
        self._timeline = timeline
        self._offset_ms = offset_ms
        self._silence = silence
        # final results of earlier connections, which this one may recognise again; compared when that happens
        self._known_finals = known_finals
        self._known: list[DeliveredSpeech] | None = None
        # hash of the forms of the words → the known finals that have it
        self._known_by_words: dict[int, list[_Final]] | None = None
        # the starts of the segments that they left open
        self._open_ms = open_ms
        last_ms = max((final.last_ms for final in known_finals), default=-sys.maxsize)
        self._known_until_ms = max(last_ms + DOUBT_MS, untimed_until_ms)
        self._untimed_until_ms = untimed_until_ms
        # the connection's segment ids → the segments
        self._segments: dict[int, _Segment] = {}
        self.limit_ms: int | None = None
        """The place in the source at which the audio of the connection ends; None while it goes on."""

    def __repr__(self) -> str:
        return f"<ConnectionTimeline from {self._offset_ms} ms>"

    def place(self, event: Event, sent_ms: int | None = None) -> Sequence[Event]:
        """Return the event with the session's times and segment ids, and the events that follow from it.

        Empty if the event only repeats what was delivered.

        Args:
            event: an event of the connection's codec.
            sent_ms: the place in the source up to which audio was sent to the connection; None if it is not known.
        """
        match event:
            case Result():
                return self.place_result(event, sent_ms)
            case SpeechStarted():
                return self._place_start(event)
            case SpeechEnded():
                return self._place_end(event)
            case SpeechEnding():
                return self._place_ending(event)
            case TranslationArrived() | TranslationLost():
                return self._place_translation(event)
            case _:  # reconnects and gaps: they come from the session, with its times
                return (event,)

    def place_unheard(self, start_ms: int, end_ms: int | None, sent_ms: int | None) -> tuple[int, int] | None:
        """Return the place in the source of speech that never got a text; None if it was recognised before.

        Args:
            start_ms: the start of the speech in the connection's audio.
            end_ms: its end; None if it reaches to the end of the audio.
            sent_ms: the place in the source up to which audio was sent to the connection; None if it is not known.
        """
        start_ms = self._in_source(start_ms)
        limit_ms = sent_ms if self.limit_ms is None else self.limit_ms
        end_ms = limit_ms if end_ms is None else self._in_source(end_ms)
        if end_ms is None:
            return start_ms, start_ms
        if limit_ms is not None:
            start_ms, end_ms = min(start_ms, limit_ms), min(end_ms, limit_ms)
        return self._new_place(start_ms, max(start_ms, end_ms))

    def _new_place(self, start_ms: int, end_ms: int) -> tuple[int, int] | None:
        """Return the part of a place that no known final has; None if that is so little that it may be jitter."""
        place_ms = start_ms, end_ms
        for final in sorted(self._known_finals, key=lambda final: final.start_ms):
            if final.start_ms <= start_ms + JITTER_MS and start_ms < final.end_ms:
                start_ms = final.end_ms
        for final in sorted(self._known_finals, key=lambda final: final.end_ms, reverse=True):
            if final.end_ms >= end_ms - JITTER_MS and final.start_ms < end_ms:
                end_ms = final.start_ms
        return (start_ms, end_ms) if (start_ms, end_ms) == place_ms or end_ms - start_ms > JITTER_MS else None

    # --- results -----------------------------------------------------------------------------------------------------

    def place_result(self, result: Result, sent_ms: int | None) -> Sequence[Event]:
        """Return the events of a result; see `place`."""
        start_ms, end_ms, silence = result.start_ms, result.end_ms, self._silence
        if self._offset_ms or start_ms < 0 or (silence is not None and silence.size_bytes):
            start_ms, end_ms = self._in_source(start_ms), self._in_source(end_ms)
            is_moved = True
        else:
            is_moved = bool(result.translations) and _has_early_translation(result)
        if result.is_final:
            if self.limit_ms is not None:
                sent_ms = self.limit_ms
            if sent_ms is not None and end_ms > sent_ms + DOUBT_MS:
                end_ms, is_moved = self._end_of_words(result, start_ms, sent_ms), True
        segment = self._segments.get(result.segment_id)
        if segment is None:
            segment = self._add_segment(result.segment_id, start_ms)
        if start_ms != segment.reported_ms:
            if segment.has_results:
                self._timeline.record_jitter(abs(start_ms - segment.reported_ms))
            segment.reported_ms = start_ms
        if not segment.has_results:
            segment.has_results = True
            overlap_ms = self._timeline.finals_end_ms - start_ms
            if overlap_ms <= SAME_MS:  # else the finals are not in order
                self._timeline.record_jitter(overlap_ms)
        if is_moved:
            result = self._moved_result(result, start_ms, end_ms)
        if start_ms < self._known_until_ms:
            return self._place_overlapping(result, segment, sent_ms)
        return self._deliver(result, segment, sent_ms)

    def _end_of_words(self, result: Result, start_ms: int, sent_ms: int) -> int:
        """Return the end of a final whose reported end is far beyond the audio that was sent: that one is none.

        Words without a final may lie between its last word and the audio sent. So it is the end of that word; without
        times of words, the final has no end.
        """
        end_ms = self._in_source(result.words[-1].end_ms) if result.words else start_ms
        return end_ms if end_ms <= sent_ms + DOUBT_MS else start_ms

    def _moved_result(self, result: Result, start_ms: int, end_ms: int) -> Result:
        """Return the result with times in the source."""
        return msgspec.structs.replace(
            result,
            start_ms=start_ms,
            end_ms=end_ms,
            words=self._moved_words(result.words),
            translations={language: self._moved(text) for language, text in result.translations.items()},
        )

    def _deliver(self, result: Result, segment: _Segment, sent_ms: int | None) -> Sequence[Event]:
        """Return the events of a result with new words."""
        timeline = self._timeline
        start_ms, end_ms, last_ms = result.start_ms, result.end_ms, segment.end_ms
        segment.start_ms, segment.end_ms = start_ms, max(start_ms, end_ms)
        if not result.is_final and segment.id == result.segment_id:  # the usual interim
            segment.text = result.text
            timeline.open(segment)
            return (result,)
        events: list[Event] = []
        if segment.id is None:
            events += self._identify(segment)
        if result.is_final:
            segment.has_final = segment.is_delivered = True
            last_text, segment.text = segment.text, ""
            timeline.close(segment)
            if sent_ms is not None and end_ms > sent_ms:
                timeline.record_jitter(end_ms - sent_ms)
            if not last_text and timeline.resembles_final(result):
                result = msgspec.structs.replace(result, may_repeat=True)
            final = _final(result, sent_ms, last_ms, last_text)
            if start_ms < timeline.finals_end_ms:
                has_end = end_ms > start_ms
                start_ms = segment.start_ms = timeline.start_in_order(final)
                end_ms = segment.end_ms = max(start_ms, end_ms) if has_end else start_ms
                result = msgspec.structs.replace(result, start_ms=start_ms, end_ms=end_ms)
                final = msgspec.structs.replace(final, start_ms=start_ms, reported_end_ms=end_ms)
            events += timeline.add_final(final)
            if sent_ms is not None and end_ms <= start_ms < sent_ms:
                # a final that the vendor sent without an end ends where the audio sent so far ends
                result = msgspec.structs.replace(result, end_ms=sent_ms)
                segment.end_ms = sent_ms
        else:
            segment.text = result.text
            timeline.open(segment)
        if segment.id != result.segment_id:
            assert segment.id is not None  # noqa: S101 - it was identified above
            result = msgspec.structs.replace(result, segment_id=segment.id)
        events.append(result)
        if result.is_final and segment.is_closed:  # the codec had withdrawn it, and reports no other end
            events += self._end(segment)
        return events

    def _identify(self, segment: _Segment) -> list[Event]:
        """Give a segment its id, and return the event of its start unless an earlier connection has reported it."""
        is_known = self._timeline.identify(segment)
        if is_known or not segment.is_started or segment.id is None:
            return []
        return [SpeechStarted(segment_id=segment.id, start_ms=segment.start_ms)]

    def _add_segment(self, own_id: int, start_ms: int) -> _Segment:
        segment = self._segments[own_id] = _Segment.at(start_ms)
        if len(self._segments) > MAX_REMEMBERED:  # all ended long ago, unless a codec ends none
            self._timeline.close(self._segments.pop(next(iter(self._segments))))
        return segment

    # --- results that may repeat others ------------------------------------------------------------------------------

    def _place_overlapping(self, result: Result, segment: _Segment, sent_ms: int | None) -> Sequence[Event]:
        """Return the new words of a result, with times in the source, whose audio may overlap that of known finals."""
        text, start_ms, end_ms = shown_text(result), result.start_ms, result.end_ms
        if result.is_final and (same := self._find_same(text, start_ms, end_ms)) is not None:
            # else the vendor repeats it without its audio, or without the start of that
            if same.end_ms > self._offset_ms + JITTER_MS and same.start_ms > self._offset_ms - SAME_MS:
                self._record_repeat(same)
            return self._leave_out(result, segment, sent_ms)
        speech_end_ms = end_ms
        if not result.is_final or end_ms <= start_ms:  # the end is not known
            speech_end_ms = max(end_ms, segment.end_ms, start_ms + spoken_length_ms(text))
        speech = place_words(text, result.words, start_ms, speech_end_ms, max_words=MAX_WORDS)
        if not speech.words:
            is_known = self._is_known((start_ms + end_ms) // 2)
            parts = NewParts(() if is_known else (NewPart(0, 0, start_ms, end_ms),), is_certain=True)
        else:
            parts = new_parts(
                speech,
                self._known_speech(),
                from_ms=self._offset_ms,
                latest_ms=_latest_end_ms(result, sent_ms),
                is_final=result.is_final,
            )
        # a translation alone cannot be cut
        pieces = [_cut(result, speech, part) for part in (parts.parts if result.text else parts.parts[:1])]
        # words before the audio of the connection were recognised before, if no final has them any more
        is_doubtful = bool(parts.parts) and (
            not parts.is_certain or speech_end_ms < self._offset_ms - SAME_MS or start_ms < self._untimed_until_ms
        )
        is_doubtful |= _was_left_out(segment, result, speech, parts)
        # texts are compared anew for each result; times are as certain for the last one as they get
        segment.may_repeat = is_doubtful or (segment.may_repeat and not speech.is_timed)
        if segment.may_repeat:
            pieces = [msgspec.structs.replace(piece, may_repeat=True) for piece in pieces]
        if not pieces:
            return self._leave_out(result, segment, sent_ms)
        if not result.is_final:
            interim = msgspec.structs.replace(
                pieces[0],
                text=join_texts([piece.text for piece in pieces]),
                end_ms=max(end_ms, pieces[0].start_ms),  # the end of an interim may not be known yet
                stable_text=None if result.stable_text is None else join_texts([p.stable_text or "" for p in pieces]),
            )
            return self._deliver(interim, segment, sent_ms)
        return self._deliver_pieces(pieces, segment, sent_ms)

    def _leave_out(self, result: Result, segment: _Segment, sent_ms: int | None) -> Sequence[Event]:
        """Record a result without new words; a replay would begin at its start as long as it is an interim."""
        if not result.is_final:
            segment.end_ms = max(segment.end_ms, result.end_ms)
            self._timeline.open(segment)
            return ()
        segment.has_final = True
        self._timeline.close(segment)
        return self._timeline.cover(_final(result, sent_ms, segment.end_ms))

    def _deliver_pieces(self, pieces: Sequence[Result], segment: _Segment, sent_ms: int | None) -> list[Event]:
        """Return the pieces of a final: the first belongs to its segment, each other one is a segment of its own."""
        events = [*self._deliver(pieces[0], segment, sent_ms)]
        for piece in pieces[1:]:
            if not segment.piece_ids:
                events += self._end(segment)
            part = _Segment.at(piece.start_ms)
            part.is_started = segment.is_started
            events += [*self._deliver(piece, part, sent_ms), *self._end(part)]
            if part.id is not None:
                segment.piece_ids = (*segment.piece_ids, part.id)
        return events

    def _end(self, segment: _Segment) -> Iterator[SpeechEnded]:
        if segment.is_started and not segment.is_ended and segment.id is not None:
            segment.is_ended = True
            yield SpeechEnded(segment_id=segment.id, end_ms=segment.end_ms)

    def _find_same(self, text: str, start_ms: int, end_ms: int) -> _Final | None:
        if self._known_by_words is None:  # a thousand finals at one place would cost each result a comparison with all
            self._known_by_words = {}
            for final in self._known_finals:
                self._known_by_words.setdefault(_hash_of_words(final.text), []).append(final)
        finals = self._known_by_words.get(_hash_of_words(text), ())
        return next((final for final in finals if final.is_same(text, start_ms, end_ms)), None)

    def _record_repeat(self, final: _Final) -> None:
        """Record that the connection has recognised a final again: equal words behind it are other ones."""
        speech = final.speech()
        for item in self._known_speech():
            if item.speech == speech:
                item.mark(range(len(speech.words)), speech.start_ms)

    def _known_speech(self) -> list[DeliveredSpeech]:
        if self._known is None:
            speeches = [(final.speech(), final.latest_ms) for final in self._known_finals]
            known = [
                DeliveredSpeech(speech, latest_ms, follows_open=self._is_behind_open(speech.start_ms))
                for speech, latest_ms in speeches
                if speech.words
            ]
            self._known = sorted(known, key=lambda item: item.speech.start_ms)
        return self._known

    def _is_behind_open(self, start_ms: int) -> bool:
        return any(start_ms - DOUBT_MS <= open_ms < start_ms for open_ms in self._open_ms)

    def _is_known(self, place_ms: int) -> bool:
        return any(final.start_ms <= place_ms < final.end_ms for final in self._known_finals)

    # --- other events ------------------------------------------------------------------------------------------------

    def _place_start(self, event: SpeechStarted) -> Sequence[Event]:
        start_ms = self._in_source(event.start_ms)
        segment = self._segments.get(event.segment_id) or self._add_segment(event.segment_id, start_ms)
        segment.is_started = True
        self._timeline.open(segment)
        if start_ms < self._known_until_ms and any(
            final.start_ms - JITTER_MS <= start_ms < final.last_ms for final in self._known_finals
        ):
            return ()  # its result shows if any of it is new
        return self._identify(segment) if segment.id is None else ()

    def _place_end(self, event: SpeechEnded) -> Sequence[Event]:
        segment = self._segments.get(event.segment_id)
        if segment is None:
            return ()
        self._timeline.close(segment)
        segment.is_closed = True
        if segment.id is None or segment.is_ended:
            return ()
        end_ms = self._in_source(event.end_ms)
        if segment.is_delivered:
            segment.is_ended = True
            return (SpeechEnded(segment_id=segment.id, end_ms=max(segment.end_ms, end_ms)),)
        if not segment.text and not segment.has_final:
            self._timeline.hold(segment.start_ms)
        elif segment.text and segment.has_final:  # its words are new, and those of its final are not: they come next
            self._timeline.reopen(segment)
            return ()
        segment.end_ms = end_ms
        return (_withdrawal(segment),)

    def _place_ending(self, event: SpeechEnding) -> Sequence[Event]:
        segment = self._segments.get(event.segment_id)
        if segment is None or segment.id is None or segment.is_ending is not event.is_withdrawn:
            return ()
        segment.is_ending = not event.is_withdrawn
        end_ms = None if event.end_ms is None else self._in_source(event.end_ms)
        return (msgspec.structs.replace(event, segment_id=segment.id, end_ms=end_ms),)

    def _place_translation(self, event: TranslationArrived | TranslationLost) -> Sequence[Event]:
        segment = self._segments.get(event.segment_id)
        if segment is None or segment.id is None:
            return ()
        if isinstance(event, TranslationArrived):
            event = msgspec.structs.replace(event, translation=self._moved(event.translation))
        return [
            msgspec.structs.replace(event, segment_id=segment_id) for segment_id in (segment.id, *segment.piece_ids)
        ]

    # --- times -------------------------------------------------------------------------------------------------------

    def _in_source(self, own_ms: int) -> int:
        time_ms, silence = own_ms + self._offset_ms, self._silence
        return max(0, time_ms if silence is None or not silence.size_bytes else silence.left_out(time_ms))

    def _moved(self, translation: Translation) -> Translation:
        return msgspec.structs.replace(
            translation,
            start_ms=self._in_source(translation.start_ms),
            end_ms=self._in_source(translation.end_ms),
            words=self._moved_words(translation.words),
        )

    def _moved_words(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        place = self._in_source
        return tuple(
            msgspec.structs.replace(word, start_ms=place(word.start_ms), end_ms=place(word.end_ms)) for word in words
        )


def _forms_of(text: str) -> list[str]:
    """Return the words of a text as they are compared; what lies behind `MAX_WORDS` is compared as it is written."""
    words = words_of_text(text, MAX_WORDS + 1)
    forms = [form for form, _, _ in words[:MAX_WORDS]]
    return forms if len(words) <= MAX_WORDS else [*forms, text[words[MAX_WORDS][1] :]]


def _hash_of_words(text: str) -> int:
    return hash(tuple(_forms_of(text)))


def _has_early_translation(result: Result) -> bool:
    """Return True if a translation begins before the audio: vendors' times are off by some milliseconds."""
    return any(translation.start_ms < 0 for translation in result.translations.values())


def _final(result: Result, sent_ms: int | None, last_ms: int, last_text: str = "") -> _Final:
    """Return what is remembered of a final result: it ends where the audio that was sent ends, at the latest.

    One without an end has that of its last interim (`last_ms`). If that had other words, or may have had no end, the
    final ends where it was spoken if it was spoken slowly, at the earliest.
    """
    text, end_ms = shown_text(result), result.end_ms
    if end_ms <= result.start_ms:
        end_ms = last_ms
        if end_ms <= result.start_ms + DOUBT_MS or _forms_of(last_text) != _forms_of(text):
            end_ms = max(end_ms, result.start_ms + spoken_length_ms(text) * 3 // 2)
    if sent_ms is not None:
        end_ms = min(end_ms, sent_ms)
    return _Final(text, result.words, result.start_ms, end_ms, result.end_ms, _latest_end_ms(result, sent_ms))


def _latest_end_ms(result: Result, sent_ms: int | None) -> int:
    """Return the latest place at which a final without an end may have ended; 0 for all other results.

    A word that was cut in two where the audio ended may be reported again behind that place.
    """
    if not result.is_final or result.end_ms > result.start_ms:
        return 0
    return result.start_ms + LONGEST_MS if sent_ms is None else sent_ms + JITTER_MS


def _was_left_out(segment: _Segment, result: Result, speech: Speech, parts: NewParts) -> bool:
    """Return True if a final has a word as new that was left out of the interim before it; keep those of an interim."""
    new = {index for part in parts.parts for index in range(part.first, part.behind)}
    left_out = Counter(word.form for index, word in enumerate(speech.words) if index not in new)
    if not result.is_final:
        segment.left_out = left_out
    if not result.is_final or segment.left_out is None:
        return False
    taken_back = segment.left_out - left_out
    return any(speech.words[index].form in taken_back for index in new)


def _cut(result: Result, speech: Speech, part: NewPart) -> Result:
    """Return the part of a result from one word up to another."""
    first, behind = part.first, part.behind
    words = speech.words
    if first == 0 and behind == len(words):
        return result
    if not result.text:
        return msgspec.structs.replace(result, may_repeat=True)
    begins_at = 0 if first == 0 else words[first].begins_at
    ends_at = len(result.text) if behind == len(words) else words[behind].begins_at
    start_ms = result.start_ms if first == 0 else part.start_ms
    end_ms = result.end_ms if behind == len(words) else max(part.end_ms, start_ms + 1)  # it has an end
    stable_text = result.stable_text
    return msgspec.structs.replace(
        result,
        text=result.text[begins_at:ends_at].strip(),
        stable_text=None if stable_text is None else stable_text[begins_at:ends_at].strip(),
        start_ms=start_ms,
        end_ms=max(start_ms, end_ms),
        words=tuple(word for word in result.words if start_ms <= (word.start_ms + word.end_ms) / 2 <= end_ms),
        may_repeat=result.may_repeat or bool(result.translations),
    )
