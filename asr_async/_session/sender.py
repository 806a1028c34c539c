"""The sending half of a session: the source is read into the replay buffer, and the buffer is sent as the pacer says.

The `SourceReader` is a task: it takes frames from the source, waits while the buffer or the caller's results have no
room, and sends silence while the source pauses, if the session fills pauses. The `Sender` has no task: it runs in the
ticks of the timer that all sessions of an event loop share, and whoever changes something (new audio, a new connection,
the end of the source) resumes it. So a frame costs one tick, and audio that is replayed is sent as new audio is.

Does not know where the audio comes from, nor what is recognised in it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

from .._loop.event import LightEvent
from .._loop.shared_timer import SharedTimer
from ..audio import COMPRESSED_BYTES_PER_SECOND, FRAME_MS, CompressedFrame
from ..errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError
from ..results import Gap
from ..sources import AHEAD_FRAMES, FrameReader, PushSource, check_source
from .pacer import MediaTimePacer, Pacer
from .policy import SendFailure, decide_send_failure
from .state import ConnectionState, SessionState, SessionStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .._connection.task import RecognitionTask
    from ..audio import AudioBytes, FramerLike
    from ..config import Retry, Timeouts
    from ..sources import AudioMark, AudioSource
    from ..telemetry.session_log import SessionLogger
    from ..vendors.options import Options
    from .replay_buffer import ReplayBuffer
    from .result_queue import ConsumerWatch
    from .state import SessionStatus
    from .stats import StatsRecorder

__all__ = ["Sender", "SourceReader"]

# bound here, since an access to a member of an enum is a function call in CPython 3.11
_UP = ConnectionState.UP
_FINISHING = SessionState.FINISHING

SOON_S = 0.001
"""Frames that are due within this time are sent at once: an event loop's timers are no finer, and a frame may be
shorter at a high pace."""

SHORT_WAIT_S = 0.03
"""A shorter wait is not rounded up to a whole tick: a high pace or a replay would slow down, and live audio that comes
a little early would wait."""

LONGEST_WAIT_S = 0.1
"""No tick is planned further ahead: within this time the sender notices another connection, and an ended session is
released."""

COUNT_S = 1.0
MAX_COUNTED_S = 6 * 3_600
"""The time, and the length of the audio, for which the rest of a source is counted: a list of chunks of an hour takes a
hundredth of a second, and an iterable without end must not keep the session open."""

LIVE_DELAY_MS = 1_000
"""Live audio that arrives behind the silence at the end of a sentence until the session has ended: the vendor's delay,
and the way to it and back. Less is not reported as unheard; otherwise each sentence at a microphone would be."""

FILL_AFTER_S = 5.0
"""A source that has brought nothing for this long pauses; less may be a hitch on its way, in the middle of a word. The
shortest of the vendors' timers is 20 s."""


