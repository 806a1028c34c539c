"""Settings of a client: deadlines, retries, limits, connections kept open. Each is checked when it is made."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from ._text.secret import ShownByRepr, secret_url, shown_url
from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Limits", "NamedSettings", "Pool", "Retry", "Timeouts", "did_you_mean"]

REDIS_SCHEMES = ("redis", "rediss", "unix")


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """Return the most similar known name as a question for an error text; all known names if none is similar."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


class NamedSettings(msgspec.StructMeta):
    """The metaclass of settings that are passed by name: a name that they do not have is a `ConfigurationError`."""

    if not TYPE_CHECKING:  # a type checker takes the arguments from the fields

        def __call__(cls, *args: Any, **settings: Any) -> Any:  # noqa: D102, N805 - a method of a metaclass
            if args:
                raise ConfigurationError(f"{cls.__name__}: pass its settings by name, {cls.__struct_fields__[0]}=...")
            for name in settings:
                if name not in cls.__struct_fields__:
                    known = did_you_mean(name, cls.__struct_fields__)
                    raise ConfigurationError(f"{cls.__name__}({name}=...): there is no such setting; {known}")
            # no local variable in a traceback shows the password in a URL
            settings = {
                name: secret_url(value) if isinstance(value, str) else value for name, value in settings.items()
            }
            return super().__call__(**settings)


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, metaclass=NamedSettings):
    """The deadlines of a session in seconds; every wait for the vendor has one.

    Args:
        connect: one deadline for credentials, name resolution, TCP, TLS and the WebSocket handshake together.
        start: from the start of the vendor task until the vendor is ready. The vendors' own samples give up after 10 s.
        idle: the longest time without any data from the vendor, even a pong; also the limit of a blocked send, and of
            a caller that takes no result while so many wait that audio or further results are held back (`Session`).
            The vendor's silence does not count while its messages are not read for that reason.
        first_result: from the first audio of a connection to the first sign that the vendor recognises speech, until
            the session has received one such sign. None, the default, sets no deadline: a source may be silent, and
            only the caller knows whether it contains speech. A connection that exceeds the deadline counts as lost, so
            `Retry` and `Fallback` try other connections before the session raises.
        finish: the longest time after `finish` in which the results make no progress in the audio that was sent. It
            does not limit a long backlog that the vendor is still working through, only a vendor that never confirms
            the end, or works through the backlog more slowly than a tenth of real time: the end as a whole takes at
            most `finish` and ten times the length of the audio without a result. Compressed audio whose length is not
            known counts with the longest that it can have, a second for each 250 bytes. Where the vendor confirms the
            end by nothing (`FunASR2Pass` with some servers), the time begins when the audio could have been recognised
            in real time.
        translation: the longest time that a final result waits for the final translation into each requested language.
            It is delivered earlier if all of them have arrived, if the translation of a later segment is final, or if
            the session ends; see `Result.translations`.
        close: the closing handshake of the WebSocket.

    Raises:
        ConfigurationError: a value is not a positive number.
    """

    connect: float = 10.0
    start: float = 10.0
    idle: float = 20.0
    first_result: float | None = None
    finish: float = 10.0
    translation: float = 5.0
    close: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name == "first_result" and value is None:
                continue
            if not isinstance(value, int | float) or not value > 0:
                raise ConfigurationError(f"Timeouts({name}={value!r}): must be a positive number of seconds")


