"""A session whose events go to callbacks: audio comes from any thread, the session runs in the loop of `sync`.

Theory of operation. `start` begins one task in the background loop. It opens a client and a session, reads the audio
from an inbox that any thread fills, and puts a call for each event into the `CallbackQueue` of the session. The order
of the calls is

    on_open, on_event*, on_complete            and on_close in `stop`
    on_open, on_event*, on_error, on_close     an error after the connection was open
    on_error, on_close                         an error before that

`on_open` and the `on_close` of `stop` run in the thread of the caller, all others in threads of the `CallbackRunner`.
A callback that raises ends its session, and the exception goes to `on_error`. Every wait has a deadline.

Does not know a vendor's SDK: a face derives from `SessionCallbacks` and translates.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import functools
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from .._loop.event import LightEvent
from ..client import Client, ClientSettings
from ..errors import ConfigurationError, DeadlineError, LocalProtocolError
from ..results import Event, Result
from ..sources import UtteranceEnd
from ..sync._loop import BackgroundLoop, background_loop
from ._callbacks import CallbackQueue, callback_runner, forget_callbacks, stop_callbacks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..session import Session
    from ..vendors.options import Options
    from ..vendors.service import Service

__all__ = ["CallbackSession", "SessionCallbacks"]

logger: logging.Logger = logging.getLogger("asr_async")

MAX_INBOX_BYTES = 64 * 1024 * 1024
"""The audio that may wait to be sent: half an hour of 16 kHz samples, for programs that send a file without pauses."""

CALLBACK_S = 20.0
"""The longest wait of `stop` for one callback: as long as `Timeouts.idle`."""

EXIT_S = 3.0
"""The time that the exit of the interpreter waits for the results of sessions that were not stopped."""


class SessionCallbacks:
    """The callbacks of a session; a face overrides them. Each may block, and all of one session run one at a time."""

    event_types: tuple[type[Event], ...] = (Result,)
    """The events that `on_event` receives."""

    def on_open(self) -> None:
        """Act when the vendor is ready for audio."""

    def on_event(self, event: Event) -> None:
        """Receive one event."""

    def on_complete(self) -> None:
        """Act when the vendor has confirmed the end."""

    def on_error(self, error: BaseException) -> None:
        """Receive the error that ended the session: an `ASRError`, or what a callback raised."""

    def on_close(self) -> None:
        """Act when the session is over."""


class CallbackSession:
    """One recognition with callbacks. All methods can be called from any thread, from callbacks and signal handlers.

    Args:
        callbacks: the callbacks.
        service: the vendor's service.
        options: the model and its settings.
        settings: see `asr_async.Client`.
        silence_s: the time without audio behind which the session finishes by itself; None waits for ever.
    """

    def __init__(
        self,
        callbacks: SessionCallbacks,
        service: Service,
        options: Options,
        *,
        settings: ClientSettings | None = None,
        silence_s: float | None = None,
    ) -> None:
        self._callbacks = callbacks
        self._service = service
        self._options = options
        self._settings: ClientSettings = settings or {}
        self._silence_s = silence_s
        self._inbox = _Inbox()
        self._background: BackgroundLoop | None = None
        self._task: concurrent.futures.Future[None] | None = None
        # the queue, when the task has begun; and True when the connection is open, False if it cannot be opened
        self._began: concurrent.futures.Future[CallbackQueue] = concurrent.futures.Future()
        self._opened: concurrent.futures.Future[bool] = concurrent.futures.Future()
        self._session: Session | None = None
        self.open_error: Exception | None = None
        """The reason for which the session could not be opened."""
        # the thread in `start`
        self._starter: int | None = None
        self._lock = threading.RLock()
        self._is_running = self._calls_on_close = self._is_closed = self._opens_in_caller = False
        # set when the last callback has returned, without the `on_close` of `stop`
        self._delivered = threading.Event()

    def __repr__(self) -> str:
        state = "running" if self._is_running else "ended" if self._delivered.is_set() else "not running"
        return f"<CallbackSession {self._options.model} {state}>"

    @property
    def is_running(self) -> bool:
        """True from `start` until `stop`, an error, or the end by silence."""
        return self._is_running

    @property
    def request_id(self) -> str:
        """The vendor's id of the task; empty while the session is not open."""
        session = self._session
        return "" if session is None else session.stats.request_id

    # --- the caller's side -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the session, and return when `on_open` has returned, or when the session cannot be opened.

        In a thread that runs an event loop, which must not stand still, return at once: `on_open` follows.

        Raises:
            BaseException: what `on_open` raised; the session is closed then.
            LocalProtocolError: the interpreter exits, or this is a callback of the library's own loop.
        """
        self._opens_in_caller = not _is_in_loop()
        self._starter = threading.get_ident()
        try:
            self._start()
        finally:
            self._starter = None

    def _start(self) -> None:
        self._is_running = True
        self._background = background_loop()
        _register_exit(self._background)
        _sessions.add(self)
        try:
            self._task = self._background.start(self._run)
        except BaseException:
            self._is_running = False
            _sessions.discard(self)
            raise
        self._task.add_done_callback(self._on_task_done)
        if not self._opens_in_caller:
            return
        try:
            is_open = self._opened.result()
            if is_open:
                with self._began.result():
                    self._callbacks.on_open()
        except BaseException:
            self.cancel()
            raise
        finally:
            if self._began.done():
                self._began.result().release()

    def send(self, audio: bytes) -> None:
        """Send audio; return at once, unless half an hour of it waits to be sent.

        Raises:
            DeadlineError: that audio does not become less.
        """
        if audio:
            self._inbox.put(audio, waits=not self._is_callback)

    def stop(self) -> None:
        """Announce that no more audio comes, wait for the results and their callbacks, and call `on_close`.

        In a callback, return at once: the results follow when it has returned, and `on_close` behind them.

        Raises:
            DeadlineError: a callback blocks.
        """
        with self._lock:
            self._is_running = False
            is_callback = self._is_callback
            if is_callback:
                self._calls_on_close = True
        self._inbox.close()
        if is_callback:
            return
        self._wait_for_callbacks()
        self._close()

    def finish(self, timeout_s: float | None) -> bool:
        """Announce that no more audio comes; `on_close` follows the results without `stop`.

        Args:
            timeout_s: the time to wait for that; None does not wait, and neither does a callback.

        Returns:
            False if the results have not arrived in that time.
        """
        is_callback = self._is_callback
        self._on_silence()
        is_delivered = self._delivered.is_set() if timeout_s is None or is_callback else self._delivered.wait(timeout_s)
        if is_delivered:
            self._close()
        return is_delivered or timeout_s is None or is_callback

    def commit(self) -> None:
        """End an utterance behind the audio that was sent; return at once."""
        self._inbox.put(UtteranceEnd(), waits=False)

    def cancel(self) -> None:
        """End the session at once, without further results; return at once. `on_close` follows."""
        with self._lock:
            self._is_running = False
            self._calls_on_close = True
        if self._task is not None:
            self._task.cancel()
        if self._delivered.is_set():
            self._close()

    def call(self, function: Callable[[Session], Awaitable[object]]) -> None:
        """Await a function of the session in its loop, without a wait here. Its error ends the session."""
        if self._background is not None:
            self._background.start(self._call, function)

    @property
    def _is_callback(self) -> bool:
        """True in a callback, and in a signal handler that interrupts `start`, which is to return first."""
        if self._starter == threading.get_ident():
            return True
        return self._began.done() and self._began.result().is_current

    def _wait_for_callbacks(self) -> None:
        """Wait for the last callback, as long as the session works by its own deadlines, or callbacks return."""
        completed_count = -1
        while not self._delivered.wait(CALLBACK_S):
            if not self._began.done():
                continue
            queue = self._began.result()
            if queue.is_busy and queue.completed_count == completed_count:
                raise DeadlineError(f"a callback has not returned within {CALLBACK_S:g} s: its session waits for it")
            completed_count = queue.completed_count if queue.is_busy else -1

    def _close(self) -> None:
        """Call `on_close`, once."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._callbacks.on_close()

    # --- the task in the background loop -----------------------------------------------------------------------------

    async def _run(self) -> None:
        queue = CallbackQueue(callback_runner(), self._on_raise)
        self._began.set_result(queue)
        error: Exception | None = None
        try:
            async with (
                Client(self._service, options=self._options, **self._settings) as client,
                client.session() as session,
            ):
                self._session = session
                await self._deliver(session, queue)
        except Exception as raised:  # noqa: BLE001 - goes to `on_error`
            error = raised
        self._session = None
        self._end(error)

    async def _deliver(self, session: Session, queue: CallbackQueue) -> None:
        """Put a call for each event into the queue, and read no more of them while it is full."""
        self._set_open(queue, is_open=True)
        timer = _SilenceTimer(self._inbox, self._silence_s, self._on_silence)
        try:
            async for event in session.events(self._inbox, pace=None):
                if isinstance(event, self._callbacks.event_types) and not queue.put(
                    functools.partial(self._callbacks.on_event, event)
                ):
                    await queue.room()
        finally:
            timer.cancel()

    def _set_open(self, queue: CallbackQueue, *, is_open: bool) -> None:
        if self._opened.done():
            return
        if is_open and not self._opens_in_caller:
            queue.put(self._callbacks.on_open)
        self._opened.set_result(is_open)
        if not self._opens_in_caller:
            queue.release()

    def _end(self, error: Exception | None) -> None:
        """Add the last calls."""
        queue = self._began.result()
        if error is None:
            queue.close([self._callbacks.on_complete, self._settle])
        else:
            self.open_error = None if self._opened.done() else error
            self._fail(error)
        self._inbox.end()
        self._set_open(queue, is_open=False)

    def _fail(self, error: BaseException, *, drop_waiting: bool = False) -> bool:
        """Add the last calls of a session that failed; return False if it has ended already."""
        with self._lock:
            is_first = self._began.result().close(
                [functools.partial(self._callbacks.on_error, error), self._settle], drop_waiting=drop_waiting
            )
            if is_first:
                self._is_running = False
                self._calls_on_close = True
        return is_first

    def _settle(self) -> None:
        """Call `on_close` if `stop` does not, and let `stop` return; the last call of the queue."""
        with self._lock:
            calls_on_close = self._calls_on_close
        try:
            if calls_on_close:
                self._close()
        except BaseException as error:  # noqa: BLE001 - logged before `stop` returns
            self._on_raise(error)
        finally:
            self._delivered.set()
            _sessions.discard(self)

    def _on_raise(self, error: BaseException) -> None:
        """End the session since one of its callbacks raised; in the thread of the callback."""
        if isinstance(error, SystemExit):  # as in any thread: it ends what the thread does, without a text
            self._began.result().close([self._settle], drop_waiting=True)
            self.cancel()
            return
        is_first = self._fail(error, drop_waiting=True)
        what = "ends its session" if is_first else "is not reported elsewhere"
        logger.error("a callback raised an exception, which %s", what, exc_info=error)
        if is_first and self._task is not None:
            self._task.cancel()

    def _on_silence(self) -> None:
        """Finish the session: no audio has come for `silence_s`."""
        with self._lock:
            self._is_running = False
            self._calls_on_close = True
        self._inbox.close()

    def _on_task_done(self, task: concurrent.futures.Future[None]) -> None:
        """Add the last calls of a task that was cancelled: by `cancel`, by a callback, or at the exit."""
        if not task.cancelled() or not self._began.done():
            if not self._opened.done():
                self._opened.set_result(False)
                self._delivered.set()
                _sessions.discard(self)
            return
        with self._lock:
            self._is_running = False
            self._calls_on_close = True
        self._began.result().close([self._settle], drop_waiting=True)
        self._inbox.end()
        self._set_open(self._began.result(), is_open=False)

    async def _call(self, function: Callable[[Session], Awaitable[object]]) -> None:
        session = self._session
        if session is None:
            return
        try:
            await function(session)
        except (ConfigurationError, LocalProtocolError) as error:
            if self._fail(error) and self._task is not None:
                self._task.cancel()
        except Exception:  # the error of the session itself, which its task reports
            logger.debug("a call could not be made", exc_info=True)


