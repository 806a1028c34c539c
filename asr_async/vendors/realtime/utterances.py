"""The utterances of a realtime session: the one that a message is about, and its place in the audio.

Theory of operation. The server reports an utterance in several messages: the start and the end of its speech, its
commit, its item, its texts, its final text. Only the first two have times, and in the manual mode only the caller's
commits give the place of an utterance. A message without a place is therefore about

- the utterance with its item id; if several have that id, the first one that waits for its final;
- else one without an id so far, which then has this id;
- without an id, a final belongs to the first utterance that has ended and shows a text, or that the caller has
  committed, else to the newest; an interim to the newest.

Everything else (repeats, coughs, the end of the session) is the rule of `SegmentTracker`. A commit of the caller is
owed a final, so it stays open like an utterance with a text; a detection of the server often has none.

Does not know messages of the client, bytes or clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._alignment.places import JITTER_MS
from ...results import Result, SpeechEnding
from ..segments import SegmentTracker, TrackedSegment

if TYPE_CHECKING:
    from ..codec import CodecEvent

__all__ = ["Utterances"]

NO_TEXT = "the vendor detected speech, or confirmed a commit, and finished the session without a text for it"


class _Utterance(TrackedSegment[str | None]):
    """One utterance; its key is the id of its item."""

    is_stopped: bool = False
    """True if its speech has ended, so that its final is due."""
    has_ending: bool = False
    """True if the end of its speech was returned."""
    has_commit: bool = False
    """True if it is the answer to a commit of the caller."""
    is_commit_confirmed: bool = False
    """True if the server's confirmation of that commit has arrived."""