class Retry(msgspec.Struct, frozen=True, kw_only=True, metaclass=NamedSettings):
    """The recovery of a session after its connection is lost: reconnect, replay, rotate.

    A session reconnects after a lost connection, after the idle timeout, and after a vendor error that is temporary.
    The new connection begins where the final results of the lost one end, or where a segment is open before that, and a
    tenth of a second earlier, the exactness of a vendor's times; where words have times, with a whole word, so up to
    1.6 s earlier. The buffered audio is replayed faster than real time until it has caught up.
    A result that overlaps final ones keeps only its new words; where nothing tells which words
    are new, it is delivered whole, with `Result.may_repeat`. Times continue as if the connection had not been lost. The
    first connection of a session is not retried: opening a session raises the error at once.

    Compressed audio is cut between its packets: mp3, AAC in ADTS, AMR, AMR-WB, and Opus and Speex in Ogg. The replay
    begins about a tenth of a second before that place (with mp3 of the lowest rates up to half a second), since a
    decoder needs the audio in front of it. Audio in another container (m4a, WebM), or without one, cannot be
    cut. It is replayed from its start as long as all of it fits into `buffer_s` (one second counts as 16,000 bytes);
    after that, a lost connection raises an `AudioLostError`, regardless of `on_gap`.

    Args:
        attempts: the most connections in a row without progress; 0 never reconnects. A final result is progress if it
            covers at least a tenth of a second of audio that no earlier one covered: repeats do not count.
        max_delay_s: the longest backoff before an attempt, unless the vendor asks for more. Each backoff is a random
            part of a limit that starts at 0.25 s and doubles (full jitter: sessions that are lost together do not
            reconnect together).
        buffer_s: the amount of audio without a final result that is kept for replay, in seconds: 1.9 MB per minute at
            16 kHz. It fills up only while no final result arrives, in long utterances or long silence. If a connection
            is lost, older audio is a gap. With `pace=None` the network alone may hold a minute that the vendor has not
            read: for a vendor that is known to stall, keep more or set a pace.
        on_gap: the effect of audio that a reconnect loses: "raise" raises `AudioLostError`, "continue" makes a `Gap` of
            it (see `Transcript.gaps`). Audio that the vendor received and did not recognise is a `Gap` in any case.
        silence: the handling of a source that pauses, since vendors end a task that receives nothing (Huawei after
            20 s, DashScope after 23 or 60 s). "resume" lets the task end, and reconnects when the source yields audio
            again, which does not count as an attempt. "fill" sends silence in real time, from the fifth second of the
            pause on: the last utterance becomes final during the pause, and the next one finds an open connection, but
            *silence is billed like audio* (`SessionStats.silence_sent_ms`). Times remain those of the source. "fill" is
            refused where it cannot help: for compressed audio, for `manual_commit`, for models that accept at most a
            minute, and for tasks that end in silence too (DashScope without `heartbeat=True`).
        rotate_after: the age of a connection, or the length of its audio, in seconds, after which it is rotated: a new
            connection is opened first and replaces it at the end of a segment, so no audio is lost. What was sent
            behind that end by then, mostly a second or two, is sent to the new connection too, since a word may have
            begun there; words that both recognise are delivered once. Where results have no times (vLLM, `FunASR2Pass`
            with a server that reports none) nothing is sent twice, so a word that is being spoken may be cut in two.
            None rotates five minutes before the limit of the model, if that limit is hours long. For audio that cannot
            be cut, a value is refused when the audio arrives.

    Raises:
        ConfigurationError: a value is out of range.
    """

    attempts: int = 5
    max_delay_s: float = 10.0
    buffer_s: float = 60.0
    on_gap: Literal["raise", "continue"] = "raise"
    silence: Literal["resume", "fill"] = "resume"
    rotate_after: float | None = None

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
            raise ConfigurationError(f"Retry(on_gap={self.on_gap!r}): must be 'raise' or 'continue'")
        if self.silence not in {"resume", "fill"}:
            raise ConfigurationError(f"Retry(silence={self.silence!r}): must be 'resume' or 'fill'")


