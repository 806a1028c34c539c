"""A session: audio goes in, results come out, and between them there is one connection, or several in a row.

Theory of operation. `async with session` opens the first connection and starts the *receive task*, which reads one
connection after another to its end: messages go through the codec and the `Receiver` into the result queue in one call
stack. When a connection is lost, or has drained, the `Reconnector` provides the next one. The *send task* reads the
source into the replay buffer (`SourceReader`); the `Sender` sends the buffer as the pacer says, new and replayed audio
alike. The caller only iterates the queue. All parts share a `SessionStatus`, two state tables that refuse a step out of
order. There is one end (`SessionStatus.end`): the vendor's confirmation, or the first error that another connection
does not mend; it closes the queue behind the results that are in it, so an error never overtakes a result.

Does not know the messages of a vendor (its codec does), WebSocket (`_net` does), how a connection is opened
(`_connection` does), or when another one is needed (`_session.reconnect` does).
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import anyio

from ._connection.connector import Connector
from ._loop.owner import check_loop
from ._session.policy import ReconnectPolicy, check_silence, commit_refusal, longest_finish_s
from ._session.receiver import Receiver
from ._session.reconnect import Reconnector
from ._session.replay_buffer import replay_buffer_for
from ._session.result_queue import ConsumerWatch, ResultQueue
from ._session.sender import Sender, SourceReader
from ._session.state import SessionState, SessionStatus, SessionStep
from ._session.stats import StatsRecorder
from ._text.secret import tolerant_repr
from .audio import byte_view, framer_for
from .errors import ASRError, ConfigurationError, DeadlineError, LocalProtocolError
from .results import Event, Gap, Result, SessionStats
from .sources import (
    AudioChunk,
    AudioSource,
    PushSource,
    SourceErrorAction,
    TaskEnd,
    UtteranceEnd,
    check_source_type,
)
from .telemetry.observer import Observer, SessionInfo, check_tags
from .telemetry.session_log import SessionLogger
from .vendors.codec import Failed, Finished, NoSpeech

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from ._connection.pool import ConnectionPool
    from ._connection.task import RecognitionTask
    from ._limits.limiter import Limiter
    from .config import Retry, Timeouts
    from .telemetry.observer import ObserverGroup
    from .vendors.codec import Message
    from .vendors.options import ContextMessage, Options
    from .vendors.service import Service

__all__ = ["ResultStream", "Session"]

T = TypeVar("T", bound=Event)

_ONE_CONSUMER = (
    "the results of a session go to one loop, and another one has them: keep the iterator (results = "
    "session.stream(...)) to continue it, or make another session with client.session(...)"
)

_numbers = itertools.count(1)
"""The numbers of the sessions of this process; see `SessionInfo`."""


class Session:
    """One recognition: used with `async with`, once, by `stream`, by `events`, or by pushing audio with `send`.

    Made by `connect(...)` and `Client.session(...)`. Pushed audio looks like this, in one task or two:

        async with client.session(Paraformer()) as session:
            await session.send(chunk)  # again and again
            await session.finish()
            async for result in session:  # or: async for event in session.events()
                print(result.text)

    The results of a session go to one loop, once: keep the iterator of `stream` or `events` to continue it after a
    `break`; `async for ... in session` continues by itself. Everything else is a `LocalProtocolError`, since results
    would be missing in one of the loops: a second `stream` or `events`, a loop in a second task, and a loop behind the
    end.

    Each interim result replaces the one before it in its segment, the final replaces them all. Times are milliseconds
    from the first byte of the source, also after a reconnect. A caller that reads slowly loses no final: interims are
    conflated (only the newest of a segment is kept), and while a thousand results or 2 MiB of them wait, no more audio
    is sent. If the vendor sends so many results all the same that twice as much waits, the connection is read rarely,
    and at thrice as much not at all, until the caller has taken some. A caller that takes none for `Timeouts.idle`
    while audio or results are held back gets a `DeadlineError` behind them, and so does one whose vendor sends results
    without end that cover no new audio.

    Errors are raised behind the results that came before them, and unwrapped: an `ASRError` (see `asr_async.errors`),
    or the exception of the caller's own source. The end of the `async with` block closes the session and its tasks.
    """

    def __init__(
        self,
        service: Service,
        options: Options,
        *,
        timeouts: Timeouts,
        retry: Retry,
        pool: ConnectionPool,
        limiter: Limiter,
        observers: ObserverGroup,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._options = options
        self._timeouts = timeouts
        self._retry = retry
        self._pool = pool
        self._permit = limiter.session_permit()
        info = SessionInfo(
            number=next(_numbers),
            vendor=options.vendor,
            model=options.model,
            tags=check_tags(tags),
            provider=options.provider or options.vendor,
            language=options.spoken_language,
        )
        self._tags = info.tags
        self._log = log = SessionLogger(info)
        self._observers = observers.of_session(info)
        self._connector = Connector(
            service, options, timeouts=timeouts, pool=pool, permit=self._permit, log=log, observers=self._observers
        )
        description = self._connector.description
        check_silence(retry, options, takes_commits=description.takes_commits)
        # the iterator that receives the results; None before the first step
        self._consumer: ResultStream[Any] | None = None
        # the place behind the last result from which on the vendor recognises nothing, with its options; and the gap
        self._unheard_from: tuple[int, Options] | None = None
        self._unheard_gap: Gap | None = None
        self._unheard_until_ms = 0
        # the source that the session was given; filled by `send` if it is the inbox
        self._source: AudioSource | None = None
        self._inbox = PushSource(options)
        # the event loop that the session was opened in
        self._loop: asyncio.AbstractEventLoop | None = None
        audio_format = description.audio_format
        self._status = status = SessionStatus(self._on_end, self._observers)
        self._buffer = buffer = replay_buffer_for(audio_format, max_s=retry.buffer_s)
        self._queue = queue = ResultQueue()
        self._stats = stats = StatsRecorder(audio_format, self._observers)
        policy = ReconnectPolicy(retry)
        self._receiver = Receiver(
            status,
            queue,
            buffer=buffer,
            stats=stats,
            policy=policy,
            translation_s=timeouts.translation,
            log=log,
        )
        # the task that is read
        self._read_task: RecognitionTask | None = None
        self._consumer_watch = ConsumerWatch(
            queue,
            idle_s=timeouts.idle,
            pause_reading=self._pause_reading,
            resume_reading=self._resume_reading,
            end=status.end,
        )
        self._sender = Sender(status, buffer=buffer, stats=stats, timeouts=timeouts)
        framer = framer_for(audio_format, min_bytes=description.min_frame_bytes)
        self._reader = SourceReader(
            status,
            self._sender,
            framer,
            buffer=buffer,
            consumer=self._consumer_watch,
            stats=stats,
            options=options,
            retry=retry,
            log=log,
        )
        self._reconnector = Reconnector(
            status, self._connector, sender=self._sender, receiver=self._receiver, buffer=buffer, policy=policy, log=log
        )

    @tolerant_repr
    def __repr__(self) -> str:
        request = f" request {self._request_id}" if self._request_id else ""
        tags = "".join(f" {name}={value!r}" for name, value in self._tags.items())
        return f"<Session {self._options.model} {self._status.state.value}{request}{tags}>"

    @property
    def _task(self) -> RecognitionTask | None:
        """The vendor task that audio is sent to."""
        return self._status.connection.task

    @property
    def _request_id(self) -> str | None:
        return None if self._task is None else self._task.codec.request_id or None

    def _check_loop(self) -> None:
        if self._loop is not None:
            check_loop(self._loop, "this session")

    # --- public: audio in, results out -------------------------------------------------------------------------------

    def stream(
        self, audio: AudioSource, *, pace: float | None = 1.0, on_source_error: SourceErrorAction = "finish"
    ) -> ResultStream[Result]:
        """Send a source and iterate its results: `async for result in session.stream(source)`.

        The loop ends when the vendor has confirmed the end, or raises behind everything that was recognised until then:
        an `ASRError`, or the error of the source.

        Args:
            audio: an async (or plain) iterable of bytes-like chunks of any size, in the format of the options.
            pace: 1.0 is real time, 4.0 four times as fast, None as fast as the connection accepts audio. Frames of
                100 ms are sent by a schedule that does not drift; after a stall the stream catches up at four times its
                pace, not in one burst. A live source is never delayed. Compressed audio is paced by the time
                of its packets, and not at all if they are not known (m4a, WebM).
            on_source_error: if the source raises, "finish", the default, still recognises the audio before that, and
                raises the error behind the results. "cancel" raises it at once, behind the results so far, and drops
                the rest: for a source that ends because its caller has gone.

        Raises:
            ConfigurationError: an argument is invalid: a pace that is not positive, or something that is no source.
            LocalProtocolError: at the first step, if the session was used before.
        """
        if audio is None:
            raise ConfigurationError(
                "stream() needs a source; to iterate the results of pushed audio, iterate the session"
            )
        check_source_type(audio)
        _check_stream(pace, on_source_error)
        return ResultStream(self, audio, pace, wants_events=False, on_source_error=on_source_error)

    def events(
        self,
        audio: AudioSource | None = None,
        *,
        pace: float | None = 1.0,
        on_source_error: SourceErrorAction = "finish",
    ) -> ResultStream[Event]:
        """Iterate all events: results, and what happens between them; see `stream` and `Event`.

            async for event in session.events(source):
                match event:
                    case Result(is_final=True): ...
                    case Gap() | Reconnected(): ...

        Args:
            audio: see `stream`. None, the default, sends no source: the events are those of the audio that is pushed
                with `send`, before or meanwhile. No event is missing if the loop begins later.
            pace: see `stream`.
            on_source_error: see `stream`.

        Raises:
            ConfigurationError: see `stream`.
            LocalProtocolError: at the first step, if the session was used before.
        """
        if audio is not None:
            check_source_type(audio)
        _check_stream(pace, on_source_error)
        return ResultStream(self, audio, pace, wants_events=True, on_source_error=on_source_error)

    async def send(self, chunk: AudioChunk) -> None:
        """Push a chunk of audio, and return when there is room for more. Pushed audio is live, so it is not paced.

        For audio from before the session is open, and for other ways to act when there is no room, see `PushSource`.

        A vendor that takes no more audio, after its one sentence for instance, ends nothing: the results are in the
        loop, and the chunk is discarded. It is part of the `Gap` behind the last result, which grows in `session.gaps`
        if audio is pushed behind the end of the session.

        Raises:
            ASRError: the error that ended the session; results before it can still be iterated.
            ConfigurationError: the chunk is not bytes-like.
            LocalProtocolError: after `finish`, after the end of the session, beside `stream`, or in another event loop.
        """
        self._begin_pushing()
        status = self._status
        status.raise_if_failed()
        if self._discard(chunk):
            return
        if status.has_ended:
            raise LocalProtocolError("cannot send audio: the session has ended")
        try:
            await self._inbox.send(chunk)
        except LocalProtocolError:
            status.raise_if_failed()
            if not self._discard(chunk):
                raise
        status.raise_if_failed()

    def _discard(self, chunk: AudioChunk) -> bool:
        """Discard a chunk, and return True, if the vendor takes no more audio."""
        if not self._status.input_closed:
            return False
        self._reader.discard(byte_view(chunk).nbytes)
        if self._unheard_from is not None:  # the rest was reported already: the session has ended
            gap = self._reader.unheard(*self._unheard_from)
            if gap is not None and (self._unheard_gap is None or gap.end_ms > self._unheard_until_ms):
                self._unheard_until_ms = gap.end_ms
                self._unheard_gap = self._receiver.extend_gap(self._unheard_gap, gap)
        return True

    async def commit(self) -> None:
        """End an utterance: the vendor recognises the audio since the last commit (push-to-talk).

        Returns as `send` does. `finish` commits the rest.

        Raises:
            ASRError: the error that ended the session; results before it can still be iterated.
            ConfigurationError: the options leave it to the vendor to find the end of an utterance.
            LocalProtocolError: after `finish`, after the end of the session, or beside `stream`.
        """
        if not self._connector.description.takes_commits:
            raise ConfigurationError(commit_refusal(self._options))
        await self.send(UtteranceEnd())

    async def finalize(self) -> None:
        """Make everything final that was said until now, and go on; return when it is final, in the loop.

        A loop in another task, if it waits for results, has received them by then.

        For a push-to-talk key that is released, or a turn that a program has detected by itself: the vendor need not
        wait for silence. Where the protocol has commits, this is a commit. Elsewhere the vendor's task ends, and the
        next one begins with the next audio, on the same connection if the vendor takes several; times and segments go
        on. Audio that arrives meanwhile is kept. If nothing was said, nothing comes; only a commit may bring a final
        without text.

        It belongs to the audio that was pushed, or read from the source, before.

        Raises:
            ASRError: the error that ended the session; results before it can still be iterated.
            ConfigurationError: the model recognises one sentence in a session, or the audio is in a container that
                cannot be cut.
            DeadlineError: the vendor sent no final of a commit within `Timeouts.finish`; the session goes on.
            LocalProtocolError: before the session is open, after its end, or in another event loop.
        """
        self._check_loop()
        status = self._status
        if self._options.sentence_end_ms is not None:
            raise ConfigurationError(
                f"finalize(): {self._options.model} recognises one sentence in a session; use finish(), and a session "
                "for each sentence"
            )
        if status.state is SessionState.OPEN:
            return  # there was no audio yet
        if self._source is None:
            self._begin_pushing()
        status.raise_if_failed()
        if status.has_ended:
            raise LocalProtocolError("cannot finalize: the session has ended")
        mark = TaskEnd()
        source = self._source
        if status.source_has_ended or status.input_closed or (isinstance(source, PushSource) and source.is_closed):
            await status.ended.wait()  # everything becomes final
        elif isinstance(source, PushSource):
            await source.send(mark)
        else:
            self._reader.add_mark(mark)
        await self._wait_for(mark)
        status.raise_if_failed()
        if mark.error is not None:
            raise mark.error

    async def _wait_for(self, mark: TaskEnd) -> None:
        """Wait until a mark is completed, or the session has ended."""
        waits = asyncio.ensure_future(mark.wait()), self._status.ended.wait()
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def update_context(self, messages: Sequence[ContextMessage]) -> None:
        """Replace the context of the running recognition, by the answers of a bot for instance.

        Raises:
            ASRError: the error that ended the session.
            ConfigurationError: the model takes no context, or not as much.
            LocalProtocolError: before the session is open, or after its audio was finished.
        """
        self._check_loop()
        status, connection = self._status, self._status.connection
        status.raise_if_failed()
        while connection.task is not None and not connection.is_up and not status.has_ended:
            status.source.request_connection()  # there may be none while the source pauses
            await connection.next_change()
        status.raise_if_failed()
        if connection.task is None:
            raise LocalProtocolError(f"the session is {status.state.value}: open it before you update its context")
        context_messages = self._context_messages(connection.task, messages)
        self._reconnector.context = tuple(messages)
        await connection.task.send(context_messages)

    def _context_messages(self, task: RecognitionTask, context: Sequence[ContextMessage]) -> Sequence[Message]:
        try:
            return task.context_messages(context)
        except ConfigurationError as error:
            if not task.is_substitute:
                raise
            self._log.info("%r: the substitute %s takes no context: %s", self, task.member, error)
            return ()

    async def finish(self) -> None:
        """Announce that no more audio comes, and wait until the vendor has confirmed that all results have arrived.

        The results are in the loop `async for result in session`, at the same time or later. Idempotent.

        Raises:
            ASRError: the error that ended the session instead.
        """
        self._begin_pushing()
        self._inbox.close()
        await self._status.ended.wait()
        self._status.raise_if_failed()

    def __aiter__(self) -> ResultStream[Result]:
        """Iterate the results of pushed audio, from where the last loop was left on."""
        return ResultStream(self, None, None, wants_events=False)

    async def cancel(self) -> None:
        """Drop the audio that is not recognised yet, and close; results before it can still be iterated. Idempotent."""
        self._check_loop()
        await self._cancel_task()
        self._status.end(None)
        await self.aclose()

    async def _cancel_task(self) -> None:
        """Have the vendor drop the audio that it has not recognised yet, as far as that is possible."""
        task = self._task
        if task is not None and self._status.connection.is_up:
            try:
                async with asyncio.timeout(self._timeouts.close):
                    await task.cancel()
            except (ASRError, TimeoutError):
                self._log.debug("the cancellation could not be sent to the vendor", exc_info=True)

    async def aclose(self) -> None:
        """Close at once, whatever is in progress. Idempotent; a loop that still waits gets a `LocalProtocolError`."""
        self._check_loop()
        status = self._status
        status.end(LocalProtocolError("the session was closed before the vendor confirmed the end"))
        status.advance(SessionStep.CLOSE)
        tasks = status.connection.tasks
        try:
            await status.tasks.cancel()
            tasks = status.connection.tasks
            for task in tasks:
                await task.close()
        except BaseException:  # cancelled meanwhile: without the closing handshake then
            for task in tasks:
                task.abort()
            raise

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The lost audio of this session so far, the newest 10,000 gaps: audio that no final covers, and none will.

        `events` delivers each gap in its place. A caller of results finds its length in `Result.lost_before_ms`.
        """
        return tuple(self._stats.gaps)

    def wall_time(self, source_ms: int) -> float | None:
        """Return the time of day at which the audio at a place in the source was sent, as `time.time()` gives it.

        For live audio it is the time of the speech: `session.wall_time(result.start_ms)`. Audio that is sent again
        after a reconnect keeps its first time, and audio that waited for a connection has the time of its arrival. The
        time of a place behind the newest audio is that at which real time reaches it. The figure is good to a tenth of
        a second in real time, to a second otherwise.

        Returns:
            The seconds since the epoch; None if it is not known: for compressed audio, for audio that was sent more
            than two minutes ago, and before the first audio was sent.
        """
        sent_at = None if self._loop is None else self._stats.sent_at(self._receiver.to_own_ms(source_ms))
        return None if self._loop is None or sent_at is None else time.time() - (self._loop.time() - sent_at)

    @property
    def stats(self) -> SessionStats:
        """The figures of this session so far."""
        return self._stats.snapshot(
            self._request_id or "",
            sent_ms=self._buffer.sent_ms,
            conflated=self._queue.conflated,
            member=None if self._task is None else self._task.member,
            tags=self._tags,
        )

    # --- opening and closing -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._check_loop()
        self._status.advance(SessionStep.OPEN)
        self._loop = asyncio.get_running_loop()
        for part in (self._receiver, self._sender, self._reader):
            part.bind(self._loop)
        if self._observers is not None:
            self._observers.notify(Observer.on_session_start)
        await self._status.tasks.group.__aenter__()
        try:
            await self._open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        # Shielded: under a cancelled scope of the caller's, the closing would be cut off at its first await.
        with anyio.CancelScope(shield=True):
            try:
                await self.aclose()
            finally:
                self._permit.release()
                # Without the caller's exception: the group would wrap it.
                await self._status.tasks.group.__aexit__(None, None, None)

    async def _open(self) -> None:
        status = self._status
        status.source.record_wait(_now())
        task = await self._reconnector.open_first()
        status.raise_if_failed()
        status.advance(SessionStep.CONNECTED)
        status.tasks.start(self._receive_all(task))
        if self._retry.silence == "fill":
            status.tasks.start(self._fill_pauses())

    def _on_end(self, error: BaseException | None) -> None:
        """Close everything that is open, in the order that the caller sees: pending finals, then the end."""
        self._receiver.release_all()
        if error is None:
            self._receiver.finish()
        self._consumer_watch.stop()
        self._sender.stop()
        self._reconnector.stop()
        source_error = self._status.source.error
        if isinstance(error, ASRError) and source_error is None and error.request_id is None:
            error.request_id = self._request_id  # one of the source is none of the vendor's
        error = source_error or error or self._status.codec_error
        for source in (self._inbox, self._source):
            if isinstance(source, PushSource):
                source.end(error)
        self._queue.close(error)
        self._status.tasks.cancel_others()
        if self._observers is not None:
            self._observers.notify(Observer.on_session_end, error=error, stats=self.stats)

    # --- receive task ------------------------------------------------------------------------------------------------

    async def _receive_all(self, task: RecognitionTask) -> None:
        """Read connection after connection, until the session has ended."""
        status = self._status
        try:
            while not status.has_ended:
                error = await self._receive_until_end(task)
                if error is not None:
                    task = await self._reconnector.replace(task, error)
                elif task is status.connection.draining:
                    task = await self._reconnector.follow(task)
        except ASRError as error:
            status.end(error)
        finally:
            # Not reached in any known way: a receive task that stops must never leave the caller waiting.
            status.end(LocalProtocolError("the receiving of results was stopped"))
        if status.is_confirmed:
            task.release(self._pool)
        await task.close()
        self._permit.release()  # the caller may stay in the session for a long time

    async def _receive_until_end(self, task: RecognitionTask) -> ASRError | None:
        """Read a task until it ends; return the error that ended it, or None if it drained or the session has ended."""
        status = self._status
        self._read_task = task
        try:
            await task.listen(functools.partial(self._receiver.receive, task))
        except ASRError as error:
            return error
        is_draining = task is status.connection.draining
        match status.connection.ending:
            case Failed() as ending:
                return ending.error
            case NoSpeech() | Finished() if is_draining:
                return None
            case NoSpeech() as ending if not self._receiver.has_finals:
                return ending.error
            case NoSpeech():  # the rest of a source that other connections have recognised
                await self._report_unheard(task)
                status.end(None)
            case Finished():
                await self._report_unheard(task)
                if task.is_end_assumed and not status.has_ended:
                    self._receiver.release_all()
                    self._receiver.finish()
                    self._receiver.record_assumed_end(self._buffer.sent_ms, task)
                status.confirm()
        return None

    async def _report_unheard(self, task: RecognitionTask) -> None:
        """Report the rest of the source as a gap, if the vendor did not recognise all of it.

        A model of one sentence ignores the audio behind it, also if the source had ended before the sentence was over.
        """
        status, options = self._status, task.choice.options
        has_sentence = options.sentence_end_ms is not None and self._receiver.has_finals
        is_whole = status.source_has_ended and not status.input_closed and not has_sentence
        if status.has_ended or self._source is None or is_whole:
            return
        if not status.source_has_ended:
            status.close_input()
        await self._reader.wait_until_counted()
        if status.ended.is_set():
            return
        self._receiver.release_all()
        self._receiver.finish()
        self._unheard_from = self._receiver.covered_ms, options
        gap = self._reader.unheard(*self._unheard_from)
        if gap is not None:
            self._unheard_until_ms = gap.end_ms
            self._unheard_gap = self._receiver.record_gap(gap, task)

    # --- consumer ----------------------------------------------------------------------------------------------------

    def _set_consumer(self, stream: ResultStream[Any]) -> None:
        """Deliver results to this iterator from now on, and begin to send its source.

        Raises:
            LocalProtocolError: another iterator receives them, or the session cannot send a source.
        """
        previous = self._consumer
        if stream.audio is not None and previous is None:
            self._begin(stream.audio, stream.pace, SessionStep.STREAM, on_source_error=stream.on_source_error)
        elif stream.audio is not None and self._source is not None:
            raise self._status.refusal(SessionStep.STREAM)
        elif self._status.state is SessionState.NEW:
            raise LocalProtocolError("cannot iterate the results while the session is new: open it with 'async with'")
        elif previous is not None:
            if stream.is_replaced or not (stream.is_of_session and previous.is_of_session):
                if not len(self._queue):  # its own error is the one to see, if all results before it were seen
                    self._status.raise_if_failed()
                raise LocalProtocolError(_ONE_CONSUMER)
            self._queue.check_not_awaited()
            previous.is_replaced = True
        self._consumer = stream
        if previous is None:
            self._receiver.start_delivery(wants_events=stream.wants_events)

    def _pause_reading(self) -> None:
        if self._read_task is not None:
            self._read_task.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_task is not None:
            self._read_task.resume_reading()

    # --- send task ---------------------------------------------------------------------------------------------------

    def _begin(
        self,
        source: AudioSource,
        pace: float | None,
        step: SessionStep,
        *,
        on_source_error: SourceErrorAction = "finish",
    ) -> None:
        """Give the session its source."""
        if self._source is not None:
            raise self._status.refusal(step)
        self._status.advance(step)
        self._source = source
        if not self._status.has_ended:
            self._status.tasks.start(self._send_all(source, pace, on_source_error))
        elif isinstance(source, PushSource):
            source.end(self._status.error)

    def _begin_pushing(self) -> None:
        self._check_loop()
        if self._source is not self._inbox:
            self._begin(self._inbox, None, SessionStep.PUSH)

    async def _send_all(self, source: AudioSource, pace: float | None, on_source_error: SourceErrorAction) -> None:
        status = self._status
        try:
            await self._reader.read(source, pace)
            if on_source_error == "cancel" and status.source.error is not None:
                await self._cancel_task()
                status.end(status.source.error)
            await self._watch_finish()
        except ASRError as error:
            status.end(error)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the session ends with it
            # The source's own, as GeneratorExit, or one that its closing raised. The task group would wrap it.
            if status.has_ended:
                self._log.warning("%r: the source raised an error after the end of the session", self, exc_info=error)
            status.end(error)
        finally:
            status.end(LocalProtocolError("the audio source was cancelled before its end"))

    async def _fill_pauses(self) -> None:
        try:
            await self._reader.fill_pauses()
        except ASRError as error:
            self._status.end(error)

    async def _watch_finish(self) -> None:
        """Wait for the end as long as the results make progress, once it was announced that no more audio comes.

        Before that, sending has a deadline of its own, and so has a reconnect. The end as a whole has one too, so that
        the smallest steps do not keep the session open (`longest_finish_s`). While the caller's results have no room,
        the vendor's messages are not read, and the vendor is waited for. A vendor that never confirms the end is quiet
        only when the audio could have been recognised in real time (`RecognitionTask.owed_s`), and so it is until then.
        """
        status, finish_s = self._status, self._timeouts.finish
        finishing_task: RecognitionTask | None = None
        while not status.has_ended:
            status.progress.clear()
            deadline = None
            if self._is_finishing and self._task is not None:
                now = _now()
                if finishing_task is not self._task:
                    finishing_task, last_at = self._task, now + self._longest_finish_s()
                deadline = min(now + self._task.owed_s() + finish_s, last_at)
            try:
                async with asyncio.timeout_at(deadline):
                    await status.progress.wait()
            except TimeoutError:
                if not self._is_finishing:
                    continue
                if self._consumer_watch.is_holding_back and not self._consumer_watch.is_flooded:
                    last_at = max(last_at, _now() + finish_s)
                    continue
                text = f"the vendor did not confirm the end within {finish_s:g} s (Timeouts.finish)"
                status.end(DeadlineError(text, retryable=True, request_id=self._request_id))

    def _longest_finish_s(self) -> float:
        rest_ms = max(0, self._buffer.longest_sent_ms - self._receiver.progress_ms)
        return longest_finish_s(self._timeouts.finish, rest_ms)

    @property
    def _is_finishing(self) -> bool:
        """True if the vendor knows that no more audio comes."""
        return self._status.connection.is_up and self._task is not None and self._task.is_finishing


