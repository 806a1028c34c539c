"""One session: a source on one side, results on the other, and in between one connection, or several in a row.

Theory of operation. `async with session` connects, opens the task and starts the *receive task*: it reads every message
at once and puts what it means into the outbox; when its connection is lost it makes the next one (`_recovery` says
whether and when). The *send task* takes audio from the source into the ledger, and sends what the ledger holds when the
pacer says so; after a reconnect a *replay task* does the same with what no final result covers, and whoever is at it
does it for both. The caller only iterates the outbox. There is one end (`_end`): the vendor's confirmation, or the
first error that cannot be mended; it closes the outbox behind what is already in it, so results are never overtaken by
an error.

A session does not know any vendor's messages (the codec does) nor WebSocket (the transport does), nor how a connection
is opened and closed (the link does).
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import anyio
import msgspec

from ._ledger import Ledger, Lost
from ._link import Link
from ._meter import Meter
from ._outbox import Outbox
from ._pacer import Pacer
from ._recovery import Recovery, Retry, rotation_s
from ._ticker import Ticker
from ._timeline import Timeline
from .audio import Framer
from .errors import (
    ASRError,
    AudioLostError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    LocalProtocolError,
    VendorError,
)
from .results import Event, Gap, Reconnected, Result, SessionStats, TranslationArrived
from .sources import AudioChunk, AudioSource, ChunkReader, PushedAudio, UtteranceEnd, preflight
from .vendors.codec import (
    CommittingCodec,
    EnoughAudio,
    Failed,
    Finished,
    NothingHeard,
    Started,
    Unrecognised,
    Usage,
    Waiting,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from ._pool import Connections
    from .vendors.codec import Codec, CodecEvent, Frame
    from .vendors.options import ContextMessage, Options
    from .vendors.service import Service, Target

__all__ = ["ResultStream", "Session", "Timeouts"]

logger = logging.getLogger("asr_async")

SEGMENT_PATIENCE_S = 30.0
"""How long an old connection is kept because somebody goes on speaking; the vendors cut a segment at 60 s."""

QUIET_S = 10.0
"""A source that brought nothing for so long has nothing to say. The vendors' own timers are 20 s and more."""

ROTATION_RETRY_S = 5.0
"""Between attempts to open the next connection ahead; the present one is still good."""