class Utterances:
    """The utterances of one session, by their item."""

    __slots__ = ("_tracker",)

    def __init__(self) -> None:
        self._tracker: SegmentTracker[str | None, _Utterance] = SegmentTracker(_Utterance)

    def __repr__(self) -> str:
        return f"<Utterances {self._tracker!r}>"

    # --- signs of an utterance ---------------------------------------------------------------------------------------

    def start(self, item_id: str | None, start_ms: int | None) -> list[CodecEvent]:
        """Record that speech has started, and return the events of that."""
        if start_ms is None:
            return self.detect(item_id)
        events: list[CodecEvent] = []
        for utterance in self._tracker.open_segments:
            is_named = utterance.key == item_id or item_id is None
            if is_named and utterance.is_placed and utterance.overlaps(start_ms, None):
                return events  # a repeat
        self._tracker.detect(item_id, start_ms, events)
        return events

    def detect(self, item_id: str | None) -> list[CodecEvent]:
        """Record a sign of an utterance that has only the id of its item; return an event if it is the first."""
        events: list[CodecEvent] = []
        if item_id is not None and not self.is_known(item_id):
            nameless = [utterance for utterance in self._tracker.open_segments if utterance.key is None]
            if nameless:
                self._tracker.learn(_first_due(nameless), item_id)
            else:
                self._tracker.open(item_id, None, events)
        return events

    def stop(self, item_id: str | None, end_ms: int | None, *, is_reported: bool = True) -> list[CodecEvent]:
        """Record that the speech of an utterance has ended, and return the events of that.

        Args:
            item_id: its item, if the server named it.
            end_ms: the end of the speech; None if it is not known.
            is_reported: True if the server has reported the end of speech, not only a commit that follows from it.
        """
        events = self.detect(item_id)
        utterances = [
            utterance
            for utterance in self._tracker.open_segments
            if item_id in {None, utterance.key} and (end_ms is None or utterance.start_ms <= end_ms + JITTER_MS)
        ]
        if utterances:
            utterance = next((each for each in reversed(utterances) if not each.is_stopped), utterances[-1])
            utterance.is_stopped = True
            if end_ms is not None:
                utterance.end_ms = max(end_ms, utterance.start_ms)
            if is_reported and not utterance.has_ending:
                utterance.has_ending = True
                events.append(
                    SpeechEnding(segment_id=utterance.id, end_ms=None if end_ms is None else utterance.end_ms)
                )
        return events

    def is_known(self, item_id: str) -> bool:
        """Return True if an utterance has this id, also if it is over."""
        tracker = self._tracker
        return bool(tracker.find_open(item_id) or tracker.find_closed(item_id) or tracker.find_withdrawn(item_id))

    def is_over(self, item_id: str) -> bool:
        """Return True if the final of this item was returned."""
        return self._tracker.find_open(item_id) is None and self._tracker.find_closed(item_id) is not None

    def is_stopped(self, item_id: str) -> bool:
        """Return True if the speech of this item has ended, and its final is due."""
        utterance = self._tracker.find_open(item_id)
        return utterance is not None and utterance.is_stopped

    def shown_text(self, item_id: str | None) -> str:
        """Return the newest interim of an item that is open; without an id, that of the newest one."""
        tracker = self._tracker
        utterance = tracker.find_open(item_id) if item_id is not None else next(reversed(tracker.open_segments), None)
        return "" if utterance is None or utterance.interim_result is None else utterance.interim_result.text

    # --- commits of the caller ---------------------------------------------------------------------------------------

    def confirm_commit(self, item_id: str | None) -> bool:
        """Record that the server has confirmed the commit of an utterance; False if it has no unconfirmed one."""
        if item_id is None:
            return False
        utterances = [utterance for utterance in self._tracker.open_segments if utterance.key == item_id]
        if (closed := self._tracker.find_closed(item_id)) is not None:
            utterances.append(closed)
        for utterance in utterances:
            if utterance.has_commit and not utterance.is_commit_confirmed:
                utterance.is_commit_confirmed = True
                return True
        return False

    def commit(
        self, item_id: str | None, start_ms: int | None, end_ms: int | None, *, is_confirmed: bool
    ) -> list[CodecEvent]:
        """Record the utterance that answers a commit of the caller.

        Args:
            item_id: its item, if the server named it.
            start_ms: the start of the committed audio; None if that has no length in time.
            end_ms: its end.
            is_confirmed: True if the server has confirmed the commit; False if it has completed the utterance before.
        """
        events: list[CodecEvent] = []
        tracker = self._tracker
        utterances = [each for each in tracker.open_segments if not each.has_commit and each.key in {None, item_id}]
        named = [utterance for utterance in utterances if utterance.key == item_id]
        utterance = next(iter(named or utterances), None)
        if utterance is None:
            utterance = tracker.open(item_id, start_ms, events)
        else:
            tracker.learn(utterance, item_id, start_ms)
        utterance.end_ms = utterance.start_ms if end_ms is None else max(end_ms, utterance.start_ms)
        utterance.is_stopped = utterance.has_commit = utterance.is_owed = True
        utterance.is_commit_confirmed = is_confirmed
        return events

    @property
    def has_due_commit(self) -> bool:
        """True if an utterance that the caller committed is without its final."""
        return any(utterance.has_commit for utterance in self._tracker.open_segments)

    # --- texts -------------------------------------------------------------------------------------------------------

    def interim(
        self,
        key: str | None,
        text: str,
        *,
        stable_text: str | None = None,
        language: str | None = None,
        request_id: str,
        raw: str,
    ) -> list[CodecEvent]:
        """Return the present text of an utterance; empty if there is none, or if it comes behind the final.

        Args:
            key: the utterance's item, if the server named it.
            text: its whole text so far.
            stable_text: the part of that which will not change, if the vendor reports one.
            language: its language, if the vendor reports one.
            request_id: the session's id.
            raw: the message.
        """
        if not text:
            return []
        tracker = self._tracker
        events: list[CodecEvent] = []
        if key is not None and tracker.find_open(key) is None and tracker.find_withdrawn(key) is not None:
            tracker.revive(key, None, None)
        utterance = tracker.assign(key, None, None, text, is_final=False, events=events)
        if utterance is None:
            return events
        result = _result(utterance, text, language, stable_text=stable_text, request_id=request_id, raw=raw)
        utterance.interim_result = result
        events.append(result)
        return events

    def final(
        self,
        key: str | None,
        text: str,
        *,
        stable_text: str | None = None,
        language: str | None = None,
        emotion: str | None = None,
        confidence: float | None = None,
        request_id: str,
        raw: str,
    ) -> list[CodecEvent]:
        """Return the final text of an utterance; empty for a repeat, and if no speech was recognised at all.

        Args:
            key: the utterance's item, if the server named it.
            text: its text.
            stable_text: the same, if the vendor reports which part of an interim is stable.
            language: its language, if the vendor reports one.
            emotion: the speaker's mood, if the vendor reports it.
            confidence: 0 to 1, if the vendor reports it.
            request_id: the session's id.
            raw: the message.
        """
        events: list[CodecEvent] = []
        utterance = self._find_due(key, text, events)
        if utterance is None:
            return events
        result = _result(
            utterance,
            text,
            language,
            is_final=True,
            stable_text=stable_text,
            emotion=emotion,
            confidence=confidence,
            request_id=request_id,
            raw=raw,
        )
        was_withdrawn = utterance.has_ended
        events += self._tracker.end(utterance, result)
        if text or not was_withdrawn:
            events.append(result)
        events += self._tracker.close(utterance)
        return events

    def close(self) -> list[CodecEvent]:
        """Return the events of all utterances that are open at the end that the server confirms."""
        return self._tracker.close_at_end(NO_TEXT)

    def _find_due(self, key: str | None, text: str, events: list[CodecEvent]) -> _Utterance | None:
        """Return the utterance of a final; None for a repeat, or if there is neither an utterance nor a text."""
        tracker = self._tracker
        utterances = tracker.open_segments
        if key is not None and (named := [utterance for utterance in utterances if utterance.key == key]):
            return _first_due(named)
        nameless = [utterance for utterance in utterances if key is None or utterance.key is None]
        is_expected = key is None and any(_may_become(utterance, text) for utterance in nameless)
        if not is_expected and tracker.is_repeat(key, None, None, text, is_final=True):
            return None
        if key is not None and tracker.find_withdrawn(key) is not None:
            return tracker.revive(key, None, None)
        if nameless:
            utterance = _first_due(nameless, is_newest_likely=True)
            tracker.learn(utterance, key)
            return utterance
        return tracker.open(key, None, events) if text else None