class Sender:
    """Sends the audio in the replay buffer of one session."""

    _loop: asyncio.AbstractEventLoop
    _time: Callable[[], float]
    _timer: SharedTimer
    on_mark: Callable[[RecognitionTask, AudioMark], None]
    """Called with the task and each mark, when the audio in front of it was sent; it may stop the sending."""

    __slots__ = (
        "_abort_timer",
        "_buffer",
        "_connection",
        "_drained",
        "_is_waiting",
        "_loop",
        "_stats",
        "_status",
        "_time",
        "_timeouts",
        "_timer",
        "on_mark",
        "pacer",
        "rotate_at",
        "rotation_due",
    )

    def __init__(
        self,
        status: SessionStatus,
        *,
        buffer: ReplayBuffer,
        stats: StatsRecorder,
        timeouts: Timeouts,
    ) -> None:
        self._status = status
        self._connection = status.connection
        self._buffer = buffer
        self._stats = stats
        self._timeouts = timeouts
        self.pacer = Pacer(None, None)
        # the `position` of the buffer at which the connection has carried as much audio as it may
        self.rotate_at: int | None = None
        self.rotation_due = LightEvent()
        # a tick is planned, or the connection will resume the sender when it is writable
        self._is_waiting = False
        # set when everything is sent, or cannot be sent at present
        self._drained = LightEvent()
        # aborts a connection after a failed send, unless the vendor's own error arrives first
        self._abort_timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Sender {self._buffer!r}{' waiting' if self._is_waiting else ''}>"

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send in the running event loop, which is this one. Called once, before everything else."""
        self._loop, self._time = loop, loop.time
        self._timer = SharedTimer.of_running_loop()

    def resume(self) -> None:
        """Send the frames that are due, and plan the rest. Idempotent."""
        if not self._is_waiting:
            self._tick()

    def stop(self) -> None:
        """Cancel the timer that would abort a failed connection: the session has ended."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()

    async def drain(self) -> None:
        """Return when everything is sent, or nothing can be sent; never without letting other tasks run."""
        status, connection, unsent = self._status, self._connection, self._buffer.unsent
        if not (unsent and connection.state is _UP and not status.input_closed):
            await asyncio.sleep(0)
        while unsent and connection.state is _UP and not status.input_closed:
            self._drained.clear()
            await self._drained.wait()

    def _tick(self) -> None:
        """Send a frame if one is due, and plan the next tick: an unpaced source must not keep the event loop."""
        self._is_waiting = False
        status, connection, unsent = self._status, self._connection, self._buffer.unsent
        task = connection.task
        if unsent and task is not None and connection.state is _UP and not status.input_closed:
            clock, pacer = self._time, self.pacer  # see `RecognitionTask.send_audio`
            now = clock()
            takes_more = True
            if pacer.next_at - now <= SOON_S and not self._send_next(task, pacer, now):
                if self._is_waiting:
                    return
                takes_more = connection.state is _UP and not status.input_closed
            if takes_more and unsent:
                self._is_waiting = True
                at = pacer.next_at
                if SHORT_WAIT_S < at - now <= LONGEST_WAIT_S:  # the usual wait, not worth a call
                    self._timer.call_at(at, self._tick)
                else:
                    self._plan_tick(at, now)
                return
        self._drained.set()
        if status.state is _FINISHING and task is not None and connection.state is _UP:
            self._finish(task)

    def _plan_tick(self, at: float, now: float) -> None:
        """Run the next tick at an instant; if it is too near, as soon as other tasks have run."""
        wait_s = at - now
        if wait_s > LONGEST_WAIT_S:
            self._timer.call_at(now + LONGEST_WAIT_S, self._tick)
        elif wait_s > SHORT_WAIT_S:
            self._timer.call_at(at, self._tick)
        elif wait_s > SOON_S:
            self._timer.call_at(at, self._tick, tick_s=SOON_S)
        else:
            self._loop.call_soon(self._tick)

    def _send_next(self, task: RecognitionTask, pacer: Pacer, now: float) -> bool:
        """Send the next frame of the buffer, and return True if the connection takes more at once.

        Behind a mark and a failure it may or may not: they change the states.
        """
        frame = self._buffer.pop()
        try:
            if not frame:
                self.on_mark(task, cast("AudioMark", frame))
                return False
            is_writable = task.send_audio(frame)
        except ASRError as error:
            self.handle_failure(task, error)
            return False
        pacer.record_sent(now, len(frame))
        if self._connection.has_watchers:
            self._connection.notify()
        if self.rotate_at is not None and self._buffer.position >= self.rotate_at:
            self.rotation_due.set()
        stats = self._stats
        if now >= stats.record_at:
            stats.record_send(now, len(frame), self._buffer.cursor_bytes, is_repeat=self._buffer.is_repeating)
        if not is_writable:
            self._resume_when_writable(task)
        return is_writable

    def _resume_when_writable(self, task: RecognitionTask) -> None:
        """Continue when the connection has caught up; one that takes nothing for too long has failed."""
        self._is_waiting = True
        task.call_when_writable(self._tick, lambda error: self.handle_failure(task, error))

    def _finish(self, task: RecognitionTask) -> None:
        """Announce that no more audio comes. Idempotent."""
        if task.is_finishing:
            return
        try:
            task.finish()
        except ASRError as error:
            self.handle_failure(task, error)
        else:
            self._stats.finished_at = self._loop.time()
            self._status.progress.set()

    @property
    def audio_began_at(self) -> float | None:
        """The instant at which the first audio of the session was sent; None before."""
        return self._stats.audio_started_at

    def record_replay(self, length_ms: int) -> None:
        """Record that so much audio, which was sent already, is to be sent again."""
        self._stats.record_replay(max(0, length_ms))

    def record_arrival(self) -> None:
        """Record the audio that waits: it has arrived, and could not be sent."""
        self._stats.record_arrival(self._time(), self._buffer.end_bytes)

    def handle_failure(self, task: RecognitionTask, error: ASRError) -> None:
        """Act on a send that failed, or a connection that takes no audio, as `decide_send_failure` says.

        The receiver decides about the loss when the connection has ended.
        """
        connection = self._connection
        action = decide_send_failure(error, is_in_use=task is connection.task and connection.is_up)
        if action is SendFailure.END_SESSION:
            self._status.end(error)
        if action in {SendFailure.IGNORE, SendFailure.END_SESSION}:
            return
        connection.stop_sending()
        connection.send_error = error
        if action is SendFailure.ABORT:
            task.abort()
        else:
            self._abort_timer = self._loop.call_later(self._timeouts.close, task.abort)

    def pass_marks(self, task: RecognitionTask) -> None:
        """Act on the marks in front of the unsent audio, although the task takes no more audio."""
        unsent = self._buffer.unsent
        while unsent and not unsent[0]:
            self.on_mark(task, cast("AudioMark", self._buffer.pop()))

    async def send_silence(self, task: RecognitionTask, silence: bytes) -> None:
        """Send silence in place of audio; the vendor's limits count it too."""
        task.silence.put(self._buffer.cursor_ms, len(silence))
        if self.rotate_at is not None:
            self.rotate_at -= len(silence)
            if self._buffer.position >= self.rotate_at:
                self.rotation_due.set()
        try:
            is_writable = task.send_audio(silence)
            self._stats.record_silence(len(silence))
            if not is_writable:
                await task.drain()
        except (ConnectionLostError, DeadlineError) as error:
            self.handle_failure(task, error)


