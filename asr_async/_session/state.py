"""The states of a session and of its connection, as two tables, and the facts that the parts of a session share.

Everything here is synchronous: it decides, and the tasks of the session act. A step that a table does not contain is a
`LocalProtocolError` with the step and the state in it, so a wrong order of calls never goes unnoticed.

    session      NEW ─► OPENING ─► OPEN ─► STREAMING | PUSHING ─► FINISHING ─► ENDED ─► CLOSED

    connection   NONE ─► CONNECTING ─► UP ─► DRAINING ─► LOST ─► CONNECTING ...
                                                │          └───► IDLE ─► CONNECTING ...
                                                └──────────────► IDLE

`FINISHING` begins when the source has ended. A connection is `DRAINING` when nothing more is sent on it, but its last
results may still arrive; `LOST` when it is gone and another one may follow; `IDLE` when it was lost during a pause of
the source, or its task was completed by `finalize`, and the next one waits for audio.

Does not know sockets, codecs or results.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Generic, TypeVar

from .._loop.event import LightEvent
from .._loop.tasks import TaskSet
from ..errors import ASRError, LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from .._connection.task import RecognitionTask
    from ..sources import TaskEnd
    from ..telemetry.observer import SessionObservers
    from ..vendors.codec import Ending

__all__ = [
    "CONNECTION_TRANSITIONS",
    "SESSION_TRANSITIONS",
    "ConnectionState",
    "ConnectionStep",
    "SessionConnection",
    "SessionState",
    "SessionStatus",
    "SessionStep",
    "SourceStatus",
    "StateMachine",
]


class SessionState(enum.Enum):
    """The stage of a session's life."""

    __hash__ = object.__hash__  # members are singletons; the default hashes the name at each look-up

    NEW = "new"
    OPENING = "opening"
    OPEN = "open"
    STREAMING = "streaming"
    PUSHING = "pushing"
    FINISHING = "finishing"
    ENDED = "ended"
    CLOSED = "closed"


class SessionStep(enum.Enum):
    """An event in a session's life."""

    __hash__ = object.__hash__

    OPEN = "open"
    CONNECTED = "report the first connection"
    STREAM = "stream a source"
    PUSH = "push audio"
    SOURCE_ENDED = "finish the source"
    END = "end"
    CLOSE = "close"


SESSION_TRANSITIONS: dict[tuple[SessionState, SessionStep], SessionState] = {
    (SessionState.NEW, SessionStep.OPEN): SessionState.OPENING,
    (SessionState.OPENING, SessionStep.CONNECTED): SessionState.OPEN,
    (SessionState.OPEN, SessionStep.STREAM): SessionState.STREAMING,
    (SessionState.OPEN, SessionStep.PUSH): SessionState.PUSHING,
    (SessionState.STREAMING, SessionStep.SOURCE_ENDED): SessionState.FINISHING,
    (SessionState.PUSHING, SessionStep.SOURCE_ENDED): SessionState.FINISHING,
    # a session may end at any time
    (SessionState.NEW, SessionStep.END): SessionState.ENDED,
    (SessionState.OPENING, SessionStep.END): SessionState.ENDED,
    (SessionState.OPEN, SessionStep.END): SessionState.ENDED,
    (SessionState.STREAMING, SessionStep.END): SessionState.ENDED,
    (SessionState.PUSHING, SessionStep.END): SessionState.ENDED,
    (SessionState.FINISHING, SessionStep.END): SessionState.ENDED,
    # one that ended before it was used still hands out its error
    (SessionState.ENDED, SessionStep.STREAM): SessionState.ENDED,
    (SessionState.ENDED, SessionStep.PUSH): SessionState.ENDED,
    (SessionState.ENDED, SessionStep.SOURCE_ENDED): SessionState.ENDED,
    (SessionState.ENDED, SessionStep.CLOSE): SessionState.CLOSED,
    (SessionState.CLOSED, SessionStep.SOURCE_ENDED): SessionState.CLOSED,
    (SessionState.CLOSED, SessionStep.CLOSE): SessionState.CLOSED,
}
"""The whole life of a session."""

SESSION_ADVICE = {
    SessionStep.OPEN: "it is opened once, make another with client.session(...)",
    SessionStep.STREAM: "open it with 'async with', and use it once",
    SessionStep.PUSH: "push only into an open session, without stream()",
}
"""The way out, for the steps that a caller takes."""


class ConnectionState(enum.Enum):
    """The stage of the connection that a session sends to."""

    __hash__ = object.__hash__

    NONE = "not connected"
    CONNECTING = "connecting"
    UP = "up"
    DRAINING = "draining"
    LOST = "lost"
    IDLE = "idle"