def _result(
    utterance: _Utterance,
    text: str,
    language: str | None,
    *,
    is_final: bool = False,
    stable_text: str | None,
    emotion: str | None = None,
    confidence: float | None = None,
    request_id: str,
    raw: str,
) -> Result:
    return Result(
        text=text,
        is_final=is_final,
        segment_id=utterance.id,
        start_ms=utterance.start_ms,
        end_ms=utterance.end_ms,
        confidence=confidence,
        stable_text=stable_text,
        emotion=emotion,
        language=language,
        request_id=request_id,
        raw=raw,
    )


def _first_due(utterances: list[_Utterance], *, is_newest_likely: bool = False) -> _Utterance:
    """Return the utterance that gets its final first.

    Args:
        utterances: the candidates, oldest first.
        is_newest_likely: True if the ended ones without a text are probably coughs, which get no final.
    """
    stopped = [utterance for utterance in utterances if utterance.is_stopped]
    for utterance in stopped:
        if utterance.interim_result is not None or utterance.has_commit:
            return utterance
    if stopped and not is_newest_likely:
        return stopped[0]
    shown = [utterance for utterance in utterances if utterance.interim_result is not None]
    return (shown or stopped or utterances)[-1]


def _may_become(utterance: _Utterance, text: str) -> bool:
    """Return True if an ended utterance may wait for this final, judged by its interim."""
    if not utterance.is_stopped:
        return False
    interim = utterance.interim_result
    return utterance.has_commit if interim is None else text[:2] == interim.text[:2]
