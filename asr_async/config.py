"""Settings of a client: deadlines, retries, limits, connections kept open. Each is checked when it is made."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from .errors import ConfigurationError

__all__ = ["Limits", "Pool", "Retry", "Timeouts", "without_credentials"]

REDIS_SCHEMES = ("redis", "rediss", "unix")


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
    first_result: float | None = None
    """The first audio of a connection → the first sign that the vendor hears something, until the session has had one.
    None, the default, waits as long as it takes: nobody has to speak, and only the caller knows whether somebody does.
    A connection that is mute for longer counts as lost, so `Retry` and `Fallback` try others before it is an error."""
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
            if name == "first_result" and value is None:
                continue
            if not isinstance(value, int | float) or not value > 0:
                raise ConfigurationError(f"Timeouts({name}={value!r}): must be a positive number of seconds")


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """What a session does when its connection is lost.

    A lost connection, one without a sign of life, and an error that the vendor means for the moment are answered with a
    new connection: it begins behind the last final result, with the audio that was kept, faster than real time until it
    has caught up. What was final is not told again, times go on as if nothing had happened. The first connection of a
    session is not repeated: who opens one learns at once what is wrong.

    Compressed audio (mp3, opus, aac, amr, speex) cannot be cut: it is sent again from the start of its container, while
    all of it fits into `buffer_s` (a second counts as 16,000 bytes); after that a lost connection is an
    `AudioLostError`, whatever `on_gap` says.

    Raises:
        ConfigurationError: a value out of range.
    """

    attempts: int = 5
    """Connections that are tried in a row without any new final result; 0 never reconnects."""
    max_delay_s: float = 10.0
    """The longest wait before an attempt, but for what the vendor asks for. Each wait is a random part of a longest one
    that begins at a quarter of a second and doubles (full jitter: many sessions lost at once do not come back at once).
    """
    buffer_s: float = 60.0
    """How much audio without a final result is kept to be sent again: at 16 kHz 1.9 MB a minute, in use only where
    somebody speaks, or nobody, for so long. More than that is a gap. With `pace=None` the network alone may hold a
    minute that the vendor has not read: keep more, or give a pace, where a vendor is known to stall."""
    on_gap: Literal["raise", "continue"] = "raise"
    """What audio means that had to be given up: an `AudioLostError`, or a `Gap` in `events()` and the rest."""
    silence: Literal["resume", "fill"] = "resume"
    """What is done for a source that pauses, since vendors end a task to which nothing is sent (Huawei after 20 s,
    DashScope after 23 or 60 s): "resume" lets them, and connects again when the source has something to say; "fill"
    sends silence in its place, in real time, from the fifth second on. So the end of what was said is recognised while
    nobody speaks, and the next word finds an open connection; but *silence is billed as audio is*
    (`SessionStats.silence_sent_ms`). Times stay those of the source. Refused where it cannot help: compressed audio,
    `manual_commit`, models that take a minute, and tasks that end in silence too (DashScope without `heartbeat=True`).
    """
    rotate_after: float | None = None
    """Seconds, of the connection or of its audio, after which it is replaced before anything happens to it: the next
    one is opened first and taken at the end of a segment, no audio is lost or sent twice. None does so five minutes
    before the model's own limit, if that is one of hours. Compressed audio cannot be cut."""

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int) or self.attempts < 0:
            raise ConfigurationError(f"Retry(attempts={self.attempts!r}): must be a whole number, 0 or more")
        for name in ("max_delay_s", "buffer_s", "rotate_after"):
            value = getattr(self, name)
            if name == "rotate_after" and value is None:
                continue
            if not isinstance(value, int | float) or not value > 0:
                raise ConfigurationError(f"Retry({name}={value!r}): must be a positive number of seconds")
        if self.on_gap not in {"raise", "continue"}:
            raise ConfigurationError(f"Retry(on_gap={self.on_gap!r}): 'raise' or 'continue'")
        if self.silence not in {"resume", "fill"}:
            raise ConfigurationError(f"Retry(silence={self.silence!r}): 'resume' or 'fill'")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions and starts a client allows itself, for each account and model.

    Who would exceed a limit waits: first come, first served. All clients of an event loop count together, of several
    processes and machines with `shared`; each client holds itself to its own numbers. The members of a `Fallback` are
    counted apart. When the vendor refuses because of too many (`RateLimitedError`), nobody starts with that account and
    model for as long as it asks, or for a second, and twice as long each time, up to 30 seconds.

    Raises:
        ConfigurationError: a value out of range, or a URL that is not one of Redis.
    """

    max_sessions: int | None = None
    """Sessions at once. None, since no vendor publishes a number: any. A session counts from before its first
    connection until it has ended, while it reconnects too."""
    starts_per_second: int | Literal["published"] | None = "published"
    """Starts of tasks in any second, whatever second: of sessions, and of connections that replace another. New
    connections are held to the same number. "published" is the vendor's figure for the model (`models()` has it), on
    this machine (`Local()`) and where there is none, any; None is any."""
    wait: float = 30.0
    """Seconds that a session waits for its place, and each connection for its turn; then a `DeadlineError`."""
    shared: str | None = None
    """The Redis (5 or later) where processes and machines count together: `redis://host:6379/0`, `rediss://...` with
    TLS, or `unix:///path`; extra `redis`. It has to answer within 50 ms for a start to be made. A killed process's
    sessions count for 30 seconds more. While Redis is not to be reached no session begins (`ConnectionLostError`);
    running ones go on, until they need another connection."""

    def __post_init__(self) -> None:
        for name, word in (("max_sessions", None), ("starts_per_second", "published")):
            value = getattr(self, name)
            if value is not None and value != word and (type(value) is not int or value < 1):
                words = f"{word!r} or " if word else ""
                raise ConfigurationError(f"Limits({name}={value!r}): must be a whole number, 1 or more, {words}None")
        if not isinstance(self.wait, int | float) or not self.wait > 0:
            raise ConfigurationError(f"Limits(wait={self.wait!r}): must be a positive number of seconds")
        if self.shared is not None:
            _check_redis_url(self.shared)

    def __repr__(self) -> str:
        shared = None if self.shared is None else without_credentials(self.shared)
        numbers = f"max_sessions={self.max_sessions!r}, starts_per_second={self.starts_per_second!r}"
        return f"Limits({numbers}, wait={self.wait!r}, shared={shared!r})"


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections a client keeps between sessions.

    Raises:
        ConfigurationError: a value out of range.
    """

    warm: int = 0
    """How many are held ready at each place that sessions go to, so that a session begins without a handshake. They are
    opened in the background after the first session there, or by `Client.warm`, and replaced when they are taken, lost
    or old. Only where the vendor takes several tasks on one connection."""
    max_idle: int = 8
    """0 closes each connection behind its session. What is beyond closes the one that would be closed first anyway."""

    def __post_init__(self) -> None:
        for name in ("max_idle", "warm"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ConfigurationError(f"Pool({name}={value!r}): must be a whole number, 0 or more")
        if self.warm > self.max_idle:
            raise ConfigurationError(
                f"Pool(warm={self.warm}, max_idle={self.max_idle}): no more can be warm than may wait; raise max_idle"
            )


def _check_redis_url(url: object) -> None:
    """Refuse what is not a URL of Redis. No text says what was given: it may hold a password."""
    form = "must be redis://host:port/0, rediss://host:port/0 or unix:///path"
    if not isinstance(url, str):
        raise ConfigurationError(f"Limits(shared=...): {form}")
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at when it is asked for
    except ValueError:
        raise ConfigurationError(f"Limits(shared=...): {form}") from None
    if parts.scheme not in REDIS_SCHEMES or not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ConfigurationError(f"Limits(shared=...): {form}")


def without_credentials(url: str) -> str:
    """Return a Redis URL as errors and `repr` may show it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