class _Inbox:
    """The audio of one session: filled from any thread, read by the session."""

    live = True

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._lock = threading.RLock()
        # two counts, each written on one side only
        self._added_bytes = self._removed_bytes = 0
        self._added = LightEvent()
        self._removed = threading.Event()
        self._removed.set()
        self._is_closed = self._is_ended = self._is_awaited = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.last_at: float = time.monotonic()
        """The time of the newest audio."""

    @property
    def _waiting_bytes(self) -> int:
        return self._added_bytes - self._removed_bytes

    def put(self, chunk: bytes, *, waits: bool) -> None:
        """Add a chunk. Audio behind the end is discarded."""
        if self._is_ended or self._is_closed:
            return
        if self._added_bytes - self._removed_bytes > MAX_INBOX_BYTES:
            self._wait_for_room(waits=waits)
        self.last_at = time.monotonic()
        with self._lock:
            self._added_bytes += len(chunk)
            self._chunks.append(chunk)
        if self._is_awaited:
            self._wake()

    def _wait_for_room(self, *, waits: bool) -> None:
        self._removed.clear()
        if self._waiting_bytes > MAX_INBOX_BYTES and not (waits and self._removed.wait(CALLBACK_S)):
            raise DeadlineError(
                f"{self._waiting_bytes} bytes of audio wait to be sent: send no faster than the vendor recognises"
            )

    def close(self) -> None:
        """End the audio behind that which waits. Idempotent."""
        self._is_closed = True
        self._wake()

    def end(self) -> None:
        """Discard what waits, and all that comes."""
        self._is_ended = True
        self._chunks.clear()
        self._removed.set()

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._added.set)
            except RuntimeError:  # the loop is closed: the interpreter exits
                return

    def __aiter__(self) -> _Inbox:
        self._loop = asyncio.get_running_loop()
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            self._added.clear()
            self._is_awaited = True
            # Looked at again behind `_is_awaited`: another thread may have added a chunk before it saw that.
            if not self._chunks:
                if self._is_closed:
                    raise StopAsyncIteration
                await self._added.wait()
            self._is_awaited = False
        chunk = self._chunks.popleft()
        self._removed_bytes += len(chunk)
        if not self._removed.is_set() and self._waiting_bytes < MAX_INBOX_BYTES:
            self._removed.set()
        return chunk