class Limits(ShownByRepr, frozen=True, kw_only=True, metaclass=NamedSettings):
    """The sessions and starts that a client allows itself, for each account and model.

    A session that would exceed a limit waits, in the order of arrival. All clients of an event loop are counted
    together, and with `shared` those of several processes and machines; each client keeps to its own limits. The
    members of a `Fallback` are counted separately. When the vendor refuses a session because there are too many
    (`RateLimitedError`), no session starts with that account and model for the time that the vendor requests; without
    a request, for a second, and twice as long after each further refusal, up to 30 seconds.

    Args:
        max_sessions: the maximum number of sessions at once. None, the default, is no limit, since no vendor publishes
            a number. A session counts from before its first connection until it has ended, also while it reconnects.
        starts_per_second: the maximum number of starts of tasks in any second: of new sessions, and of connections that
            replace another. The same number limits new connections. "published" is the number that the vendor publishes
            for the model (see `models()`); there is no limit where it publishes none, and on this machine (`Local()`).
            None is no limit.
        wait: the longest time in seconds that a session waits until it may begin, and each of its connections until it
            may be made; then a `DeadlineError` is raised.
        shared: the URL of the Redis (5 or later) in which processes and machines are counted together:
            `redis://host:6379/0`, `rediss://...` with TLS, or `unix:///path`; needs the extra `redis`. A start is made
            only if Redis replies within 50 ms, by the clock of Redis, so that the machines' clocks do not matter. The
            sessions of a process that was killed count for 30 seconds more. While Redis is unreachable, sessions wait,
            and raise a `ConnectionLostError` after `wait`; open ones continue until they need another connection. After
            a loss of its data (a restart, FLUSHALL), open sessions are counted again first: with `max_sessions`, new
            ones wait for two seconds at most. So do the first ones of a Redis that has started just now.

    Raises:
        ConfigurationError: a value is out of range, or the URL is not one of Redis.
    """

    max_sessions: int | None = None
    starts_per_second: int | Literal["published"] | None = "published"
    wait: float = 30.0
    shared: str | None = None

    def __post_init__(self) -> None:
        for name, other, alternatives in (
            ("max_sessions", None, " or None"),
            ("starts_per_second", "published", ", 'published' or None"),
        ):
            value = getattr(self, name)
            if value is not None and value != other and (type(value) is not int or value < 1):
                raise ConfigurationError(f"Limits({name}={value!r}): must be a positive whole number{alternatives}")
        if not isinstance(self.wait, int | float) or not self.wait > 0:
            raise ConfigurationError(f"Limits(wait={self.wait!r}): must be a positive number of seconds")
        if self.shared is not None:
            msgspec.structs.force_setattr(self, "shared", _checked_redis_url(self.shared))

    def __repr__(self) -> str:
        shared = None if self.shared is None else shown_url(self.shared)
        numbers = f"max_sessions={self.max_sessions!r}, starts_per_second={self.starts_per_second!r}"
        return f"Limits({numbers}, wait={self.wait!r}, shared={shared!r})"


class Pool(msgspec.Struct, frozen=True, kw_only=True, metaclass=NamedSettings):
    """The connections that a client keeps open between sessions, for vendors that accept several tasks on one.

    With DashScope's task protocol and with Huawei, the next session then starts without a handshake, such as the next
    sentence of `GummyChat` or of `Rasr(mode="sentence")`. A connection is kept for less time than the vendor keeps it.

    Args:
        warm: the connections that are kept ready at each endpoint, so that a session starts without a handshake. They
            are opened in the background after the first session at the endpoint, or by `Client.warm`, and replaced when
            they are used, lost or too old.
        max_idle: the maximum number of connections that are kept in all. 0 closes each connection after its session. A
            further connection replaces the one that would be closed next.

    Raises:
        ConfigurationError: a value is out of range.
    """

    warm: int = 0
    max_idle: int = 8

    def __post_init__(self) -> None:
        for name in ("max_idle", "warm"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ConfigurationError(f"Pool({name}={value!r}): must be a whole number, 0 or more")
        if self.warm > self.max_idle:
            raise ConfigurationError(
                f"Pool(warm={self.warm}, max_idle={self.max_idle}): warm must not exceed max_idle; raise max_idle"
            )


def _checked_redis_url(url: object) -> str:
    """Return the URL, as a secret if it holds one.

    Raises:
        ConfigurationError: the value is not a URL of Redis. The error does not show it: it may contain a password.
    """
    form = "must be redis://host:port/0, rediss://host:port/0 or unix:///path"
    if not isinstance(url, str):
        raise ConfigurationError(f"Limits(shared=...): {form}")
    url = secret_url(url, "make Limits(shared=...) in the process that uses it")
    if not _is_redis_url(url):
        raise ConfigurationError(f"Limits(shared=...): {form}")
    return url


def _is_redis_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # validated only when it is read
    except ValueError:
        return False
    return parts.scheme in REDIS_SCHEMES and bool(parts.path if parts.scheme == "unix" else parts.hostname)