T = TypeVar("T", bound=Event)


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Deadlines in seconds; every wait on the other side has one.

    Raises:
        ConfigurationError: one is not a positive number.
    """

    connect: float = 10.0
    """Credentials, name, TCP, TLS and handshake together."""
    start: float = 10.0
    """Opening the task → the vendor is ready; the vendors' own samples give up after 10 s."""
    idle: float = 20.0
    """No sign of life at all, not even an answer to a ping; also how long a blocked send may take."""
    finish: float = 10.0
    """After `finish`: without any progress of the results in the audio. A long backlog that is being worked off
    takes as long as it takes; a vendor that never confirms the end does not."""
    translation: float = 5.0
    """How long a final result waits for the final translation into each language that was asked for. It is given out
    earlier when all of them are there, when a later segment's translation is final, or at the end of the session; see
    `Result.translations`."""
    close: float = 5.0
    """The closing handshake."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value > 0:
                raise ConfigurationError(f"Timeouts({name}={value!r}): must be a positive number of seconds")


class Session:
    """One recognition, to be used with `async with`, once: by `stream`, by `events`, or by pushing with `send`.

    Made by `connect(...)` and `Client.session(...)`.
    """

    def __init__(
        self, service: Service, options: Options, *, timeouts: Timeouts, retry: Retry, connections: Connections
    ) -> None:
        self._service = service
        self._options = options
        self._timeouts = timeouts
        self._retry = retry
        self._connections = connections
        # never started: for what is the same on every connection
        self._prototype = self._new_codec()
        # the two ends of the pipe; a link exists from `__aenter__` on
        self._link: Link | None = None
        # the link that is read, which is the other one while that retires
        self._heard: Link | None = None
        self._outbox = Outbox()
        # what `send` fills and the send task empties; never used by a session that is given a source
        self._inbox = PushedAudio()
        self._ledger = Ledger(self._prototype.audio_format, max_s=retry.buffer_s)
        self._timeline = Timeline()
        self._stretch = self._timeline.stretch(0)
        # where in the source the connection took over that a retiring one made room for
        self._boundary_ms = 0
        self._recovery = Recovery(retry)
        self._rotation_s = rotation_s(retry, options)
        self._run = _Run()
        self._meter = Meter(self._prototype.audio_format)

    def __repr__(self) -> str:
        ended = self._run.ended.is_set() and self._run.phase != "closed"
        phase = "ended" if ended else self._run.phase
        return f"<Session {self._options.model} {phase} request {self._codec.request_id}>"

    @property
    def _codec(self) -> Codec:
        return self._prototype if self._link is None else self._link.codec

    @property
    def _links(self) -> list[Link]:
        return [link for link in (self._link, self._run.retiring) if link is not None]

    async def _open_link(self) -> tuple[Link, list[CodecEvent]]:
        return await Link.open(self._service, self._options, self._timeouts, self._new_codec, self._connections)

    def _new_codec(self, target: Target | None = None) -> Codec:
        task_id = uuid.uuid4().hex
        if target is not None and target.choice is not None:
            return target.choice.codec(task_id=task_id)
        return self._service.codec(self._options, task_id=task_id)

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
            await self._run.next_move()
        self._raise_if_ended()
        frames = self._update_frames(messages)
        self._run.context = tuple(messages)  # a later connection has to know it too
        if self._link is not None:
            await self._link.send(frames)

    def _update_frames(self, messages: Sequence[ContextMessage]) -> Sequence[Frame]:
        try:
            return self._codec.update(messages)
        except ConfigurationError as error:
            if self._link is None or not self._link.is_substitute:
                raise
            logger.info("%r: %s takes no context while it stands in: %s", self, self._link.member, error)
            return ()

    async def commit(self) -> None:
        """End an utterance: the vendor recognises what was pushed since the last commit (push-to-talk).

        Returns as `send` does; `finish` commits the rest by itself.

        Raises:
            ASRError: what ended the session; results that came before it can still be iterated.
            ConfigurationError: the options leave it to the vendor where an utterance ends.
            LocalProtocolError: after `finish`, or beside `stream`.
        """
        if not (isinstance(self._prototype, CommittingCodec) and self._prototype.takes_commits):
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
            await self._run.stop()
            for link in self._links:
                await link.close()
        except BaseException:  # cancelled on the way: without a goodbye then
            for link in self._links:
                link.abort()
            raise

    @property
    def stats(self) -> SessionStats:
        """A snapshot of this session's figures."""
        member = None if self._link is None else self._link.member
        return self._meter.snapshot(self._codec.request_id, self._outbox.conflated, member)

    # --- opening and closing -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._run.phase != "new":
            raise LocalProtocolError("a session is opened once: make another with client.session(...)")
        await self._run.group.__aenter__()
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
                # Without the caller's exception: the group would wrap it.
                await self._run.group.__aexit__(None, None, None)

    async def _open(self) -> None:
        link, events = await self._open_link()
        self._link = link
        for event in events:
            self._take(event)
        self._raise_if_ended()
        self._run.is_up = True
        self._run.start(self._receive_all(link))
        self._plan_rotation(link)

    # --- receive task ------------------------------------------------------------------------------------------------

    async def _receive_all(self, link: Link) -> None:
        """Read connection after connection, until the session has ended."""
        try:
            while not self._run.ended.is_set():
                error = await self._receive_until_lost(link)
                if error is not None:
                    error = self._go_down(error)
                    link = await self._reconnect(link, error)
                elif self._link is not None and self._link is not link:
                    link = await self._follow(link, self._link)
        except ASRError as error:
            self._end(error)
        finally:
            # not reached by any known way; a task that stops must never leave the caller waiting
            self._end(LocalProtocolError("the receiving of results was stopped"))
        await (link.release(self._connections) if self._run.is_confirmed else link.close())

    async def _receive_until_lost(self, link: Link) -> ASRError | None:
        """Read a connection until it fails, and say how; None when the session has ended, or the connection retired."""
        self._heard = link
        try:
            ending = await link.listen(self._take)
        except ASRError as error:
            return error
        match ending:
            case Failed():
                return ending.error
            case NothingHeard():
                return self._hear_nothing(link, ending)
            case Finished() if link is not self._run.retiring:
                self._run.is_confirmed = not self._run.ended.is_set()
                self._end(None)
        return None

    def _hear_nothing(self, link: Link, event: NothingHeard) -> ASRError | None:
        """The vendor heard nobody: an error, but for the rest of a source of which there are words already."""
        if not self._timeline.has_finals:
            return event.error
        if link is not self._run.retiring:
            self._end(None)
        return None

    def _take(self, event: CodecEvent) -> None:
        match event:
            case Finished() | Failed() | NothingHeard():
                if self._heard is self._link:  # and not one that retires
                    self._run.is_up = False
            case Started():
                pass
            case EnoughAudio():
                self._run.hear_enough()
                self._inbox.close()
            case Waiting():
                self._run.waiting[event.segment_id] = asyncio.get_running_loop().call_later(
                    self._timeouts.translation, self._give_out, event.segment_id
                )
            case Usage():
                self._meter.used(event.seconds)
            case Unrecognised():
                self._report_once(event)
            case _:
                if (placed := self._stretch.place(event)) is not None:
                    self._deliver(placed)

    def _deliver(self, event: Event) -> None:
        if isinstance(event, Result):
            self._meter.received(event, _now())
            if event.is_final:
                self._ledger.cover(self._timeline.covered_ms)
                self._recovery.made_progress()
                if self._heard is not None:
                    self._heard.made_progress()
                if self._timeline.is_between_segments:
                    self._run.segment_ended.set()
            if event.end_ms > self._run.progress_ms:
                self._run.progress_ms = event.end_ms
                self._run.progress.set()
            self._outbox.put(event)
        elif self._run.wants_events:
            self._outbox.put(event)
        elif isinstance(event, TranslationArrived):
            logger.warning("%r: a translation came after its final, which session.events() would show", self)

    def _give_out(self, segment_id: int) -> None:
        """A final has waited long enough for what may still belong to it."""
        self._run.waiting.pop(segment_id).cancel()
        for event in self._heard.codec.overdue(segment_id) if self._heard is not None else ():
            self._take(event)

    def _report_once(self, event: Unrecognised) -> None:
        if event.name not in self._run.reported:
            self._run.reported.add(event.name)
            logger.info("%r: unknown to this version: %s: %.200s", self, event.name, event.raw)

    # --- the next connection -----------------------------------------------------------------------------------------

    def _go_down(self, error: ASRError) -> ASRError:
        """The connection is lost: what no final result covers is to be sent again.

        What waits for a translation goes on waiting, for a connection on which it will be heard again, or the end.
        """
        run = self._run
        run.is_up = False
        if run.retiring is not None and self._link is not None:
            self._link.abort()  # what it heard came behind what is now to be heard again
            run.retire(None)
        if (lost := self._ledger.rewind(min_bytes=self._prototype.frame_limits[0])) is not None:
            run.lost.append(lost)
        run.pacer.rewind(self._ledger.cursor_bytes, _now())
        for timer in run.waiting.values():
            timer.cancel()
        # where sending failed first, and the receiver had nothing better to say than that it was cut off
        first, run.send_error = run.send_error, None
        return first if first is not None and isinstance(error, ConnectionLostError) else error

    async def _reconnect(self, link: Link, error: ASRError) -> Link:
        """Make the next connection and begin where the last final result ended.

        Raises:
            ASRError: it is not to be mended, or not any more.
        """
        if error.retryable and self._retry.attempts:
            await self._wait_out_silence(error)
        elsewhere = link.lost(error)
        # who has heard one sentence to its end is not asked for another
        while not self._run.heard_enough:
            delay_s = self._recovery.delay_s(error, random.random(), elsewhere=elsewhere)  # noqa: S311
            if delay_s is None:
                break
            link.abort()
            logger.info("%r: attempt %d in %.2f s after: %s", self, self._recovery.attempt, delay_s, error)
            await asyncio.sleep(delay_s)
            try:
                link, events = await self._open_link()
            except ASRError as refusal:
                error, elsewhere = refusal, False
                continue
            try:
                await self._resume(link, events, error)
            except (ConnectionLostError, DeadlineError) as lost:
                error, elsewhere = lost, link.lost(lost)
                continue
            except BaseException:
                await link.close()
                raise
            return link
        raise error

    async def _wait_out_silence(self, error: ASRError) -> None:
        """A vendor that gave up a source with nothing to say is not asked again before there is something to say."""
        run = self._run
        is_quiet = _now() - run.audio_at >= QUIET_S and self._timeline.is_between_segments
        if isinstance(error, VendorError) and is_quiet and not run.source_ended:
            run.audio_came.clear()
            await run.audio_came.wait()

    async def _resume(self, link: Link, events: list[CodecEvent], error: ASRError) -> None:
        while self._run.lost:
            self._report_loss(self._run.lost.pop(0), error)
        self._link = link
        self._stretch = self._timeline.stretch(self._ledger.cursor_ms)
        self._run.waiting.clear()
        self._meter.reconnected()
        if self._run.wants_events:
            self._outbox.put(Reconnected(at_ms=self._ledger.cursor_ms, reason=str(error)))
        await self._pass_on_context(link)
        for event in events:
            self._take(event)
        self._run.is_up = True
        self._run.moved.set()
        self._run.progress.set()
        self._run.start(self._replay())
        self._plan_rotation(link)

    async def _pass_on_context(self, link: Link) -> None:
        if self._run.context is None:
            return
        try:
            await link.update(self._run.context)
        except ConfigurationError as error:  # it was taken before, so this is another member
            logger.info("%r: goes on without its context: %s", self, error)

    def _report_loss(self, lost: Lost, error: ASRError) -> None:
        """Say which audio is given up, by an error or an event.

        Raises:
            AudioLostError: the caller wants no transcript with a gap, or nothing more can be sent.
        """
        if lost.end_ms is None or self._retry.on_gap == "raise":
            raise AudioLostError.between(lost.start_ms, lost.end_ms, error)
        gap = Gap(start_ms=lost.start_ms, end_ms=lost.end_ms, reason=str(error))
        self._meter.lost_ms += gap.end_ms - gap.start_ms
        if self._run.wants_events:
            self._outbox.put(gap)
        else:
            logger.warning("%r: %r, which session.events() would show", self, gap)

    async def _replay(self) -> None:
        """Send what was kept, beside a send task that may be waiting for its source."""
        try:
            await self._drain()
        except ASRError as error:
            self._end(error)

    # --- a connection that is replaced before it is lost -------------------------------------------------------------

    def _plan_rotation(self, link: Link) -> None:
        if link.better_in_s() is not None:
            self._run.start(self._return(link))
        rotation_s = min((s for s in (self._rotation_s, link.rotation_s) if s is not None), default=None)
        self._run.rotate_at_bytes = None
        if rotation_s is not None:
            limit_bytes = self._prototype.audio_format.to_bytes(round(rotation_s * 1000))
            self._run.rotate_at_bytes = self._ledger.cursor_bytes + limit_bytes
            self._run.start(self._rotate(link, rotation_s))

    async def _rotate(self, link: Link, after_s: float) -> None:
        """When the connection is old, open the next one, and send on that from the end of a segment on."""
        run = self._run
        run.is_due.clear()
        await _wait(run.is_due, after_s)
        following = await self._open_following(link)
        if following is not None:
            await self._hand_over(link, following)

    async def _return(self, link: Link) -> None:
        """While another member stands in: when a better one answers again, go on there from the end of a segment on."""
        while self._link is link and not self._run.source_ended and (wait_s := link.better_in_s()) is not None:
            await asyncio.sleep(wait_s)
            better = await self._open_better(link)
            if better is not None:
                logger.info("%r: %s answers again, %s has stood in", self, better.member, link.member)
                await self._hand_over(link, better)

    async def _hand_over(self, link: Link, following: Link) -> None:
        """Send on the next connection from the end of a segment on, if the present one still lives by then."""
        try:
            await self._hand_over_at_segment_end(link, following)
        finally:
            if self._link is not following:
                following.abort()

    async def _hand_over_at_segment_end(self, link: Link, following: Link) -> None:
        run = self._run
        run.segment_ended.clear()
        await _wait(run.segment_ended, SEGMENT_PATIENCE_S)
        async with run.sending:
            if self._link is not link or not run.is_up or run.source_ended:
                await following.close()
                return
            self._link = following
            run.retire(link, asyncio.get_running_loop().call_later(self._timeouts.finish, link.abort))
            self._boundary_ms = self._ledger.cursor_ms
            try:
                await link.finish()
            except (ConnectionLostError, DeadlineError):
                link.abort()
        self._plan_rotation(following)

    async def _open_following(self, link: Link) -> Link | None:
        """The next connection; None when there is none to be had, or none needed any more."""
        while self._link is link and not self._run.source_ended:
            try:
                following, _ = await self._open_link()
                await self._pass_on_context(following)
            except ASRError as error:
                logger.warning("%r: the next connection could not be opened ahead: %s", self, error)
                if not error.retryable:
                    return None
                await asyncio.sleep(ROTATION_RETRY_S)
            else:
                return following
        return None

    async def _open_better(self, link: Link) -> Link | None:
        """A connection to a better member than the one that stands in; None when there is none yet, or none needed."""
        if self._link is not link or self._run.source_ended:
            return None
        better = await link.open_better(
            self._service, self._options, self._timeouts, self._new_codec, self._connections
        )
        if better is not None:
            try:
                await self._pass_on_context(better)
            except (ConnectionLostError, DeadlineError):
                better.abort()
                return None
        return better

    async def _follow(self, retired: Link, link: Link) -> Link:
        """The retired connection has told everything: what comes next is the other one's."""
        run = self._run
        run.retire(None)
        run.progress.set()
        for timer in run.waiting.values():
            timer.cancel()
        run.waiting.clear()
        self._ledger.cover(self._boundary_ms)
        self._stretch = self._timeline.stretch(self._boundary_ms)
        self._meter.next_task()
        await retired.close()
        return link

    # --- send task ---------------------------------------------------------------------------------------------------

    def _begin(self, source: AudioSource, pace: float | None, *, wants_events: bool) -> None:
        """Hand a source to the send task; a session takes one."""
        if self._run.phase != "open":
            raise LocalProtocolError(f"the session is {self._run.phase}: open it with 'async with', and use it once")
        self._run.phase = "streaming"
        self._run.wants_events = wants_events
        if not self._run.ended.is_set():
            self._run.start(self._send_all(source, pace))

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
            self._run.audio_came.set()
            if not self._run.ended.is_set():
                await self._drain()
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
            reader = ChunkReader(source)
        except Exception as error:  # noqa: BLE001 - the caller's own error, handed on to the caller as it is
            self._fail_source(error)
            return
        audio_format = self._prototype.audio_format
        framer = Framer(audio_format, min_bytes=self._prototype.frame_limits[0])
        self._meter.pacer = self._run.pacer = Pacer(audio_format.bytes_per_second, pace, live=reader.live)
        try:
            while (frames := await self._next_frames(reader, framer)) is not None:
                for frame in frames:
                    await self._take_in(frame, reader)
                if reader.at_utterance_end:
                    if (tail := framer.flush()) is not None:
                        await self._take_in(tail, reader)
                    await self._take_in(memoryview(b""), reader)
        finally:
            await reader.aclose()
        if (tail := framer.flush()) is not None:
            await self._take_in(tail, reader)

    async def _next_frames(self, reader: ChunkReader, framer: Framer) -> list[memoryview] | None:
        """The frames that the next chunk completes; None at the source's end, good or bad."""
        asked_at = _now()
        try:
            chunk = await reader.next_chunk()
            self._run.audio_at = now = _now()
            self._run.audio_came.set()
            self._run.pacer.arrived(now, now - asked_at)
            return None if chunk is None else framer.push(chunk)
        except Exception as error:  # noqa: BLE001 - the caller's own error, handed on to the caller as it is
            self._fail_source(error)
            return None

    def _fail_source(self, error: Exception) -> None:
        self._run.source_error = error
        if self._meter.audio_started_at is None:
            self._end(error)  # nothing was sent, so there is nothing to wait for

    async def _take_in(self, frame: memoryview, reader: ChunkReader) -> None:
        """Put a frame into the ledger, and send what can be sent.

        While there is no connection a file waits; other sources go on, since their audio would be lost at their end, as
        far as the ledger has room.
        """
        if not self._outbox.has_room:
            await self._wait_for_room()
        while not (self._ledger.has_room and (self._run.is_up or reader.live is not False)):
            await self._run.next_move()
        self._ledger.add(frame)
        if not self._run.is_sending:
            await asyncio.sleep(0)  # a source that never waits must not keep the loop to itself
        await self._drain()

    async def _drain(self) -> None:
        """Send what the ledger holds, in order, as far as there is a connection; at the source's end say so."""
        run = self._run
        async with run.sending:
            while run.is_sending and not self._ledger.is_drained:
                # also when there is nothing to wait for, so that an unpaced source does not keep the loop to itself
                await run.ticker.after(run.pacer.delay_s(_now()))
                if run.is_sending and not await self._send_next():
                    return
            if run.is_up and run.source_ended and not run.ended.is_set():
                await self._finish_link()

    async def _send_next(self) -> bool:
        """Send the ledger's next frame; whether the connection took it."""
        run, link, frame = self._run, self._link, self._ledger.take()
        assert link is not None and frame is not None  # noqa: S101, PT018 - `_drain` asked
        try:
            link.send_audio(frame)
            if not link.has_room:
                await link.wait_for_room()
        except (ConnectionLostError, DeadlineError) as error:
            self._let_receiver_speak_first(link, error)
            return False
        sent_bytes = self._ledger.cursor_bytes
        run.audio_at = now = _now()
        run.pacer.sent(now, len(frame))
        run.moved.set()
        if run.rotate_at_bytes is not None and sent_bytes >= run.rotate_at_bytes:
            run.is_due.set()
        self._meter.sent(sent_bytes, now)
        return True

    async def _finish_link(self) -> None:
        link = self._link
        assert link is not None  # noqa: S101 - `_drain` asked
        try:
            await link.finish()
        except (ConnectionLostError, DeadlineError) as error:
            self._let_receiver_speak_first(link, error)
        else:
            self._meter.finished_at = _now()
            self._run.progress.set()

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

    async def _watch_finish(self) -> None:
        """Wait for the end, as long as the results get on, from when the vendor was told that no more audio comes.

        Before that sending has its own deadline, and recovery where there is no connection.
        """
        run = self._run
        while not run.ended.is_set():
            run.progress.clear()
            try:
                async with asyncio.timeout(self._timeouts.finish if self._has_finished else None):
                    await run.progress.wait()
            except TimeoutError:
                if self._has_finished:
                    text = f"the vendor did not confirm the end within {self._timeouts.finish:g} s (Timeouts.finish)"
                    self._end(DeadlineError(text, retryable=True, request_id=self._codec.request_id))

    def _let_receiver_speak_first(self, link: Link, error: ASRError) -> None:
        """A send that fails is often the second sign: the vendor's own last word may still be on its way in.

        The receive task decides: when it has heard it, or found the connection lost, or had it cut under its feet.
        """
        if link is not self._link or not self._run.is_up:
            return  # it has found out already
        self._run.is_up = False
        self._run.send_error = error
        if isinstance(error, DeadlineError):  # nothing moves on this connection any more
            link.abort()
        else:
            self._run.last_word = asyncio.get_running_loop().call_later(self._timeouts.close, link.abort)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _end(self, error: BaseException | None) -> None:
        """The one end of the session; the first call counts."""
        run = self._run
        if run.ended.is_set():
            return
        for segment_id in list(run.waiting):
            self._give_out(segment_id)
        if run.last_word is not None:
            run.last_word.cancel()
        run.retire(run.retiring)
        error = run.source_error or error
        if isinstance(error, ASRError) and error.request_id is None:
            error.request_id = self._codec.request_id
        run.error = error
        run.ended.set()
        run.moved.set()
        run.progress.set()
        self._inbox.close()
        self._outbox.close(error)
        run.stop_others()

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

    async def __anext__(self) -> T:
        session = self._session
        if self._audio is not None:
            audio, self._audio = self._audio, None
            session._begin(audio, self._pace, wants_events=self._wants_events)  # noqa: SLF001 - the two are one
        return cast("T", await session._outbox.get())  # noqa: SLF001 - the outbox holds what `wants_events` lets in


