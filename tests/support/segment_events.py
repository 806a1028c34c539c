"""The check that the events of segments are in order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from asr_async import Result, SpeechEnded, SpeechStarted

if TYPE_CHECKING:
    from asr_async import Event

__all__ = ["assert_framed"]


def assert_framed(events: list[Event]) -> None:
    """Assert that each segment has one start, before its results, and one end, directly behind its only final."""
    segments = [event.segment_id for event in events if isinstance(event, Result | SpeechStarted | SpeechEnded)]
    starts = Counter(event.segment_id for event in events if isinstance(event, SpeechStarted))
    ends = Counter(event.segment_id for event in events if isinstance(event, SpeechEnded))
    finals = Counter(event.segment_id for event in events if isinstance(event, Result) and event.is_final)
    assert starts == ends == Counter(set(segments))
    for index, event in enumerate(events):
        if isinstance(event, SpeechStarted):
            assert event.segment_id not in segments[: len(_segment_events(events[:index]))]
        elif isinstance(event, SpeechEnded):
            assert finals[event.segment_id] == (0 if event.is_withdrawn else 1)
            if not event.is_withdrawn:
                before = events[index - 1]
                assert isinstance(before, Result)
                assert (before.segment_id, before.is_final) == (event.segment_id, True)


def _segment_events(events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, Result | SpeechStarted | SpeechEnded)]