class SourceReader:
    """Reads the source of one session into its replay buffer."""

    _time: Callable[[], float]

    __slots__ = (
        "_buffer",
        "_consumer",
        "_counted",
        "_discarded_bytes",
        "_framer",
        "_frames",
        "_is_cut",
        "_log",
        "_may_be_uncuttable",
        "_options",
        "_retry",
        "_sender",
        "_sent_at_once",
        "_source",
        "_stats",
        "_status",
        "_time",
        "_unbuffered",
        "_waited_s",
    )

    def __init__(
        self,
        status: SessionStatus,
        sender: Sender,
        framer: FramerLike,
        *,
        buffer: ReplayBuffer,
        consumer: ConsumerWatch,
        stats: StatsRecorder,
        options: Options,
        retry: Retry,
        log: SessionLogger,
    ) -> None:
        self._status = status
        self._log = log
        self._sender = sender
        self._framer = framer
        self._buffer = buffer
        self._consumer = consumer
        self._stats = stats
        self._options = options
        self._source: AudioSource = ()
        self._frames: FrameReader | None = None
        # the time that the source has needed to yield its audio, unless it is declared live
        self._waited_s = 0.0
        # how often audio was sent as soon as it was read, since other tasks could run
        self._sent_at_once = 0
        # the size of the audio that was pushed since the vendor closed its input
        self._discarded_bytes = 0
        # the frames that were read, and not put into the buffer since the vendor closed its input
        self._unbuffered: Sequence[AudioBytes] = ()
        # True if a wait for the source was cancelled: an async generator ends then
        self._is_cut = False
        # set when no more of the source will be counted
        self._counted = LightEvent()
        self._retry = retry
        # audio may come that cannot be cut: it is compressed, and none of that kind has come yet
        self._may_be_uncuttable = options.audio.bytes_per_second is None

    def __repr__(self) -> str:
        return f"<SourceReader {self._status!r} {self._buffer!r}>"

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read in this event loop. Called once, before everything else."""
        self._time = loop.time

    def add_mark(self, mark: AudioMark) -> None:
        """Put a mark behind the audio that was read."""
        if (partial_frame := self._framer.cut()) is not None:
            self._buffer.add([partial_frame])
        self._buffer.add([mark])
        self._status.source.audio_arrived.set()
        self._sender.resume()

    def discard(self, size_bytes: int) -> None:
        """Count audio that was pushed behind the end of the vendor's input."""
        self._discarded_bytes += size_bytes

    async def read(self, source: AudioSource, pace: float | None) -> None:
        """Read the source to its end, or until the vendor closes its input, and announce the end.

        An error of the source is kept for the end of the session, when the audio before it has been recognised. If the
        vendor closes its input, the rest of a source that can be read at once is counted.
        """
        status = self._status
        self._source = source
        try:
            if not status.input_closed:
                # A timeout that `close_input` lets expire: it cancels once, so the source can still clean up.
                with self._closed_input():
                    async with asyncio.timeout(None) as status.source.reading:
                        await self._read(source, pace)
            has_waited = status.source.quiet_since is not None
            status.advance(SessionStep.SOURCE_ENDED)
            status.source.record_arrival()
            self._sender.resume()
            if status.input_closed and self._frames is not None:
                await self._count_rest(self._frames, has_waited=has_waited)
        finally:
            self._counted.set()
            if self._frames is not None:
                await self._frames.aclose()

    @contextlib.contextmanager
    def _closed_input(self) -> Iterator[None]:
        """Return normally when the reading of the source is stopped, since the vendor has closed its input."""
        try:
            yield
        except TimeoutError as error:
            if isinstance(error, ASRError) or not self._status.input_closed:
                raise
        finally:
            self._status.source.reading = None

    async def _read(self, source: AudioSource, pace: float | None) -> None:
        try:
            await check_source(source, self._options)
            reader = self._frames = FrameReader(source, self._framer, self._options.audio, self._log)
        except Exception as error:  # noqa: BLE001 - the caller's own error, raised to the caller as it is
            self._record_error(error)
            return
        self._sender.pacer = self._stats.pacer = self._new_pacer(pace, reader.live)
        while (frames := await self._next_frames(reader)) is not None:
            await self._buffer_frames(frames, reader)

    def _new_pacer(self, pace: float | None, live: bool | None) -> Pacer:
        bytes_per_second, buffer = self._options.audio.bytes_per_second, self._buffer
        if bytes_per_second is None:
            return MediaTimePacer(lambda: buffer.position, pace, live=live)
        return Pacer(bytes_per_second, pace, live=live)

    async def _next_frames(self, reader: FrameReader) -> list[AudioBytes] | None:
        """Return the next frames of the source; None at its end, normal or not."""
        source, clock = self._status.source, self._time
        asked_at = clock()
        source.record_wait(asked_at)
        try:
            frames = await reader.next_frames()
        except Exception as error:  # noqa: BLE001 - the caller's own error, raised to the caller as it is
            self._record_error(error)
            return None
        source.record_arrival()
        if not reader.live:  # else neither the pacer nor `_is_live` needs the time
            now = clock()
            waited_s = now - asked_at
            self._waited_s += waited_s
            self._sender.pacer.record_arrival(now, waited_s)
        return frames

    def _record_error(self, error: Exception) -> None:
        self._status.source.error = error
        if self._stats.audio_started_at is None:
            self._status.end(error)  # nothing was sent, so there is nothing to wait for

    async def _buffer_frames(self, frames: Sequence[AudioBytes], reader: FrameReader) -> None:
        """Put frames into the replay buffer, and wait until they are sent.

        Without a connection, a file waits. Other sources continue as far as the buffer has room, since their audio
        would be lost. Other tasks run after a second of audio at the latest, also if neither the source nor the sending
        ever waits.
        """
        connection, buffer, sender, room = self._status.connection, self._buffer, self._sender, self._consumer.room
        try:
            while frames:
                if not room.is_set():
                    await self._consumer.wait_for_room()
                while not (buffer.has_room and (connection.state is _UP or reader.live is not False)):
                    await connection.next_change()
                if len(frames) > AHEAD_FRAMES:
                    buffer.add(frames[:AHEAD_FRAMES])
                    frames = frames[AHEAD_FRAMES:]
                else:
                    buffer.add(frames)
                    frames = ()
                if self._may_be_uncuttable and not buffer.is_cuttable:
                    self._record_uncuttable()
                sender.resume()
                self._sent_at_once += 1
                if buffer.unsent or self._sent_at_once >= AHEAD_FRAMES:
                    self._sent_at_once = 0
                    await sender.drain()
        except asyncio.CancelledError:
            self._unbuffered = frames
            raise

    def _record_uncuttable(self) -> None:
        """Log that a lost connection will need all of the audio again.

        Raises:
            ConfigurationError: `Retry` requests a rotation, which such audio does not allow.
        """
        self._may_be_uncuttable = False
        encoding, retry = self._options.audio.encoding, self._retry
        if retry.rotate_after is not None:
            raise ConfigurationError(
                f"Retry(rotate_after={retry.rotate_after!r}): this {encoding} cannot be cut, since its packets are not "
                "known; send pcm, or mp3, ADTS, AMR, or Opus or Speex in Ogg"
            )
        if retry.attempts:
            self._log.info(
                "%r: this %s cannot be cut: a lost connection is replaced while all of the audio fits into "
                "Retry.buffer_s=%g",
                self,
                encoding,
                retry.buffer_s,
            )

    # --- the rest of a source that the vendor does not recognise -----------------------------------------------------

    async def _count_rest(self, reader: FrameReader, *, has_waited: bool) -> None:
        """Count the audio that the source would still bring, if it is finite and brings it at once.

        A live source is left, and so is any other async iterable behind its next chunk: it may be endless.

        Args:
            reader: the reader of the source.
            has_waited: the source was waited for when the vendor closed its input; it may have been cancelled.
        """
        self._is_cut = has_waited and reader.is_async
        if self._is_live(reader) or (has_waited and reader.live is None):
            return
        max_bytes = MAX_COUNTED_S * (self._options.audio.bytes_per_second or COMPRESSED_BYTES_PER_SECOND)
        if reader.is_async and reader.live is None:
            max_bytes = 1
        elif getattr(self._source, "duration_ms", None) is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COUNT_S):
                await reader.count(max_bytes, in_frames=self._options.audio.bytes_per_second is None)

    def _is_live(self, reader: FrameReader) -> bool:
        """Return True if the source brings its audio in real time: it is declared live, or takes that time for it."""
        rate = self._options.audio.bytes_per_second
        if reader.live is None and rate is not None:
            return self._waited_s >= self._buffer.end_bytes / rate / 2
        return bool(reader.live)

    async def wait_until_counted(self) -> None:
        """Wait until no more of the source is counted, after the vendor has closed its input."""
        await self._counted.wait()

    def unheard(self, covered_ms: int, options: Options) -> Gap | None:
        """Return the rest of the source behind the vendor's last result; None if there is none but silence.

        The silence that ends a sentence is not left of the source, nor is, of live audio, as much as arrives until the
        end of the sentence is known.

        Args:
            covered_ms: the end of the last result.
            options: the options of the model that has closed its input.
        """
        reader = self._frames
        if reader is None:
            return None
        duration_ms: int | None = getattr(self._source, "duration_ms", None)
        total_ms = self._brought_ms(reader) if duration_ms is None else duration_ms
        limit = "no more audio" if options.sentence_end_ms is None else "one sentence, and nothing behind it"
        reason = f"{options.model} recognises {limit}"
        is_read = reader.is_exhausted and not self._is_cut
        is_whole = is_read or duration_ms is not None or self._is_live(reader)
        if not is_whole:
            reason += "; the source was not read to its end"
        if total_ms is None:
            if not self._status.input_closed:  # the end of the source has ended the sentence
                return None
            reason += f"; the length of the rest is not known, since it is {self._options.audio.encoding}"
            return Gap(start_ms=covered_ms, end_ms=covered_ms, reason=reason)
        silence_ms = (options.sentence_end_ms or 0) + FRAME_MS + (LIVE_DELAY_MS if self._is_live(reader) else 0)
        if is_whole and total_ms <= covered_ms + silence_ms:
            return None
        return Gap(start_ms=covered_ms, end_ms=max(covered_ms, total_ms), reason=reason)

    def _brought_ms(self, reader: FrameReader) -> int | None:
        """Return the length of the audio that the source has brought, or that was pushed; None if it is not known."""
        unread_bytes = self._discarded_bytes
        if isinstance(self._source, PushSource):
            unread_bytes += self._source.unread_bytes
        if self._options.audio.bytes_per_second is not None:
            read_bytes = self._buffer.end_bytes + sum(map(len, self._unbuffered)) + self._framer.pending_bytes
            return self._options.audio.to_ms(read_bytes + reader.counted_bytes + unread_bytes)
        if unread_bytes:
            return None
        for frame in (reader.counted_frame, *self._unbuffered[-1:]):
            if frame:
                return int(frame.end_ms) if isinstance(frame, CompressedFrame) else None
        return self._buffer.end_ms

    # --- pauses of the source ----------------------------------------------------------------------------------------

    async def fill_pauses(self) -> None:
        """Send silence in real time while the source brings nothing, until it has ended.

        DashScope keeps a task open while silence is sent "continuously" (`heartbeat`, real-time recognition SDK page,
        2025-10). Huawei's timer accepts anything, but a sentence ends only after as much silence as `vad_tail`.
        """
        status, source = self._status, self._status.source
        while not status.source_has_ended:
            await asyncio.sleep(max(FRAME_MS / 1000, FILL_AFTER_S - source.quiet_s(self._time())))
            if source.quiet_s(self._time()) < FILL_AFTER_S:
                continue
            if status.connection.is_up and not status.input_closed:
                await self._send_silence()
            else:
                await status.connection.next_change()

    async def _send_silence(self) -> None:
        """Send a frame of silence behind all the audio that the source has brought."""
        if (partial_frame := self._framer.cut()) is not None:
            self._buffer.add([partial_frame])
            self._sender.resume()
            await self._sender.drain()
        status, audio_format = self._status, self._options.audio
        task = status.connection.task
        if task is None or not status.connection.is_up or status.input_closed:
            return
        if status.source.quiet_since is None or not self._buffer.is_drained:
            return
        if audio_format.header and not self._buffer.cursor_bytes:
            return  # the header has not come yet
        await self._sender.send_silence(task, audio_format.silence(audio_format.frame_bytes()))
