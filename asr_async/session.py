"""One session: a source on one side, results on the other, and in between one connection, or several in a row.

Theory of operation. `async with session` connects, opens the task and starts the *receive task*, which waits for the
end of each connection: what comes in goes through the codec and `Receiver` into the outbox at once. When a connection
is lost, or has told everything, the `Reconnector` has the next one. The *send task* takes audio from the source into
the ledger; the `Sender` sends what the ledger holds when the pacer says so, be it new or sent again. The caller only
iterates the outbox. There is one end (`_end`): the vendor's confirmation, or the first error that cannot be mended; it
closes the outbox behind what is already in it, so results are never overtaken by an error.

A session does not know any vendor's messages (the codec does) nor WebSocket (the transport does), how a connection is
opened (the dialer does) and fed (the feed and the link), nor when there has to be another (the relay).
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

import anyio

from ._connection.connector import Connector
from ._session.pacer import Pacer
from ._session.policy import RetryBudget, check_silence
from ._session.receiver import Receiver
from ._session.reconnect import Reconnector
from ._session.replay_buffer import ReplayBuffer
from ._session.result_queue import ResultQueue
from ._session.sender import Sender
from ._session.state import RunState
from ._session.stats import StatsRecorder
from .audio import FRAME_MS, Framer
from .config import Retry
from .errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, LocalProtocolError
from .results import Event, Result, SessionStats
from .sources import AHEAD_FRAMES, AudioChunk, AudioSource, FrameReader, PushedAudio, UtteranceEnd, preflight
from .vendors.codec import ENDINGS, Failed, Finished, InputClosed, NoSpeech

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from ._connection.pool import ConnectionPool
    from ._connection.task import RecognitionTask
    from ._limits.limiter import Limiter
    from .audio import AudioBytes
    from .config import Timeouts
    from .vendors.codec import CodecEvent, Ending, Message
    from .vendors.options import ContextMessage, Options
    from .vendors.service import Service

__all__ = ["ResultStream", "Session"]

logger: logging.Logger = logging.getLogger("asr_async")

FILL_AFTER_S = 5.0
"""A source that brought nothing for so long pauses; less may be a hitch on its way, in the middle of a word. The
shortest of the vendors' timers is 20 s."""

T = TypeVar("T", bound=Event)