class _SilenceTimer:
    """A timer of the loop that calls a function when no audio has come for some time."""

    def __init__(self, inbox: _Inbox, silence_s: float | None, on_silence: Callable[[], object]) -> None:
        self._inbox = inbox
        self._silence_s = silence_s
        self._on_silence = on_silence
        self._handle: asyncio.TimerHandle | None = None
        if silence_s is not None:
            inbox.last_at = time.monotonic()
            self._set(silence_s)

    def _set(self, delay_s: float) -> None:
        self._handle = asyncio.get_running_loop().call_later(delay_s, self._check)

    def _check(self) -> None:
        rest_s = self._inbox.last_at + (self._silence_s or 0.0) - time.monotonic()
        if rest_s > 0:
            self._set(rest_s)
        else:
            self._on_silence()

    def cancel(self) -> None:
        """Stop the timer."""
        if self._handle is not None:
            self._handle.cancel()


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# --- the exit of the interpreter -------------------------------------------------------------------------------------

_sessions: set[CallbackSession] = set()
"""The sessions that were started and whose last callback has not returned."""

_exit_of: BackgroundLoop | None = None
"""The loop before whose end `_finish_all` runs."""


def _register_exit(background: BackgroundLoop) -> None:
    global _exit_of  # noqa: PLW0603 - one for the process
    if _exit_of is not background:
        _exit_of = background
        atexit.unregister(_finish_all)
        atexit.register(_finish_all)  # behind the loop's own, and so run before it


def _finish_all() -> None:
    """Finish the sessions that were not stopped, and wait for their results."""
    sessions = [*_sessions]
    for session in sessions:
        session._on_silence()  # noqa: SLF001 - of this module
    deadline = time.monotonic() + EXIT_S
    for session in sessions:
        session._delivered.wait(max(0.0, deadline - time.monotonic()))  # noqa: SLF001
    stop_callbacks()


def _forget() -> None:
    """Begin anew in a process that was forked: its parent's threads are not there."""
    _sessions.clear()
    forget_callbacks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
