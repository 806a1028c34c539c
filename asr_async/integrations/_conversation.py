"""The common part of the adapters of voice agents: a client that opens when it is used, and a conversation's sessions.

A conversation lasts longer than a session: when the options change, or the vendor ends the recognition by itself, the
next session continues on the same line of times. Does not know any framework.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from ..client import Client
from ..errors import ASRError, ConfigurationError, DeadlineError, LocalProtocolError
from ..results import Event, SessionStats, SpeechEnded, SpeechStarted
from ..sources import PushSource, TaskEnd
from ..vendors.codec import NoSpeech
from ..vendors.options import ContextMessage, Options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from ..session import Session
    from ..sources.pushed import WhenFull

__all__ = ["ContextHistory", "Conversation", "SharedClient", "check_same_audio", "check_samples", "with_language"]

logger: logging.Logger = logging.getLogger("asr_async")

CONTEXT_MESSAGES = 5
CONTEXT_CHARACTERS = 400
"""The messages of each role and the characters of each message that are kept as context: as much as the vendors read
(DashScope's client event page, 2026)."""

_LANGUAGE_FIELDS = {"language_hints": True, "language": False, "source_language": False}
"""The options that name the spoken language, and True for a list of them."""


def check_samples(options: Options, framework: str) -> None:
    """Refuse options that declare other audio than a framework has.

    Raises:
        ConfigurationError: they do not declare 16-bit samples.
    """
    if options.audio.encoding != "pcm":
        raise ConfigurationError(
            f"the options declare {options.audio.encoding}, but the audio of {framework} is 16-bit samples: declare pcm"
        )


def check_same_audio(options: Options, new_options: Options) -> None:
    """Refuse options that declare other audio than those that they replace.

    Raises:
        ConfigurationError: the formats or rates differ.
    """
    audio, new_audio = options.audio, new_options.audio
    if audio != new_audio:
        raise ConfigurationError(
            f"the audio is {audio.encoding} at {audio.sample_rate} Hz, and the new options declare "
            f"{new_audio.encoding} at {new_audio.sample_rate} Hz: keep the format and the rate"
        )


def with_language(options: Options, language: str) -> Options:
    """Return options that name the spoken language; of a code with a region, the language alone.

    Raises:
        ConfigurationError: they have no field for it, or the model does not know the language.
    """
    code = language.partition("-")[0]
    for name, is_list in _LANGUAGE_FIELDS.items():
        if name in options.__struct_fields__:
            return msgspec.structs.replace(options, **{name: [code] if is_list else code})
    raise ConfigurationError(f"language={language!r}: the options of {options.model} have no field for it: pass others")


class ContextHistory:
    """The newest messages of a conversation, as many as models read as context.

    Args:
        messages: the messages before the conversation, oldest first.
    """

    def __init__(self, messages: Iterable[ContextMessage] = ()) -> None:
        self._messages: deque[ContextMessage] = deque(messages)

    def __repr__(self) -> str:
        return f"<ContextHistory {len(self._messages)} messages>"

    @property
    def messages(self) -> tuple[ContextMessage, ...]:
        """The messages, oldest first."""
        return tuple(self._messages)

    def add(self, message: ContextMessage) -> None:
        """Add the newest message, and forget the oldest of the same role if there are too many. A long one is cut."""
        self._messages.append(ContextMessage(message.role, message.text[-CONTEXT_CHARACTERS:]))
        of_role = [each for each in self._messages if each.role == message.role]
        if len(of_role) > CONTEXT_MESSAGES:
            self._messages.remove(of_role[0])


class SharedClient:
    """A client that is opened by its first use and closed by `aclose`, in whichever tasks of one event loop.

    Args:
        client: the client; nothing else opens it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        # the task that holds the client open, the opened client, and the request to close it
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[Client] | None = None
        self._closing: asyncio.Event | None = None

    def __repr__(self) -> str:
        return f"<SharedClient {self._client!r}>"

    async def open(self) -> Client:
        """Return the open client.

        Raises:
            ASRError: it could not be opened.
        """
        if self._task is None or self._task.done() or self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._closing = asyncio.Event()
            self._task = asyncio.create_task(self._hold(self._opened, self._closing))
        return await asyncio.shield(self._opened)

    async def _hold(self, opened: asyncio.Future[Client], closing: asyncio.Event) -> None:
        try:
            async with self._client as client:
                opened.set_result(client)
                await closing.wait()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)
        finally:
            opened.cancel()  # without effect if it has a result

    async def aclose(self) -> None:
        """Close the client, and wait until it is closed. Idempotent; a later `open` opens it again."""
        if self._task is not None and self._closing is not None:
            self._closing.set()
            await asyncio.wait([self._task])


class _Part:
    """The audio of one session of a conversation."""

    __slots__ = ("is_running", "options", "pushed_bytes", "source", "start_ms")

    def __init__(self, options: Options, source: PushSource, start_ms: int) -> None:
        self.options = options
        self.source = source
        self.start_ms = start_ms
        self.pushed_bytes = 0
        self.is_running = False

    @property
    def end_ms(self) -> int:
        """The end of the audio that was pushed, in the conversation."""
        return self.start_ms + self.options.audio.to_ms(self.pushed_bytes)


class Conversation:
    """The sessions of one conversation, one at a time, and the audio that is pushed into them.

    `run` delivers the events of all sessions. Their times are those of a session; `seconds` and `wall_time` convert
    those of the event that is being delivered.

    Args:
        client: the client, which `run` opens.
        options: the options of the first session; they declare 16-bit samples.
        when_full: the effect of audio that has no room; see `PushSource`.
        max_s: the seconds of audio that may wait for a session.
        open_s: the longest time that opening a session may take; None leaves that to `Timeouts` and `Limits`.
        tags: the names of its sessions in the program.
    """

    def __init__(
        self,
        client: SharedClient,
        options: Options,
        *,
        when_full: WhenFull,
        max_s: float,
        open_s: float | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client
        self._when_full: WhenFull = when_full
        self._max_s = max_s
        self._open_s = open_s
        self._tags = tags
        # the part that audio is pushed into; the one of the open session, which may be the one before it
        self._part = self._running = self._new_part(options, start_ms=0)
        self._session: Session | None = None
        self._is_finished = False
        self._open_segments: set[int] = set()
        # options that wait for the end of the segment
        self._next_options: Options | None = None
        self._context: tuple[ContextMessage, ...] = ()
        self._context_changed = asyncio.Event()
        # the usage of the sessions before, and what was reported of the whole
        self._ended_usage_s = self._reported_usage_s = 0.0

    def __repr__(self) -> str:
        return f"<Conversation {self._session!r} at {self._part.end_ms} ms>"

    def _new_part(self, options: Options, *, start_ms: int) -> _Part:
        return _Part(options, PushSource(options, max_s=self._max_s, when_full=self._when_full), start_ms)

    # --- audio in ----------------------------------------------------------------------------------------------------

    async def send(self, chunk: bytes) -> None:
        """Push audio, and wait for room if there is none.

        Raises:
            ASRError: the session has failed; `run` raises the same error.
        """
        while True:
            part = self._part_with_room()
            try:
                await part.source.send(chunk)
            except LocalProtocolError:
                if part is self._part and self._is_finished:
                    raise
                continue  # another part has begun meanwhile
            part.pushed_bytes += len(chunk)
            return

    def send_nowait(self, chunk: bytes) -> None:
        """Push audio at once.

        Raises:
            ASRError: the session has failed; `run` raises the same error.
        """
        part = self._part_with_room()
        part.source.send_nowait(chunk)
        part.pushed_bytes += len(chunk)

    def _part_with_room(self) -> _Part:
        """Return the part for further audio: another one if the vendor has ended the recognition by itself."""
        if self._part.source.is_closed and not self._is_finished:
            self._begin_part(self._part.options)
        return self._part

    def _begin_part(self, options: Options) -> None:
        self._part.source.close()
        self._part = self._new_part(options, start_ms=self._part.end_ms)

    async def flush(self) -> None:
        """Make final what was said until now: by a commit, else return when it is final.

        Raises:
            ASRError: it could not be made final, or the session has failed.
        """
        part, session = self._part_with_room(), self._session
        if part.options.capabilities.commit:
            await part.source.commit()
        elif part is self._running and session is not None:
            await session.finalize()
        else:
            await part.source.send(TaskEnd())

    def finish(self) -> None:
        """Announce that no more audio comes; `run` returns when everything is final. Idempotent."""
        self._is_finished = True
        self._part.source.close()

    @property
    def unread_bytes(self) -> int:
        """The size of the audio that waits for a session."""
        return self._part.source.unread_bytes

    # --- changes -----------------------------------------------------------------------------------------------------

    def replace_options(self, options: Options) -> None:
        """Continue with other options, in another session: at the end of the segment, if speech is in progress.

        Raises:
            ConfigurationError: they declare other audio.
        """
        check_same_audio(self._part.options, options)
        self._next_options = options
        self._apply_options()

    def _apply_options(self) -> None:
        options = self._next_options
        if options is None or self._open_segments or self._is_finished:
            return
        self._next_options = None
        if not self._part.is_running:
            self._part.options = options
        elif options != self._part.options:
            self._begin_part(options)

    def update_context(self, messages: tuple[ContextMessage, ...]) -> None:
        """Replace the context of this session and of those that follow."""
        self._context = messages
        self._context_changed.set()

    # --- events out --------------------------------------------------------------------------------------------------

    async def run(self, on_event: Callable[[Event], Awaitable[None]], on_open: Callable[[], None]) -> None:
        """Open one session after another and deliver their events, until everything is final after `finish`.

        Raises:
            ASRError: a session could not be opened, or has failed.
        """
        client = await self._client.open()
        while True:
            part = self._part
            await self._run_part(client, part, on_event, on_open)
            if part is self._part:
                if self._is_finished:
                    return
                self._begin_part(part.options)

    async def _run_part(
        self, client: Client, part: _Part, on_event: Callable[[Event], Awaitable[None]], on_open: Callable[[], None]
    ) -> None:
        async with contextlib.AsyncExitStack() as stack:
            part.is_running = True
            session = await self._open(client, part.options, stack)
            self._running, self._session = part, session
            stack.callback(self._end_session, session)
            if part.options.capabilities.context:
                stack.push_async_callback(_cancel, asyncio.create_task(self._send_context(session)))
            on_open()
            try:
                async for event in session.events(part.source):
                    self._track(event)
                    await on_event(event)
            except ASRError:
                # An error for a recording without speech; in a conversation, silence is no error.
                if not isinstance(session._status.connection.ending, NoSpeech):  # noqa: SLF001 - in no public figure
                    raise

    async def _open(self, client: Client, options: Options, stack: contextlib.AsyncExitStack) -> Session:
        try:
            async with asyncio.timeout(self._open_s):
                return await stack.enter_async_context(client.session(options, tags=self._tags))
        except TimeoutError as error:
            if isinstance(error, ASRError):
                raise
            text = f"the session was not open within {self._open_s:g} s, the limit of the framework"
            raise DeadlineError(text, retryable=True) from None

    def _end_session(self, session: Session) -> None:
        self._ended_usage_s += self._usage_s(session.stats, is_over=True)
        self._session = None
        self._open_segments.clear()
        self._apply_options()

    def _track(self, event: Event) -> None:
        """Follow the segments that are open; other options begin when there is none."""
        if isinstance(event, SpeechStarted):
            self._open_segments.add(event.segment_id)
        elif isinstance(event, SpeechEnded):
            self._open_segments.discard(event.segment_id)
            self._apply_options()

    async def _send_context(self, session: Session) -> None:
        if not self._context:
            self._context_changed.clear()
        else:
            self._context_changed.set()
        while True:
            await self._context_changed.wait()
            self._context_changed.clear()
            try:
                await session.update_context(self._context)
            except ConfigurationError as error:
                logger.warning("%r: the context is not used: %s", session, error)
            except ASRError:  # the end of the session, which `run` raises
                return

    @property
    def is_speaking(self) -> bool:
        """True while a segment is open."""
        return bool(self._open_segments)

    def seconds(self, session_ms: int) -> float:
        """Return a time of the present session in seconds of the conversation."""
        return (self._running.start_ms + session_ms) / 1000

    def wall_time(self, session_ms: int) -> float | None:
        """Return the time of day of a time of the present session; see `Session.wall_time`."""
        return None if self._session is None else self._session.wall_time(session_ms)

    def take_usage_s(self) -> float:
        """Return the usage since the last call: the vendor's figure, else the length of the audio that was sent."""
        present_s = 0.0 if self._session is None else self._usage_s(self._session.stats, is_over=False)
        usage_s = max(0.0, self._ended_usage_s + present_s - self._reported_usage_s)
        self._reported_usage_s += usage_s
        return usage_s

    def _usage_s(self, stats: SessionStats, *, is_over: bool) -> float:
        if stats.usage_seconds is not None:
            return stats.usage_seconds
        if self._running.options.capabilities.usage and not is_over:
            return 0.0  # the vendor's figure will come
        return ((stats.audio_sent_ms or 0) + stats.silence_sent_ms + stats.replayed_ms) / 1000


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