class Session:
    """One recognition, to be used with `async with`, once: by `stream`, by `events`, or by pushing with `send`.

    Made by `connect(...)` and `Client.session(...)`.
    """

    def __init__(
        self,
        service: Service,
        options: Options,
        *,
        timeouts: Timeouts,
        retry: Retry,
        connections: ConnectionPool,
        limiter: Limiter,
    ) -> None:
        self._options = options
        self._timeouts = timeouts
        self._connections = connections
        self._permit = limiter.session_permit()
        dialer = Connector(service, options, timeouts=timeouts, pool=connections, permit=self._permit)
        self._ending: Ending | None = None
        self._dialer = dialer
        self._retry = retry
        description = dialer.description
        check_silence(retry, options, takes_commits=description.takes_commits)
        audio_format = description.audio_format
        self._run = RunState()
        # what `send` fills and the send task empties; never used by a session that is given a source
        self._inbox = PushedAudio()
        self._framer = Framer(audio_format, min_bytes=description.min_frame_bytes)
        self._ledger = ReplayBuffer(audio_format, max_s=retry.buffer_s)
        self._outbox = ResultQueue()
        self._meter = StatsRecorder(audio_format)
        recovery = RetryBudget(retry)
        self._delivery = Receiver(
            self._outbox,
            self._meter,
            self._ledger,
            recovery,
            translation_s=timeouts.translation,
            on_other=self._take_word_on_task,
        )
        self._feed = Sender(
            self._run,
            self._ledger,
            self._meter,
            on_failure=self._let_receiver_speak_first,
            on_finished=self._delivery.progress.set,
        )
        self._relay = Reconnector(self._run, dialer, self._delivery, self._ledger, recovery, on_up=self._begin_on)
        # until when a receiver may hear more from a connection that takes nothing any more
        self._last_word: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        ended = self._run.ended.is_set() and self._run.phase != "closed"
        phase = "ended" if ended else self._run.phase
        return f"<Session {self._options.model} {phase} request {self._request_id}>"

    @property
    def _link(self) -> RecognitionTask | None:
        return self._run.link

    @property
    def _request_id(self) -> str:
        return "" if self._link is None else self._link.codec.request_id

    # --- the caller's side -------------------------------------------------------------------------------------------

    def stream(self, audio: AudioSource, *, pace: float | None = 1.0) -> ResultStream[Result]:
        """Send a source and iterate its results: `async for result in session.stream(source)`.

        Args:
            audio: an async (or plain) iterable of bytes-like chunks of any size, in the format of the options.
            pace: 1.0 is real time, 4.0 four times as fast, None as fast as the connection takes it. A live source is
                never held back. Compressed formats are not paced, since their bytes say nothing about time.

        The loop ends when the vendor has confirmed the end, or raises: an `ASRError`, or what the source raised, after
        everything that was recognised until then. If the source raises, the audio already sent is still recognised.

        Raises:
            ConfigurationError: a pace that is not positive.
            LocalProtocolError: at the first step, if the session was used before.
        """
        return ResultStream(self, audio, _checked_pace(pace), wants_events=False)

    def events(self, audio: AudioSource, *, pace: float | None = 1.0) -> ResultStream[Event]:
        """As `stream`, with the other events between the results; see `Event`."""
        return ResultStream(self, audio, _checked_pace(pace), wants_events=True)

    async def send(self, chunk: AudioChunk) -> None:
        """Push a chunk of audio; returns when there is room for more. Pushed audio is not paced: the caller is live.

        Raises:
            ASRError: what ended the session; results that came before it can still be iterated.
            LocalProtocolError: after `finish`, or beside `stream`.
        """
        self._begin_pushing()
        try:
            await self._inbox.put(chunk)
        except LocalProtocolError:  # closed: perhaps because the session has ended
            self._raise_if_ended()
            if not self._run.heard_enough:  # else the vendor has heard enough, and wants no more
                raise
        self._raise_if_ended()

    async def update_context(self, messages: Sequence[ContextMessage]) -> None:
        """Tell a running recognition what was said elsewhere, such as the answers of a bot; replaces what it knew.

        Raises:
            ASRError: what ended the session.
            ConfigurationError: the model does not take a context, or not so much.
            LocalProtocolError: before the session is open, or after its audio was finished.
        """
        self._raise_if_ended()
        while self._link is not None and not self._run.is_up and not self._run.ended.is_set():
            self._run.is_needed.set()
            await self._run.next_move()
        self._raise_if_ended()
        if self._link is None:
            raise LocalProtocolError(f"the session is {self._run.phase}: open it before you update its context")
        context_messages = self._context_messages(self._link, messages)
        self._relay.context = tuple(messages)
        await self._link.send(context_messages)

    def _context_messages(self, link: RecognitionTask, context: Sequence[ContextMessage]) -> Sequence[Message]:
        try:
            return link.context_messages(context)
        except ConfigurationError as error:
            if not link.is_substitute:
                raise
            logger.info("%r: %s takes no context while it stands in: %s", self, link.member, error)
            return ()

    async def commit(self) -> None:
        """End an utterance: the vendor recognises what was pushed since the last commit (push-to-talk).

        Returns as `send` does; `finish` commits the rest by itself.

        Raises:
            ASRError: what ended the session; results that came before it can still be iterated.
            ConfigurationError: the options leave it to the vendor where an utterance ends.
            LocalProtocolError: after `finish`, or beside `stream`.
        """
        if not self._dialer.description.takes_commits:
            raise ConfigurationError(
                f"commit(): {self._options.model} finds the ends of utterances by itself; "
                "use options that have manual_commit=True"
            )
        await self.send(UtteranceEnd())

    async def finish(self) -> None:
        """Say that no more audio comes, and wait until the vendor has confirmed that all results are there.

        The results are in the loop `async for result in session`, then or later. Idempotent.

        Raises:
            ASRError: what ended the session instead.
        """
        self._begin_pushing()
        self._inbox.close()
        await self._run.ended.wait()
        self._raise_if_ended()

    def __aiter__(self) -> ResultStream[Result]:
        """Iterate the results of pushed audio."""
        return ResultStream(self, None, None, wants_events=False)

    async def cancel(self) -> None:
        """Have the vendor drop what is not recognised yet; what is there can still be iterated. Idempotent."""
        if self._link is not None and self._run.is_up and not self._run.ended.is_set():
            try:
                async with asyncio.timeout(self._timeouts.close):
                    await self._link.cancel()
            except (ASRError, TimeoutError):
                logger.debug("could not tell the vendor about the cancellation", exc_info=True)
        self._end(None)
        await self.aclose()

    async def aclose(self) -> None:
        """Leave now, whatever is under way. Idempotent; a loop that still waits gets a `LocalProtocolError`."""
        self._end(LocalProtocolError("the session was closed before the vendor confirmed the end"))
        try:
            self._run.phase = "closed"
            await self._run.tasks.cancel()
            for link in self._run.links:
                await link.close()
        except BaseException:  # cancelled on the way: without a goodbye then
            for link in self._run.links:
                link.abort()
            raise

    @property
    def stats(self) -> SessionStats:
        """A snapshot of this session's figures."""
        member = None if self._link is None else self._link.member
        return self._meter.snapshot(
            self._request_id,
            sent_bytes=self._ledger.sent_bytes,
            conflated=self._outbox.conflated,
            member=member,
        )

    # --- opening and closing -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._run.phase != "new":
            raise LocalProtocolError("a session is opened once: make another with client.session(...)")
        await self._run.tasks.group.__aenter__()
        self._run.phase = "opening"
        try:
            await self._open()
        except BaseException:
            await self.__aexit__()
            raise
        self._run.phase = "open"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        # Shielded: under a cancelled scope of the caller's, the goodbye would be cut off at its first await.
        with anyio.CancelScope(shield=True):
            try:
                await self.aclose()
            finally:
                self._permit.release()
                # Without the caller's exception: the group would wrap it.
                await self._run.tasks.group.__aexit__(None, None, None)

    async def _open(self) -> None:
        self._run.source_waits(_now())
        link = self._run.link = await self._dialer.open()
        self._delivery.begin(link)
        self._begin_on(link)
        self._raise_if_ended()
        self._run.tasks.start(self._receive_all(link))
        if self._retry.silence == "fill":
            self._run.tasks.start(self._fill_pauses())
        if self._options.audio.bytes_per_second is None and self._retry.attempts:
            logger.info(
                "%r: %s cannot be cut: a lost connection is mended while all of the audio fits into Retry.buffer_s=%g",
                self,
                self._options.audio.encoding,
                self._retry.buffer_s,
            )

    def _begin_on(self, link: RecognitionTask) -> None:
        """There is a connection to send on, the first one or another in its place."""
        run = self._run
        for event in link.opening_events:
            self._delivery.take(link, event)
        run.go_up()
        self._feed.go_on()
        if self._timeouts.first_result is not None:
            run.tasks.start(self._watch_first_result(link, self._timeouts.first_result))
        self._relay.attend(link)

    # --- receive task ------------------------------------------------------------------------------------------------

    async def _receive_all(self, link: RecognitionTask) -> None:
        """Read connection after connection, until the session has ended."""
        run = self._run
        try:
            while not run.ended.is_set():
                error = await self._receive_until_lost(link)
                if error is not None:
                    link = await self._relay.replace(link, error)
                elif run.link is not None and run.link is not link:
                    link = await self._relay.follow(link, run.link)
        except ASRError as error:
            self._end(error)
        finally:
            # not reached by any known way; a task that stops must never leave the caller waiting
            self._end(LocalProtocolError("the receiving of results was stopped"))
        await (link.release(self._connections) if run.is_confirmed else link.close())
        self._permit.release()  # the caller may stay in the session for long yet

    async def _receive_until_lost(self, link: RecognitionTask) -> ASRError | None:
        """Read a connection until it fails, and say how; None when the session has ended, or the connection retired."""
        try:
            await link.listen(functools.partial(self._delivery.take, link))
        except ASRError as error:
            return error
        match self._ending:
            case Failed():
                return self._ending.error
            case NoSpeech() as ending:
                return self._hear_nothing(link, ending)
            case Finished() if link is not self._run.retiring:
                self._run.is_confirmed = not self._run.ended.is_set()
                self._end(None)
        return None

    def _hear_nothing(self, link: RecognitionTask, event: NoSpeech) -> ASRError | None:
        """The vendor heard nobody: an error, but for the rest of a source of which there are words already."""
        if not self._delivery.has_finals:
            return event.error
        if link is not self._run.retiring:
            self._end(None)
        return None

    def _take_word_on_task(self, link: RecognitionTask, event: CodecEvent) -> None:
        """See to what the vendor says about the task itself."""
        if type(event) in ENDINGS:
            self._ending = cast("Ending", event)
            if link is self._link:  # and not one that retires
                self._run.go_down()
        elif isinstance(event, InputClosed):
            self._run.hear_enough()
            self._inbox.close()

    # --- send task ---------------------------------------------------------------------------------------------------

    def _begin(self, source: AudioSource, pace: float | None, *, wants_events: bool) -> None:
        """Hand a source to the send task; a session takes one."""
        if self._run.phase != "open":
            raise LocalProtocolError(f"the session is {self._run.phase}: open it with 'async with', and use it once")
        self._run.phase = "streaming"
        self._delivery.wants_events = wants_events
        if not self._run.ended.is_set():
            self._run.tasks.start(self._send_all(source, pace))

    def _begin_pushing(self) -> None:
        if self._run.phase == "open":
            self._begin(self._inbox, None, wants_events=False)
            self._run.phase = "pushing"
        elif self._run.phase != "pushing":
            raise LocalProtocolError(f"the session is {self._run.phase}: push only into an open one without stream()")

    async def _send_all(self, source: AudioSource, pace: float | None) -> None:
        try:
            await self._pump_until_enough(source, pace)
            self._run.source_ended = True
            self._run.source_spoke()
            self._feed.go_on()
            await self._watch_finish()
        except ASRError as error:
            self._end(error)
        finally:
            self._end(LocalProtocolError("the audio source was cancelled before its end"))

    async def _pump_until_enough(self, source: AudioSource, pace: float | None) -> None:
        """Send the source, to its end or until the vendor listens no more."""
        run = self._run
        if run.heard_enough:
            return
        try:
            # A timeout that `hear_enough` lets run out: it cancels once, so the source may still clean up.
            async with asyncio.timeout(None) as run.pumping:
                await self._pump(source, pace)
        except TimeoutError as error:
            if isinstance(error, ASRError) or not run.heard_enough:
                raise
        finally:
            run.pumping = None

    async def _pump(self, source: AudioSource, pace: float | None) -> None:
        """Send the whole source. What the source raises is kept for the end, when its audio has been recognised."""
        try:
            await preflight(source, self._options)
            reader = FrameReader(source, self._framer)
        except Exception as error:  # noqa: BLE001 - the caller's own error, handed on to the caller as it is
            self._fail_source(error)
            return
        bytes_per_second = self._dialer.description.audio_format.bytes_per_second
        self._meter.pacer = self._run.pacer = Pacer(bytes_per_second, pace, live=reader.live)
        try:
            while (frames := await self._next_frames(reader)) is not None:
                await self._take_in(frames, reader)
        finally:
            await reader.aclose()

    async def _next_frames(self, reader: FrameReader) -> list[AudioBytes] | None:
        """What the source brings next; None at its end, good or bad."""
        asked_at = _now()
        self._run.source_waits(asked_at)
        try:
            frames = await reader.next_frames()
        except Exception as error:  # noqa: BLE001 - the caller's own error, handed on to the caller as it is
            self._fail_source(error)
            return None
        now = _now()
        self._run.source_spoke()
        self._run.pacer.arrived(now, now - asked_at)
        return frames

    def _fail_source(self, error: Exception) -> None:
        self._run.source_error = error
        if self._meter.audio_started_at is None:
            self._end(error)  # nothing was sent, so there is nothing to wait for

    async def _take_in(self, frames: Sequence[AudioBytes], reader: FrameReader) -> None:
        """Put frames into the ledger, and have them sent.

        While there is no connection a file waits; other sources go on, since their audio would be lost at their end, as
        far as the ledger has room.
        """
        run, ledger = self._run, self._ledger
        for start in range(0, len(frames), AHEAD_FRAMES):
            if not self._outbox.has_room:
                await self._wait_for_room()
            while not (ledger.has_room and (run.is_up or reader.live is not False)):
                await run.next_move()
            ledger.add(*frames[start : start + AHEAD_FRAMES])
            self._feed.go_on()
            await self._feed.rest()

    def _let_receiver_speak_first(self, link: RecognitionTask, error: ASRError) -> None:
        """A send that fails is often the second sign: the vendor's own last word may still be on its way in.

        The receive task decides: when it has heard it, or found the connection lost, or had it cut under its feet.
        """
        if isinstance(error, LocalProtocolError):  # a defect on this side, which no other connection mends
            self._end(error)
            return
        if link is not self._link or not self._run.is_up:
            return  # it has found out already
        self._run.go_down()
        self._run.send_error = error
        if isinstance(error, DeadlineError):  # nothing moves on this connection any more
            link.abort()
        else:
            self._last_word = asyncio.get_running_loop().call_later(self._timeouts.close, link.abort)

    # --- a source that pauses -----------------------------------------------------------------------------------------

    async def _fill_pauses(self) -> None:
        """While the source brings nothing, send silence in its place, in real time.

        DashScope keeps a task open while silence is sent "continuously" (`heartbeat`, real-time recognition SDK page,
        2025-10); Huawei's timer asks for anything at all, but a sentence ends only in as much silence as in `vad_tail`.
        """
        run = self._run
        try:
            while not run.source_ended:
                await asyncio.sleep(max(FRAME_MS / 1000, FILL_AFTER_S - run.quiet_s(_now())))
                if run.quiet_s(_now()) < FILL_AFTER_S:
                    continue
                if run.is_sending:
                    await self._send_silence()
                else:
                    await run.next_move()
        except ASRError as error:
            self._end(error)

    async def _send_silence(self) -> None:
        """Send a frame of silence behind all that the source brought."""
        run, audio_format = self._run, self._dialer.description.audio_format
        if (rest := self._framer.cut()) is not None:
            self._ledger.add(rest)
            self._feed.go_on()
            await self._feed.rest()
        link = run.link
        if link is None or not run.is_sending or run.quiet_since is None or not self._ledger.is_drained:
            return
        if audio_format.header and not self._ledger.cursor_bytes:
            return  # the header has not come yet
        silence = audio_format.silence(audio_format.frame_bytes())
        link.silence.put(self._ledger.cursor_ms, len(silence))
        if run.rotate_at_bytes is not None:  # the vendor's limit counts silence too
            run.rotate_at_bytes -= len(silence)
            if self._ledger.cursor_bytes >= run.rotate_at_bytes:
                run.is_due.set()
        try:
            has_room = link.send_audio(silence)
            self._meter.sent_silence(len(silence))
            if not has_room:
                await link.drain()
        except (ConnectionLostError, DeadlineError) as error:
            self._let_receiver_speak_first(link, error)

    @property
    def _has_finished(self) -> bool:
        """Whether the vendor was told that no more audio comes."""
        return self._run.is_up and self._link is not None and self._link.is_finishing

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._timeouts.idle):
                await self._outbox.wait_for_room()
        except TimeoutError:
            raise DeadlineError(
                f"{len(self._outbox)} results wait to be taken, for {self._timeouts.idle:g} s now (Timeouts.idle): "
                "iterate the results while sending"
            ) from None

    async def _watch_first_result(self, link: RecognitionTask, at_most_s: float) -> None:
        """Give up a connection that takes audio and tells nothing, as long as none has."""
        began_at_bytes = self._ledger.cursor_bytes
        while self._link is link and self._ledger.cursor_bytes == began_at_bytes:
            await self._run.next_move()
        try:
            async with asyncio.timeout(at_most_s):
                await self._delivery.something_heard.wait()
        except TimeoutError:
            if not link.is_finishing:  # else `Timeouts.finish` holds
                text = f"no result within {at_most_s:g} s of the first audio (Timeouts.first_result)"
                self._let_receiver_speak_first(link, DeadlineError(text, retryable=True))

    async def _watch_finish(self) -> None:
        """Wait for the end, as long as the results get on, from when the vendor was told that no more audio comes.

        Before that sending has its own deadline, and recovery where there is no connection.
        """
        progress = self._delivery.progress
        while not self._run.ended.is_set():
            progress.clear()
            try:
                async with asyncio.timeout(self._timeouts.finish if self._has_finished else None):
                    await progress.wait()
            except TimeoutError:
                if self._has_finished:
                    text = f"the vendor did not confirm the end within {self._timeouts.finish:g} s (Timeouts.finish)"
                    self._end(DeadlineError(text, retryable=True, request_id=self._request_id or None))

    # --- the end -----------------------------------------------------------------------------------------------------

    def _end(self, error: BaseException | None) -> None:
        """The one end of the session; the first call counts."""
        run = self._run
        if run.ended.is_set():
            return
        self._delivery.give_out_all()
        if self._last_word is not None:
            self._last_word.cancel()
        self._relay.stop()
        error = run.source_error or error
        if isinstance(error, ASRError) and error.request_id is None:
            error.request_id = self._request_id or None
        run.error = error
        run.go_down()
        run.ended.set()
        run.moved()
        self._delivery.progress.set()
        self._inbox.close()
        self._outbox.close(error)
        run.tasks.cancel_others()

    def _raise_if_ended(self) -> None:
        if self._run.error is not None:
            raise self._run.error


class ResultStream(Generic[T]):
    """The results of one session as an async iterator. Abandoning it is free: the session cleans up."""

    def __init__(self, session: Session, audio: AudioSource | None, pace: float | None, *, wants_events: bool) -> None:
        self._session = session
        self._audio = audio
        self._pace = pace
        self._wants_events = wants_events

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[T]:
        """The next one; a plain method, so that waiting for a result is one coroutine and not two."""
        session = self._session
        if self._audio is not None:
            audio, self._audio = self._audio, None
            session._begin(audio, self._pace, wants_events=self._wants_events)  # noqa: SLF001 - the two are one
        return cast("Awaitable[T]", session._outbox.get())  # noqa: SLF001 - it holds what `wants_events` lets in


def _checked_pace(pace: float | None) -> float | None:
    if pace is not None and not pace > 0:
        raise ConfigurationError(f"pace={pace!r}: a positive number (1.0 is real time), or None for as fast as it goes")
    return pace


def _now() -> float:
    return asyncio.get_running_loop().time()
