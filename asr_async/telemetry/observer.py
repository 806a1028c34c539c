"""Observers: objects whose methods are called on the transitions of every session of a client.

    class Counter(Observer):
        def on_reconnect(self, session, *, attempt, error):
            reconnects.labels(session.model).inc()

    async with Client(DashScope(), observers=[Counter()]) as client:
        ...

The calls are synchronous, in the event loop, at the moment of the transition, so a method must return at once. An
exception in an observer is logged and goes no further. A client without observers pays nothing for them.

Does not know sessions, connections or any telemetry library.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from .._text.secret import tolerant_repr
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..results import Gap, Result, SessionStats

__all__ = ["Observer", "ObserverGroup", "SessionInfo", "SessionObservers", "check_tags"]

logger: logging.Logger = logging.getLogger("asr_async")

BLOCKED_S = 0.1
"""A call that takes this long is reported: it is a frame of audio, during which no session of the event loop moves."""


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a session; every method of an observer gets it first."""

    number: int
    """A number that no other session of the process has."""
    vendor: str
    model: str
    """The vendor and the model of the options that the session was made with."""
    tags: Mapping[str, str] = {}
    """The tags that the caller gave: `client.session(options, tags={"call": "4711"})`."""
    provider: str = ""
    """The provider's name in telemetry, such as "alibaba_cloud.dashscope"; the vendor's name if it has no other."""
    language: str = ""
    """The language that the options name; empty if they name none or several, or if the model detects it."""


class Observer:
    """A listener to the sessions of a client, with methods that do nothing.

    Derive from it and define the methods that you need. None of them may block or be a coroutine function. The texts of
    results are passed on unchanged: treat them as you treat the transcript.
    """

    def on_session_start(self, session: SessionInfo) -> None:
        """Record that a session is being opened."""

    def on_limit_wait_start(self, session: SessionInfo) -> None:
        """Record that the session begins to wait for `Limits`; `on_limit_wait` follows. A short check is no wait."""

    def on_limit_wait(self, session: SessionInfo, *, waited_s: float, permit: str) -> None:
        """Record that a wait for `Limits` has ended, with the permit or without it.

        Args:
            session: the session.
            waited_s: the length of the wait in seconds.
            permit: the permit that was waited for: "session" (`Limits.max_sessions`), "connect" or "start"
                (`Limits.starts_per_second`).
        """

    def on_connect(
        self, session: SessionInfo, *, duration_s: float, is_reused: bool, host: str, member: str | None
    ) -> None:
        """Record that a vendor task was opened.

        Args:
            session: the session.
            duration_s: seconds from the begin of the connecting to the ready vendor, without waits for `Limits`.
            is_reused: True if an idle connection was taken, False if a new one was made.
            host: the host and port that it goes to.
            member: the member of a `Fallback`; None for every other service.
        """

    def on_audio_sent(self, session: SessionInfo, *, size_bytes: int, duration_ms: int | None) -> None:
        """Record that a frame was sent; again for audio that is replayed. The duration is None for compressed audio."""

    def on_first_result(self, session: SessionInfo, *, delay_s: float | None) -> None:
        """Record the first result of the session: seconds since the first frame was sent."""

    def on_final(self, session: SessionInfo, result: Result, *, delay_s: float | None) -> None:
        """Record a final result.

        Args:
            session: the session.
            result: the result as the caller gets it.
            delay_s: seconds from the sending of the segment's last sample to the arrival of the result; None for
                compressed audio, and for a segment that was sent very long ago.
        """

    def on_reconnect(self, session: SessionInfo, *, attempt: int, error: Exception) -> None:
        """Record an attempt to replace a lost connection: its number since the last progress, and the cause."""

    def on_fail_over(self, session: SessionInfo, *, from_member: str | None, to_member: str | None) -> None:
        """Record that the session continues at another member of a `Fallback`, or returns to a preferred one."""

    def on_gap(self, session: SessionInfo, gap: Gap) -> None:
        """Record audio that is missing from the transcript."""

    def on_session_end(self, session: SessionInfo, *, error: BaseException | None, stats: SessionStats) -> None:
        """Record the end of a session: the error that ended it, None if it ended normally, and its figures."""


METHODS = tuple(name for name in vars(Observer) if name.startswith("on_"))
"""The names of all methods of an observer."""