class _Run:
    """What a session's two tasks share: how far it is, and how it ended."""

    def __init__(self) -> None:
        self.phase = "new"
        self.group = asyncio.TaskGroup()
        self.ended = asyncio.Event()
        self.error: BaseException | None = None
        # whether the vendor itself said that this is the end
        self.is_confirmed = False
        self.source_error: Exception | None = None
        # the sending side: what paces it, whether there is a connection to send on, and whose turn it is
        self.pacer = Pacer(None, None)
        self.ticker = Ticker.of_running_loop()
        self.is_up = False
        self.sending = asyncio.Lock()
        self.source_ended = False
        self.context: tuple[ContextMessage, ...] | None = None
        # something was sent, can be again, or never will; something arrived that can be sent
        self.moved = asyncio.Event()
        self.audio_came = asyncio.Event()
        self.audio_at = -QUIET_S
        # rotation: that it is time, that a segment has ended, and the connection that is told no more
        self.rotate_at_bytes: int | None = None
        self.is_due = asyncio.Event()
        self.segment_ended = asyncio.Event()
        self.retiring: Link | None = None
        self._patience: asyncio.TimerHandle | None = None
        # audio that is not to be had any more, not told yet
        self.lost: list[Lost] = []
        # what sending failed with, and until when the receiver may have heard more
        self.send_error: ASRError | None = None
        self.last_word: asyncio.TimerHandle | None = None
        # how far results have got in the audio, for the deadline of `finish`
        self.progress = asyncio.Event()
        self.progress_ms = -1
        self.wants_events = False
        # whether the vendor listens no more, and how the sending of the source is told
        self.heard_enough = False
        self.pumping: asyncio.Timeout | None = None
        # finals that wait for a translation, by segment, and until when
        self.waiting: dict[int, asyncio.TimerHandle] = {}
        self.reported: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_sending(self) -> bool:
        """Whether audio has somewhere to go."""
        return self.is_up and not self.heard_enough

    def retire(self, link: Link | None, patience: asyncio.TimerHandle | None = None) -> None:
        """This connection has got its last audio, and so long to tell the rest; None when it has."""
        if self._patience is not None:
            self._patience.cancel()
        self.retiring, self._patience = link, patience

    async def next_move(self) -> None:
        """Wait until something is sent, can be sent again, or never will be."""
        self.moved.clear()
        await self.moved.wait()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(self.group.create_task(coroutine))

    def hear_enough(self) -> None:
        """Let the sending of the source end where it stands. Idempotent."""
        self.heard_enough = True
        if self.pumping is not None and not self.pumping.expired():
            self.pumping.reschedule(_now())

    def stop_others(self) -> list[asyncio.Task[None]]:
        """Cancel the tasks but for the one that asks."""
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        return others

    async def stop(self) -> None:
        """Cancel the tasks and wait until they are gone; a source may close its own session."""
        self.phase = "closed"
        if others := self.stop_others():
            await asyncio.wait(others)


def _checked_pace(pace: float | None) -> float | None:
    if pace is not None and not pace > 0:
        raise ConfigurationError(f"pace={pace!r}: a positive number (1.0 is real time), or None for as fast as it goes")
    return pace


async def _wait(event: asyncio.Event, at_most_s: float) -> None:
    """Wait for an event, but not for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await event.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