class ConnectionStep(enum.Enum):
    """An event in the life of a session's connections."""

    __hash__ = object.__hash__

    CONNECT = "connect"
    CONNECTED = "use a new connection"
    SWITCH = "switch to the next connection"
    STOP_SENDING = "stop sending"
    LOSE = "lose the connection"
    REST = "wait for audio"
    COMPLETE = "complete a task"


CONNECTION_TRANSITIONS: dict[tuple[ConnectionState, ConnectionStep], ConnectionState] = {
    (ConnectionState.NONE, ConnectionStep.CONNECT): ConnectionState.CONNECTING,
    (ConnectionState.CONNECTING, ConnectionStep.CONNECTED): ConnectionState.UP,
    (ConnectionState.CONNECTING, ConnectionStep.LOSE): ConnectionState.LOST,
    (ConnectionState.UP, ConnectionStep.SWITCH): ConnectionState.UP,
    (ConnectionState.UP, ConnectionStep.STOP_SENDING): ConnectionState.DRAINING,
    (ConnectionState.UP, ConnectionStep.LOSE): ConnectionState.LOST,
    (ConnectionState.DRAINING, ConnectionStep.LOSE): ConnectionState.LOST,
    (ConnectionState.DRAINING, ConnectionStep.COMPLETE): ConnectionState.IDLE,
    (ConnectionState.LOST, ConnectionStep.CONNECT): ConnectionState.CONNECTING,
    (ConnectionState.LOST, ConnectionStep.REST): ConnectionState.IDLE,
    (ConnectionState.IDLE, ConnectionStep.CONNECT): ConnectionState.CONNECTING,
}
"""The life of a session's connections, one after another; `SWITCH` is a rotation or a fail-back."""

S = TypeVar("S", bound=enum.Enum)
E = TypeVar("E", bound=enum.Enum)


class StateMachine(Generic[S, E]):
    """A state that only moves as its table says."""

    __slots__ = ("_advice", "_name", "_transitions", "state")

    def __init__(
        self, name: str, start: S, transitions: Mapping[tuple[S, E], S], advice: Mapping[E, str] | None = None
    ) -> None:
        """Begin in a state.

        Args:
            name: the subject of error texts.
            start: the first state.
            transitions: the table.
            advice: the way out, behind the error text of a step.
        """
        self._name = name
        self._transitions = transitions
        self._advice = advice or {}
        self.state = start

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.value}>"

    def allows(self, step: E) -> bool:
        """Return True if the table contains the step in the present state."""
        return (self.state, step) in self._transitions

    def advance(self, step: E) -> None:
        """Move to the next state.

        Raises:
            LocalProtocolError: the table does not contain the step in this state; the text names both.
        """
        next_state = self._transitions.get((self.state, step))
        if next_state is None:
            raise self.refusal(step)
        self.state = next_state

    def refusal(self, step: E) -> LocalProtocolError:
        """Return the error for a step that is not possible in the present state; the text names both."""
        advice = f": {self._advice[step]}" if step in self._advice else ""
        return LocalProtocolError(f"cannot {step.value} while the {self._name} is {self.state.value}{advice}")


class SessionConnection(StateMachine[ConnectionState, ConnectionStep]):
    """The connection of a session: its state, the task that audio is sent to, and the one that still drains.

    At a rotation or a fail-back there are two tasks: audio goes to `task` already, while the last results of `draining`
    are still read.
    """

    __slots__ = ("_changed", "draining", "ending", "has_watchers", "send_error", "task", "task_ends")

    def __init__(self) -> None:
        super().__init__("connection", ConnectionState.NONE, CONNECTION_TRANSITIONS)
        self.task: RecognitionTask | None = None
        self.draining: RecognitionTask | None = None
        # the calls of `finalize` that the end of `task` completes
        self.task_ends: list[TaskEnd] = []
        # the event that ended the task that is read, and the error of a failed send: the receiver decides about both
        self.ending: Ending | None = None
        self.send_error: ASRError | None = None
        # set when a frame was sent, or the state changed; per frame only if `has_watchers`
        self._changed = LightEvent()
        self.has_watchers = False

    @property
    def is_up(self) -> bool:
        """True if messages can be sent."""
        return self.state is ConnectionState.UP

    @property
    def tasks(self) -> list[RecognitionTask]:
        """All tasks on open connections."""
        return [task for task in (self.task, self.draining) if task is not None]

    def use(self, task: RecognitionTask, step: ConnectionStep) -> None:
        """Send to this task from now on."""
        self.advance(step)
        self.task = task
        self.send_error = None
        self.notify()

    def stop_sending(self) -> None:
        """Send nothing more; results may still arrive. Idempotent."""
        if self.allows(ConnectionStep.STOP_SENDING):
            self.advance(ConnectionStep.STOP_SENDING)

    def record_ending(self, task: RecognitionTask, ending: Ending) -> None:
        """Record the event that ended a task: nothing more is sent to it."""
        self.ending = ending
        if task is self.task:
            self.stop_sending()

    async def next_change(self) -> None:
        """Wait until a frame was sent, or the state has changed, or the session has ended."""
        self.has_watchers = True
        self._changed.clear()
        await self._changed.wait()

    def notify(self) -> None:
        """Wake the waits for `next_change`."""
        self.has_watchers = False
        self._changed.set()