def check_tags(tags: Any) -> dict[str, str]:
    """Return the tags of a session as a dict of their own.

    Raises:
        ConfigurationError: a name or a value is not a string.
    """
    if tags is None:
        return {}
    if not isinstance(tags, Mapping) or not all(isinstance(text, str) for pair in tags.items() for text in pair):
        raise ConfigurationError(f"tags={tags!r}: must be a mapping of strings to strings")
    return dict(tags)


class ObserverGroup:
    """The observers of one client.

    Raises:
        ConfigurationError: one of them is not an observer; the text says what is missing.
    """

    __slots__ = ("_callees", "_logged", "_observers")

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = _checked(observers)
        # by the name of a method, the observers that define it; the base class's own does nothing
        self._callees = {name: tuple(o for o in self._observers if _defines(o, name)) for name in METHODS}
        # the complaints that were logged as warnings: one of each kind is enough
        self._logged: set[tuple[int, str, str]] = set()

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<ObserverGroup {', '.join(type(observer).__name__ for observer in self._observers) or 'empty'}>"

    def of_session(self, session: SessionInfo) -> SessionObservers | None:
        """Return the observers for one session; None if there are none, so that a session can skip the calls."""
        return SessionObservers(self, session) if self._observers else None

    def calls(self, method: str) -> bool:
        """Return True if an observer defines this method."""
        return bool(self._callees[method])

    def notify(self, method: str, session: SessionInfo, args: tuple[Any, ...], values: dict[str, Any]) -> None:
        """Call a method of all observers that define it. An exception, or a call that blocks, is logged."""
        for observer in self._callees[method]:
            started_at = time.perf_counter()
            try:
                getattr(observer, method)(session, *args, **values)
            except Exception as error:  # noqa: BLE001 - an observer must not change what a session does
                self._log(observer, method, "raised an exception, which the session ignores", error)
            blocked_s = time.perf_counter() - started_at
            if blocked_s > BLOCKED_S:
                self._log(observer, method, "blocked the event loop; put the work into a queue or a thread", blocked_s)

    def _log(self, observer: Observer, method: str, complaint: str, cause: Exception | float) -> None:
        """Log a complaint as a warning the first time, at DEBUG after that: a method may be called for each frame."""
        key = id(observer), method, complaint
        level = logging.DEBUG if key in self._logged else logging.WARNING
        self._logged.add(key)
        error = cause if isinstance(cause, Exception) else None
        detail = "" if error is not None else f" ({cause:.1f} s)"
        logger.log(level, "%s.%s() %s%s", type(observer).__name__, method, complaint, detail, exc_info=error)


class SessionObservers:
    """The observers of a client, as one of its sessions calls them."""

    __slots__ = ("_group", "_session")

    def __init__(self, group: ObserverGroup, session: SessionInfo) -> None:
        self._group = group
        self._session = session

    def __repr__(self) -> str:
        return f"<SessionObservers {self._group!r} of session {self._session.number}>"

    def calls(self, method: Callable[..., None]) -> bool:
        """Return True if an observer defines this method, so that a session can skip the calls of each frame."""
        return self._group.calls(method.__name__)

    def notify(self, method: Callable[..., None], *args: Any, **values: Any) -> None:
        """Call a method of all observers: `notify(Observer.on_gap, gap)`. Never raises."""
        self._group.notify(method.__name__, self._session, args, values)


def _checked(observers: Any) -> tuple[Observer, ...]:
    if isinstance(observers, str | bytes) or not isinstance(observers, Iterable):
        raise ConfigurationError(f"observers={observers!r}: must be a list of observers")
    checked = tuple(observers)
    for observer in checked:
        name = observer.__name__ if isinstance(observer, type) else type(observer).__name__
        if isinstance(observer, type):
            raise ConfigurationError(f"observers: {name} is a class; pass an instance, {name}()")
        for method in METHODS:
            function = getattr(observer, method, None)
            if not callable(function):
                raise ConfigurationError(
                    f"observers: {name} has no method {method}(); derive it from asr_async.telemetry.Observer"
                )
            if inspect.iscoroutinefunction(function):
                raise ConfigurationError(
                    f"observers: {name}.{method}() is a coroutine function; observers are called synchronously, "
                    "so put the work into a queue or a task"
                )
    return checked


def _defines(observer: Observer, method: str) -> bool:
    """Return True if the observer's method is not that of the base class."""
    return getattr(getattr(observer, method), "__func__", None) is not getattr(Observer, method)
