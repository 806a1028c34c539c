"""A vendor task on a connection: started, fed with audio, finished, read to its end. A session may need several.

Does not know the source, its pace or the caller. The events that it delivers carry the connection's own times and
segment ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from .._text.lines import one_line
from ..errors import (
    ASRError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    LocalProtocolError,
    RemoteProtocolError,
)
from ..vendors.codec import (
    ENDINGS,
    CancellingCodec,
    CommittingCodec,
    ContextCodec,
    DeferringCodec,
    EndingCodec,
    Failed,
    KeepaliveCodec,
    NoSpeech,
    Started,
    UntimedCodec,
    check_codec,
    check_events,
)
from ..vendors.error_body import MAX_TEXT_CHARS
from .keepalive import Keepalive
from .quiet import QuietWatch
from .silence import Silence

if TYPE_CHECKING:
    from .._limits.limiter import SessionPermit
    from .._net.websocket import WebSocket
    from ..audio import AudioBytes
    from ..config import Timeouts
    from ..telemetry.session_log import SessionLogger
    from ..vendors.codec import Codec, CodecEvent, Message
    from ..vendors.options import ContextMessage
    from ..vendors.service import MemberChoice
    from .pool import ConnectionPool

__all__ = ["RecognitionTask"]

MAX_OPENING_CHARS = 256 * 1024
"""The size of the messages that may come before the vendor is ready: there are one or two, of some hundred bytes."""

_GOOD_CLOSES = frozenset({"1000", "1005"})
"""The codes of a close in good order: a normal closure, and a closing message without a code (RFC 6455, 7.4.1)."""

_Receive: TypeAlias = "Callable[[str | bytes], list[CodecEvent]]"

_MESSAGE_TYPES = (str, bytes, bytearray, memoryview)


def _nothing_owed() -> float:
    return 0.0


class RecognitionTask:
    """One vendor task on an open connection."""

    __slots__ = (
        "_connection",
        "_description",
        "_found_error",
        "_has_finals",
        "_is_released",
        "_is_running",
        "_keepalive",
        "_listener",
        "_log",
        "_permit",
        "_quiet",
        "_send_audio",
        "_timeouts",
        "choice",
        "codec",
        "is_end_assumed",
        "is_finishing",
        "opening_events",
        "owed_s",
        "silence",
    )

    def __init__(
        self,
        codec: Codec,
        connection: WebSocket,
        choice: MemberChoice,
        *,
        timeouts: Timeouts,
        permit: SessionPermit,
        log: SessionLogger,
    ) -> None:
        """Prepare a task; `start` opens it.

        Raises:
            LocalProtocolError: the codec lacks a member that its description announces.
        """
        self._description = description = choice.description
        check_codec(codec, description, vendor=choice.options.vendor)
        self.codec = codec
        self.choice = choice
        self._connection = connection
        self._timeouts = timeouts
        self._permit = permit
        self._log = log
        # the events that came before the vendor was ready
        self.opening_events: list[CodecEvent] = []
        # the silence that was sent beside the source
        self.silence = Silence(choice.options.audio)
        self.is_finishing = False
        # kept by the pool for its next task: no longer ours to close
        self._is_released = False
        # the vendor has opened the task and not ended it
        self._is_running = False
        self._has_finals = False
        # handles the messages while `listen` runs, and with another function in place of `receive` the end
        self._listener: Callable[[str | bytes, _Receive], bool] | None = None
        # the error of a keepalive message, if it was found while `listen` did not run
        self._found_error: ASRError | None = None
        self._send_audio: Callable[[Message], bool] = connection.send
        self._keepalive: Keepalive | None = None
        if description.keepalive_s is not None:
            self._keepalive = Keepalive(connection, self._keepalive_messages, description.keepalive_s, self._fail)
            self._send_audio = self._keepalive.send_audio
        self.owed_s: Callable[[], float] = _nothing_owed
        """Returns the time that a recogniser in real time still needs for the audio that was sent; see `QuietWatch`."""
        self._quiet: QuietWatch | None = None
        # the vendor has only been quiet: it did not confirm the end
        self.is_end_assumed = False

    def __repr__(self) -> str:
        return f"<RecognitionTask {self.codec!r} {self._connection!r}>"

    async def start(self, *, is_reused: bool = False) -> None:
        """Open the task and wait until the vendor is ready; the connection is closed if that fails.

        A vendor that does not answer the start is ready at once. There, a connection that was idle has to prove that
        the server has received the start: it may have been lost meanwhile.

        Raises:
            ASRError: the vendor refused, or did not answer in time.
        """
        try:
            async with asyncio.timeout(self._timeouts.start) as limit:
                await self.send(self._messages("start", self.codec.start))
                if self._description.answers_start:
                    await self._receive_answer()
                elif is_reused:
                    await self._connection.probe()
                self._is_running = True
                if self._keepalive is not None:
                    self._keepalive.start()
        except TimeoutError:
            await self.close()
            if not limit.expired():
                raise
            host = self.choice.endpoint.host
            text = f"{host} did not open the task within {self._timeouts.start:g} s (Timeouts.start)"
            raise DeadlineError(text, retryable=True, request_id=self.codec.request_id) from None
        except BaseException:
            await self.close()
            raise

    async def _receive_answer(self) -> None:
        opening_chars = 0
        while not any(isinstance(event, Started) for event in self.opening_events):
            opening_chars += await self._receive_opening()
            if opening_chars > MAX_OPENING_CHARS:
                text = f"{self.choice.endpoint.host} sends messages without end and does not open the task"
                raise RemoteProtocolError(text, request_id=self.codec.request_id or None)

    async def _receive_opening(self) -> int:
        """Keep the events of the next message, and return its size; raise the error with which it ends the task."""
        message = await self._receive()
        try:
            events = self.codec.receive(message)
            check_events(events)
        except Exception as error:  # noqa: BLE001 - `_failure` makes one of this library's
            failure = self._failure(error, message)
            message = ""  # no local variable in a traceback shows what a server sent back
            raise failure from failure.__cause__
        self.opening_events += events
        for event in events:
            if isinstance(event, Failed):
                message = ""
                raise self._without_frames(event.error)
        return len(message)

    async def _receive(self) -> str | bytes:
        try:
            return await self._connection.receive()
        except ASRError as error:  # the reason of a closing message
            error.change_texts(self.choice.endpoint.redactor.text)
            raise

    # --- the member that the task is at ------------------------------------------------------------------------------

    @property
    def member(self) -> str | None:
        """The name of the member, if the service has several."""
        return self.choice.name

    @property
    def is_substitute(self) -> bool:
        """True if the task is at a member that another one is preferred to."""
        return self.choice.rank > 0

    def record_loss(self, error: ASRError) -> bool:
        """Record the error that ended the task, and return True if another member should take over at once."""
        self._permit.record_refusal(self.choice, error)
        is_refusal = not (self._description.answers_start or self._has_finals)
        return self.choice.record_loss(error, is_refusal=is_refusal)

    @property
    def has_untimed_results(self) -> bool:
        """True if results may have no times, so that repeated words cannot be told from new ones."""
        return isinstance(self.codec, UntimedCodec) and self.codec.has_untimed_results

    def expect_repeats(self) -> None:
        """Expect that results repeat words of an earlier task, whose audio is sent again."""
        if isinstance(self.codec, UntimedCodec):
            self.codec.expect_repeats()

    def record_final(self) -> None:
        """Record a final result: the member works."""
        if not self._has_finals:
            self._has_finals = True
            self.choice.record_final()

    # --- sending -----------------------------------------------------------------------------------------------------

    def send_audio(self, frame: AudioBytes) -> bool:
        """Send one frame of audio, which is not empty.

        Returns:
            False if the connection does not keep up; a sender of much audio waits then (`call_when_writable`).

        Raises:
            ConnectionLostError: the connection is gone.
            LocalProtocolError: the codec made no message of it.
        """
        send = self._send_audio  # CPython 3.11 takes twice as long to call a slot's value as a method
        try:
            return send(self.codec.audio(frame))
        except ASRError:
            raise
        except Exception as error:
            raise self._defect("audio", f"raised {_named(error)}, or returned no message") from error

    def commit(self) -> None:
        """End the utterance before, if the caller decides where utterances end.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        if isinstance(self.codec, CommittingCodec):
            for message in self._messages("commit", self.codec.commit):
                self._connection.send(message)

    def call_when_writable(self, on_writable: Callable[[], None], on_deadline: Callable[[DeadlineError], None]) -> None:
        """Call `on_writable` once the connection has caught up or is gone, else `on_deadline` after `Timeouts.idle`."""
        loop, idle_s = asyncio.get_running_loop(), self._timeouts.idle
        deadline: asyncio.TimerHandle

        def expire() -> None:
            nonlocal deadline
            if self._connection.is_paused:  # a server that cannot send may not read either
                deadline = loop.call_later(idle_s, expire)
            else:
                on_deadline(self._blocked_error())

        def caught_up() -> None:
            deadline.cancel()
            on_writable()

        deadline = loop.call_later(idle_s, expire)
        self._connection.call_when_writable(caught_up)

    async def drain(self) -> None:
        """Return once the connection has caught up or is gone.

        Raises:
            DeadlineError: the connection took nothing for `Timeouts.idle`.
        """
        while True:
            try:
                async with asyncio.timeout(self._timeouts.idle):
                    return await self._connection.drain()
            except TimeoutError:
                if not self._connection.is_paused:
                    raise self._blocked_error() from None

    def _blocked_error(self) -> DeadlineError:
        text = f"the connection took no audio for {self._timeouts.idle:g} s (Timeouts.idle)"
        return DeadlineError(text, retryable=True)

    def context_messages(self, context: Sequence[ContextMessage]) -> Sequence[Message]:
        """Return the messages that give the task a new context.

        Raises:
            ConfigurationError: the model takes none, or not as much.
        """
        if isinstance(self.codec, ContextCodec):
            return self._messages("update_context", self.codec.update_context, context)
        raise ConfigurationError(self.choice.description.context_refusal or "the model takes no context")

    async def update_context(self, context: Sequence[ContextMessage]) -> None:
        """Give the task a new context.

        Raises:
            ASRError: as `context_messages` and `send`.
        """
        await self.send(self.context_messages(context))

    def finish(self) -> None:
        """Announce that no more audio comes. Idempotent.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        if self.is_finishing:
            return
        self.is_finishing = True
        self._stop_keepalive()
        messages = self._messages("finish", self.codec.finish)
        if self._description.ends_by_close:
            # Its answer proves that the server has received all of the audio: a close that has crossed with the end of
            # the audio on its way does not confirm that.
            self._connection.send_probe()
        for message in messages:
            self._connection.send(message)
        if self._listener is not None:
            self._watch_quiet()

    async def cancel(self) -> None:
        """Have the vendor drop the audio that it has not recognised yet, if its protocol has a message for that."""
        if isinstance(self.codec, CancellingCodec):
            self._is_running = False
            self._stop_keepalive()
            await self.send(self._messages("cancel", self.codec.cancel))

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages, and return when the connection has room for more.

        Raises:
            ConnectionLostError: the connection is gone.
            DeadlineError: the connection took nothing for `Timeouts.idle`.
        """
        for message in messages:
            self._connection.send(message)
        if not self._connection.is_writable:
            await self.drain()

    def _keepalive_messages(self) -> Sequence[Message]:
        codec = self.codec
        return self._messages("keepalive", codec.keepalive) if isinstance(codec, KeepaliveCodec) else ()

    def _stop_keepalive(self) -> None:
        if self._keepalive is not None:
            self._keepalive.stop()

    def _messages(self, name: str, method: Callable[..., Sequence[Message]], *arguments: object) -> Sequence[Message]:
        """Return the messages of a method of the codec, which may be that of another project.

        Raises:
            ASRError: the error of the codec itself.
            LocalProtocolError: the codec raised anything else, or returned no messages.
        """
        try:
            messages = method(*arguments)
        except ASRError:
            raise
        except Exception as error:
            raise self._defect(name, f"raised {_named(error)}") from error
        if not isinstance(messages, list | tuple):
            raise self._defect(name, f"returned {type(messages).__name__}, not a list of messages")
        for message in messages:
            if not isinstance(message, _MESSAGE_TYPES):
                raise self._defect(name, f"returned a list with {type(message).__name__}, which is no str or bytes")
        return messages

    def _defect(self, method: str, deed: str) -> LocalProtocolError:
        """Return the error for a codec that breaks its contract."""
        text = f"{method}() of the {self._codec_name} {deed}"
        error = LocalProtocolError(text, vendor=self.choice.options.vendor)
        error.change_texts(self.choice.endpoint.redactor.text)
        return error

    @property
    def _codec_name(self) -> str:
        return f"codec {type(self.codec).__name__} of vendor {self.choice.options.vendor!r}"

    # --- receiving ---------------------------------------------------------------------------------------------------

    async def listen(self, on_event: Callable[[CodecEvent], None]) -> None:
        """Call `on_event` with each event as it arrives, and return behind the one that ends the task (`ENDINGS`).

        Raises:
            ConnectionLostError: the connection ended first.
            RemoteProtocolError: a message cannot be read, or the codec failed at it.
        """

        def on_message(message: str | bytes, receive: _Receive = self.codec.receive) -> bool:
            try:
                for event in receive(message):
                    if type(event) in ENDINGS:
                        self._is_running = False
                        self._redact_ending(event)
                        on_event(event)
                        return True
                    on_event(event)
            except Exception as error:  # noqa: BLE001 - `_failure` makes one of this library's
                failure = self._failure(error, message)
                message = ""  # no local variable in a traceback shows what a server sent back
                raise failure from failure.__cause__
            return False

        self._listener = on_message
        try:
            await self._connection.listen(self._counted(on_message))
        except ASRError as error:
            if not (self._is_end(error) and self._deliver_end()):
                raise self._without_frames(self._found_error or error) from error.__cause__
        finally:
            self._listener = None
            self._stop_timers()

    # --- an end that no message confirms -----------------------------------------------------------------------------

    def _counted(self, on_message: Callable[[str | bytes], bool]) -> Callable[[str | bytes], bool]:
        """Return a function that also records the message, if the task may end by quiet."""
        quiet_s = self._description.quiet_end_s
        if quiet_s is None:
            return on_message
        self._quiet = quiet = QuietWatch(self._connection, quiet_s, self.owed_s, self._end_by_quiet)
        if self.is_finishing:
            quiet.start()

        def on_counted_message(message: str | bytes) -> bool:
            has_ended = on_message(message)
            quiet.record_message()
            return has_ended

        return on_counted_message

    def _watch_quiet(self) -> None:
        if self._quiet is not None:
            self._quiet.start()

    def _end_by_quiet(self) -> None:
        """End the task, since the vendor is quiet, unless the codec knows of an answer that is still missing."""
        self.is_end_assumed = True
        try:
            has_ended = self._deliver_end()
        except ASRError as error:
            self._fail(error)
            return
        if has_ended:
            self._connection.stop_listening()
        else:
            self.is_end_assumed = False

    def _is_end(self, error: ASRError) -> bool:
        """Return True if the end of the connection is the vendor's confirmation that all results have arrived."""
        return (
            self._description.ends_by_close
            and self.is_finishing
            and isinstance(error, ConnectionLostError)
            and error.code in _GOOD_CLOSES
            and self._connection.is_probe_answered
        )

    def _deliver_end(self) -> bool:
        """Deliver the events of the end, and return True if they contain one.

        Raises:
            ASRError: the codec failed.
        """
        codec, listener = self.codec, self._listener
        if listener is None or not isinstance(codec, EndingCodec):
            return False
        end = codec.end
        return listener("", lambda _message: self._events("end", end))

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """Return the pending final of a segment; see `DeferringCodec`.

        Raises:
            ASRError: the codec failed.
        """
        codec = self.codec
        return (
            self._events("release_pending", codec.release_pending, segment_id)
            if isinstance(codec, DeferringCodec)
            else []
        )

    def lost_translations(self, reason: str) -> list[CodecEvent]:
        """Return an event for each translation that will not arrive; see `DeferringCodec`.

        Raises:
            ASRError: the codec failed.
        """
        codec = self.codec
        return (
            self._events("lost_translations", codec.lost_translations, reason)
            if isinstance(codec, DeferringCodec)
            else []
        )

    def _events(self, name: str, method: Callable[..., list[CodecEvent]], *arguments: object) -> list[CodecEvent]:
        """Return the events of a method of the codec, which may be that of another project.

        Raises:
            ASRError: the error of the codec itself.
            LocalProtocolError: the codec raised anything else, or returned no events.
        """
        try:
            events = method(*arguments)
            check_events(events)
        except ASRError:
            raise
        except Exception as error:
            raise self._defect(name, f"failed: {_named(error)}") from error
        return events

    def _fail(self, error: ASRError) -> None:
        """End the task with an error that was found between two messages."""
        if self._listener is None:
            self._found_error = error
            self._connection.abort()
        else:
            self._connection.stop_listening(error)

    def _stop_timers(self) -> None:
        self._stop_keepalive()
        if self._quiet is not None:
            self._quiet.stop()

    def pause_reading(self) -> None:
        """Leave the vendor's messages in the network until `resume_reading`; see `WebSocket.pause_reading`."""
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        """Read the vendor's messages again. Idempotent."""
        if not self._is_released:
            self._connection.resume_reading()

    def _failure(self, error: Exception, message: str | bytes) -> ASRError:
        """Return the error for a message at which the codec failed: it may be the codec of another project.

        If the server sent a credential back in the message, the error has no cause: the message is in the local
        variables of its traceback.
        """
        if isinstance(error, ASRError):
            failure = error
        else:
            text = f"a message could not be handled by the {self._codec_name}: {_named(error)}"
            vendor = self.choice.options.vendor
            failure = RemoteProtocolError(text, request_id=self.codec.request_id or None, vendor=vendor)
            failure.__cause__ = error
        sent = message if isinstance(message, str) else message.decode(errors="replace")
        if self.choice.endpoint.redactor.finds(sent):
            failure.__cause__ = None
        return self._without_frames(failure)

    def _without_frames(self, error: ASRError) -> ASRError:
        """Return the error without the credentials that the server sent back, and without the frames of its origin.

        Their local variables hold the server's message.
        """
        error.change_texts(self.choice.endpoint.redactor.text)
        return error.with_traceback(None)

    def _redact_ending(self, event: CodecEvent) -> None:
        """Remove the credentials that the server sent back in the error with which it ends the task."""
        if isinstance(event, Failed | NoSpeech):
            event.error.change_texts(self.choice.endpoint.redactor.text)

    def redacted(self, text: str) -> str:
        """Return a text of the server for a log: one line, without the credentials of the connection."""
        return one_line(self.choice.endpoint.redactor.text(text), MAX_TEXT_CHARS)

    # --- the end -----------------------------------------------------------------------------------------------------

    def release(self, pool: ConnectionPool) -> None:
        """Leave the connection to the pool, if that keeps it: the vendor has confirmed the end of the task. Idempotent.

        `close` does nothing then.
        """
        self._stop_timers()
        if not self.is_end_assumed:  # else messages of this task may still come
            self._is_released = self._is_released or pool.keep(self.choice, self._connection)

    async def close(self) -> None:
        """End the task, and close the connection with the closing handshake, or abort it after `Timeouts.close`."""
        self._stop_timers()
        if self._is_released:
            return
        self._end_early()
        try:
            async with asyncio.timeout(self._timeouts.close):
                await self._connection.close()
        except TimeoutError:
            self._log.debug("%r: the closing handshake took too long", self)
        finally:
            self._connection.abort()

    def _end_early(self) -> None:
        """End a task that the session leaves: the vendor may count one without an end as running for a while more."""
        if not self._is_running or self.is_finishing or not self._connection.is_open:
            return
        self._is_running = False
        codec = self.codec
        try:
            for message in codec.cancel() if isinstance(codec, CancellingCodec) else codec.finish():
                self._connection.send(message)
        except Exception as error:  # noqa: BLE001 - it may be the codec of another project
            self._log.debug("%r: the end could not be sent to the vendor: %s", self, type(error).__name__)

    def abort(self) -> None:
        """Drop the connection at once."""
        self._stop_timers()
        if not self._is_released:
            self._connection.abort()


def _named(error: Exception) -> str:
    """Return the type and the text of an exception on one line."""
    return f"{type(error).__name__}: {one_line(str(error), MAX_TEXT_CHARS)}"