class SourceStatus:
    """The state of a session's source: since when it has brought nothing, and the error that ended it."""

    __slots__ = ("audio_arrived", "error", "is_connection_needed", "quiet_since", "reading")

    def __init__(self) -> None:
        self.error: Exception | None = None
        # a connection is needed although the source pauses
        self.is_connection_needed = False
        # the instant from which on the source has brought nothing; None while its audio is being sent
        self.quiet_since: float | None = None
        self.audio_arrived = LightEvent()
        # the scope in which the source is read; None if it is not
        self.reading: asyncio.Timeout | None = None

    def record_wait(self, now: float) -> None:
        """Record that the source was asked for more audio."""
        if self.quiet_since is None:
            self.quiet_since = now

    def record_arrival(self) -> None:
        """Record that the source brought audio, or its end."""
        self.quiet_since = None
        self.audio_arrived.set()

    def request_connection(self) -> None:
        """End the wait for audio of a session without a connection."""
        self.is_connection_needed = True
        self.audio_arrived.set()

    def quiet_s(self, now: float) -> float:
        """Return the time for which the source has brought nothing; 0 while its audio is being sent."""
        return 0.0 if self.quiet_since is None else now - self.quiet_since

    def stop_reading(self) -> None:
        """Cancel the reading of the source once, so that it can still clean up. Idempotent."""
        if self.reading is not None and not self.reading.expired():
            self.reading.reschedule(asyncio.get_running_loop().time())


class SessionStatus(StateMachine[SessionState, SessionStep]):
    """The state of a session, with the status of its connection and its source, and its outcome."""

    __slots__ = (
        "_on_end",
        "_traceback",
        "codec_error",
        "connection",
        "ended",
        "error",
        "input_closed",
        "is_confirmed",
        "observers",
        "progress",
        "source",
        "tasks",
    )

    def __init__(
        self, on_end: Callable[[BaseException | None], None], observers: SessionObservers | None = None
    ) -> None:
        """Begin as a new session.

        Args:
            on_end: closes what the session has open; called once.
            observers: the observers of the session; None if there are none.
        """
        super().__init__("session", SessionState.NEW, SESSION_TRANSITIONS, SESSION_ADVICE)
        self._on_end = on_end
        self.observers = observers
        self.connection = SessionConnection()
        self.source = SourceStatus()
        self.tasks = TaskSet()
        # the vendor takes no more audio in this session (`InputClosed`), whatever the source still has
        self.input_closed = False
        # set when results have covered more audio, when audio was finished, and at the end
        self.progress = LightEvent()
        # the outcome: `error` is None if the vendor has confirmed the end, or the caller cancelled
        self.ended = LightEvent()
        self.error: BaseException | None = None
        self.is_confirmed = False
        # the error of a codec that failed outside of a message, at the end of the session for instance
        self.codec_error: ASRError | None = None
        # that of the error at the end: each raise would lengthen it, and keep the frames and the audio of the caller
        self._traceback: TracebackType | None = None

    @property
    def has_ended(self) -> bool:
        """True if the outcome is known."""
        return self.state is SessionState.ENDED or self.state is SessionState.CLOSED

    @property
    def source_has_ended(self) -> bool:
        """True if no more audio comes from the source."""
        return self.state is SessionState.FINISHING or self.has_ended

    def close_input(self) -> None:
        """Send no more audio in this session: the vendor has closed its input. Idempotent."""
        self.input_closed = True
        self.source.stop_reading()

    def end(self, error: BaseException | None) -> None:
        """End the session; only the first call counts.

        An error of the source takes precedence: it is the reason why the rest of the audio is missing.
        """
        if self.has_ended:
            return
        self._on_end(error)
        self.error = self.source.error or error or self.codec_error
        self._traceback = None if self.error is None else self.error.__traceback__
        self.advance(SessionStep.END)
        self.connection.stop_sending()
        self.connection.notify()
        self.ended.set()
        self.progress.set()

    def confirm(self) -> None:
        """End the session as the vendor confirmed it: all results have arrived."""
        self.is_confirmed = not self.has_ended
        self.end(None)

    def raise_if_failed(self) -> None:
        """Raise the error that ended the session, if any."""
        if self.error is not None:
            raise self.error.with_traceback(self._traceback)