class ResultStream(Generic[T]):
    """The results, or all events, of one session as an async iterator. It may be abandoned: the session cleans up."""

    __slots__ = ("_session", "audio", "is_replaced", "on_source_error", "pace", "wants_events")

    def __init__(
        self,
        session: Session,
        audio: AudioSource | None,
        pace: float | None,
        *,
        wants_events: bool,
        on_source_error: SourceErrorAction = "finish",
    ) -> None:
        self._session = session
        self.audio: AudioSource | None = audio
        self.pace: float | None = pace
        self.on_source_error: SourceErrorAction = on_source_error
        self.wants_events: bool = wants_events
        # a later loop over the session receives its results
        self.is_replaced: bool = False

    @property
    def is_of_session(self) -> bool:
        """True for an iterator of the session itself: `async for ... in session`."""
        return self.audio is None and not self.wants_events

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[T]:
        """Return the next event; a plain method, so that waiting for it costs one coroutine and not two."""
        session = self._session
        if asyncio.get_running_loop() is not session._loop:  # noqa: SLF001 - the two are one
            session._check_loop()  # noqa: SLF001
        if session._consumer is not self:  # noqa: SLF001
            session._set_consumer(self)  # noqa: SLF001
        return cast("Awaitable[T]", session._queue.get())  # noqa: SLF001 - it contains what `wants_events` allows


def _check_stream(pace: float | None, on_source_error: str) -> None:
    is_number = isinstance(pace, int | float) and not isinstance(pace, bool)
    if pace is not None and not (is_number and pace > 0):
        raise ConfigurationError(f"pace={pace!r}: a positive number (1.0 is real time), or None for as fast as it goes")
    if on_source_error not in {"finish", "cancel"}:
        raise ConfigurationError(f"on_source_error={on_source_error!r}: must be 'finish' or 'cancel'")


def _now() -> float:
    return asyncio.get_running_loop().time()
