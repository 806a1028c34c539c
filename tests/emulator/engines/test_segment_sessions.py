"""The sessions of recognisers of whole segments: the order of decoding, interims, withheld answers, memory."""

from __future__ import annotations

import queue
import random
import threading
from array import array
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from asr_async.emulator.engines import segment_sessions
from asr_async.emulator.engines.engine import Hypothesis, Request
from asr_async.emulator.engines.segment_sessions import MAX_WAITING_SEGMENTS, Decoded, SegmentSessions
from asr_async.emulator.engines.segments import MAX_WINDOWS, PAUSE_WINDOWS
from asr_async.emulator.engines.worker_messages import (
    Answer,
    CloseCall,
    Emitted,
    FeedCall,
    FinishCall,
    Notice,
    OpenCall,
)
from asr_async.emulator.engines.worker_process import Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asr_async.emulator.engines.worker_messages import WorkerMessage

SPEECH, SILENCE = b"\x64\x00" * 512, bytes(1_024)
PAUSE = SILENCE * PAUSE_WINDOWS
SENTENCE = SPEECH * 30 + PAUSE


class LoudnessDetector:
    """A detector that takes every window with a sound for speech."""

    def process_chunk(self, window: bytes) -> float:
        return 0.9 if any(window) else 0.1


class Table(Sender):
    """A table of sessions whose messages are collected, and whose decoder waits for permission."""

    def __init__(self, text_of: Callable[[bytes], Decoded]) -> None:
        self.messages: queue.Queue[WorkerMessage] = queue.Queue()
        self.permits = threading.Semaphore(0)
        self._text_of = text_of
        self._calls = 0
        self.sessions = SegmentSessions(self, self._decode)

    def send(self, *messages: WorkerMessage) -> None:
        for message in messages:
            self.messages.put(message)

    def _decode(self, samples: bytes) -> Decoded:
        self.permits.acquire()
        return self._text_of(samples)

    def open(self, session: int) -> None:
        self.sessions.handle(OpenCall(self._next_call(), session, Request(sample_rate=16_000)))
        assert isinstance(self.messages.get(timeout=5), Answer)

    def feed(self, session: int, samples: bytes) -> int:
        self.sessions.handle(FeedCall(call := self._next_call(), session, samples))
        return call

    def finish(self, session: int) -> int:
        self.sessions.handle(FinishCall(call := self._next_call(), session))
        return call

    def _next_call(self) -> int:
        self._calls += 1
        return self._calls

    def until_answer(self, call: int) -> list[Hypothesis]:
        """Return the hypotheses that are sent before the answer to a call."""
        found = []
        while True:
            match self.messages.get(timeout=5):
                case Emitted(hypothesis=hypothesis):
                    found.append(hypothesis)
                case Answer(call=answered) if answered == call:
                    return found

    def is_answered(self, call: int) -> bool:
        return any(isinstance(message, Answer) and message.call == call for message in list(self.messages.queue))


def windows_of(samples: bytes) -> Decoded:
    """Return the number of windows with a sound as the text."""
    return Decoded(f"{samples.count(SPEECH)} windows.")


@contextmanager
def table(text_of: Callable[[bytes], Decoded] = windows_of, permits: int = 1_000) -> Iterator[Table]:
    opened = Table(text_of)
    if permits:
        opened.permits.release(permits)
    try:
        yield opened
    finally:
        opened.permits.release(1_000)
        opened.sessions.close()


@pytest.fixture(autouse=True)
def loudness_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_sessions, "_new_silero", LoudnessDetector)


def test_a_segment_is_decoded_with_silence_around_it() -> None:
    decoded: list[bytes] = []

    def keep(samples: bytes) -> Decoded:
        decoded.append(samples)
        return Decoded("words")

    with table(keep) as sessions:
        sessions.open(1)
        sessions.until_answer(sessions.feed(1, SPEECH * 10 + PAUSE))
        sessions.until_answer(sessions.finish(1))
    assert decoded == [SILENCE * 16 + SPEECH * 10 + SILENCE * 9]


def test_all_finals_are_sent_before_the_answer_to_finish() -> None:
    with table() as sessions:
        sessions.open(1)
        sessions.feed(1, SENTENCE * 2 + SPEECH * 7)
        found = sessions.until_answer(sessions.finish(1))
    finals = [hypothesis.text for hypothesis in found if hypothesis.is_final]
    assert finals == ["30 windows.", "30 windows.", "7 windows."]


def test_a_client_that_is_faster_than_the_decoder_waits_for_its_answer() -> None:
    with table(permits=0) as sessions:
        sessions.open(1)
        assert sessions.is_answered(sessions.feed(1, SENTENCE * MAX_WAITING_SEGMENTS))
        call = sessions.feed(1, SENTENCE)
        assert not sessions.is_answered(call)
        sessions.permits.release()
        sessions.until_answer(call)


def test_the_finals_of_one_session_do_not_wait_for_the_interims_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_sessions, "MAX_INTERIM_DELAY_S", 60.0)
    with table(permits=0) as sessions:
        for session in (1, 2, 3):
            sessions.open(session)
        sessions.feed(1, SENTENCE)  # the decoder has begun with it, or will
        sessions.feed(2, SPEECH * 40)
        sessions.feed(3, SENTENCE)
        sessions.permits.release(3)
        order: list[tuple[int, bool]] = []
        while len(order) < 3:
            message = sessions.messages.get(timeout=5)
            if isinstance(message, Emitted):
                order.append((message.session, message.hypothesis.is_final))
    assert order == [(1, True), (3, True), (2, False)]


def test_an_interim_that_waits_too_long_goes_before_finals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_sessions, "MAX_INTERIM_DELAY_S", -1.0)
    with table(permits=0) as sessions:
        sessions.open(1)
        sessions.open(2)
        sessions.feed(1, SENTENCE)
        sessions.feed(2, SPEECH * 40)
        sessions.feed(1, SENTENCE)
        sessions.permits.release(3)
        order: list[tuple[int, bool]] = []
        while len(order) < 3:
            message = sessions.messages.get(timeout=5)
            if isinstance(message, Emitted):
                order.append((message.session, message.hypothesis.is_final))
    assert order.index((2, False)) < 2


def test_an_interim_has_no_mark_at_its_end_and_is_not_repeated() -> None:
    with table(lambda samples: Decoded("Good morning.")) as sessions:
        sessions.open(1)
        sessions.feed(1, SPEECH * 40)
        message = sessions.messages.get(timeout=5)
        message = message if isinstance(message, Emitted) else sessions.messages.get(timeout=5)
        assert isinstance(message, Emitted)
        assert (message.hypothesis.text, message.hypothesis.is_final) == ("Good morning", False)
        (final,) = sessions.until_answer(sessions.finish(1))
    assert (final.text, final.is_final) == ("Good morning.", True)


def test_an_interim_whose_segment_has_no_words_in_the_end_is_withdrawn() -> None:
    texts = iter(["You", ""])
    with table(lambda samples: Decoded(next(texts))) as sessions:
        sessions.open(1)
        sessions.feed(1, SPEECH * 40)
        while not isinstance(sessions.messages.get(timeout=5), Emitted):
            pass
        (withdrawn,) = sessions.until_answer(sessions.finish(1))
    assert (withdrawn.text, withdrawn.is_final, withdrawn.is_noise) == ("You", False, True)


def test_a_final_that_the_recogniser_cut_is_reported() -> None:
    with table(lambda samples: Decoded("on and on…", is_cut=True)) as sessions:
        sessions.open(1)
        sessions.feed(1, SPEECH * 10)
        call = sessions.finish(1)
        found: list[WorkerMessage] = []
        while not (found and isinstance(found[-1], Answer) and found[-1].call == call):
            found.append(sessions.messages.get(timeout=5))
    assert Notice("a final ends early, the recogniser reached its limit: on and on…") in found


def test_a_closed_session_sends_nothing_more() -> None:
    with table(permits=0) as sessions:
        sessions.open(1)
        sessions.open(2)
        sessions.feed(1, SENTENCE * 2)
        sessions.sessions.handle(CloseCall(1))
        sessions.feed(2, SENTENCE)
        call = sessions.finish(2)
        sessions.permits.release(10)
        found: list[WorkerMessage] = []
        while not (found and isinstance(found[-1], Answer) and found[-1].call == call):
            found.append(sessions.messages.get(timeout=5))
    assert {message.session for message in found if isinstance(message, Emitted)} == {2}


def test_audio_of_another_rate_is_resampled_to_the_same_samples_however_it_arrives() -> None:
    chance = random.Random(1)
    samples = array("h", (chance.randrange(-32_768, 32_768) for _ in range(8_000))).tobytes()
    found = set()
    for size in (len(samples), 1_600, 1_600, 998):
        resample = segment_sessions._new_resampler(8_000)
        pieces = [samples[start : start + size] for start in range(0, len(samples), size)]
        found.add(b"".join(resample(piece, False) for piece in pieces) + resample(b"", True))
    assert [len(resampled) for resampled in found] == [2 * len(samples)]


@pytest.mark.parametrize("window", [SILENCE, SPEECH])
def test_a_session_of_hours_keeps_no_more_audio_than_a_segment(window: bytes) -> None:
    with table(lambda samples: Decoded("")) as sessions:
        sessions.open(1)
        (session,) = sessions.sessions._sessions.values()
        for _ in range(200):
            sessions.until_answer(sessions.feed(1, window * 100))
        assert len(session._audio) <= (MAX_WINDOWS + 140) * 1_024
        assert len(session.waiting) <= MAX_WAITING_SEGMENTS
