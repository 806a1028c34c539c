"""When a lost connection is worth another one, and how long to wait before it.

Pure rules: the dice are an argument, nothing here waits or connects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from .errors import ASRError, ConfigurationError, RateLimitedError

if TYPE_CHECKING:
    from .vendors.options import Options

__all__ = ["Recovery", "Retry", "check_silence", "rotation_s"]

FIRST_DELAY_S = 0.25
GROWTH = 2.0
"""The longest wait before the first attempt, and what it is multiplied by before each next one."""


MAX_ASKED_S = 60.0
"""A vendor that asks for more is not waited for: the caller would rather know."""


LONG_S = 3_600.0
ROTATION_MARGIN_S = 300.0
"""Models that take hours are left five minutes before their limit; those of a minute are meant to end there."""


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


def rotation_s(retry: Retry, options: Options) -> float | None:
    """How old a connection may get, and how much audio it may carry, in seconds; None for any.

    Raises:
        ConfigurationError: the model's own limit comes first.
    """
    limit_s = None if options.max_audio_ms is None else options.max_audio_ms / 1000
    if options.audio.bytes_per_second is None:
        if retry.rotate_after is not None:
            raise ConfigurationError(
                f"Retry(rotate_after={retry.rotate_after!r}): {options.audio.encoding} cannot be cut; send pcm"
            )
        return None
    if retry.rotate_after is not None:
        if limit_s is not None and retry.rotate_after > limit_s:
            raise ConfigurationError(
                f"Retry(rotate_after={retry.rotate_after!r}): {options.model} takes {limit_s:g} s at most"
            )
        return retry.rotate_after
    return None if limit_s is None or limit_s < LONG_S else limit_s - ROTATION_MARGIN_S


def check_silence(retry: Retry, options: Options, *, takes_commits: bool) -> None:
    """Refuse to fill the pauses of a source where that cannot help.

    Raises:
        ConfigurationError: says why not, and what to do.
    """
    if retry.silence == "resume":
        return
    if options.audio.bytes_per_second is None:
        reason = f"silence cannot be put into {options.audio.encoding}; send pcm"
    elif takes_commits:
        reason = "with manual_commit=True silence would be part of the utterance"
    elif options.max_audio_ms is not None and options.max_audio_ms / 1000 < LONG_S:
        reason = f"{options.model} takes {options.max_audio_ms / 1000:g} s at most, and silence counts"
    elif options.silence_limit is not None:
        reason = f"{options.model} {options.silence_limit}"
    else:
        return
    raise ConfigurationError(f"Retry(silence='fill'): {reason}")


class Recovery:
    """How many attempts are left in this session."""

    __slots__ = ("_attempt", "retry")

    def __init__(self, retry: Retry) -> None:
        self.retry = retry
        self._attempt = 0

    def __repr__(self) -> str:
        return f"<Recovery {self._attempt} of {self.retry.attempts} attempts>"

    @property
    def attempt(self) -> int:
        """How many were made since there was progress."""
        return self._attempt

    def made_progress(self) -> None:
        """Something is final that was not, or the source only paused: the attempts count from 0 again."""
        self._attempt = 0

    def delay_s(self, error: ASRError, roll: float, *, elsewhere: bool = False) -> float | None:
        """How long to wait before the next attempt; None gives up.

        Args:
            error: what ended the connection, or the last attempt.
            roll: a random number from 0 to 1.
            elsewhere: the next attempt goes to somebody else: at once, whatever the error was.
        """
        if not (error.retryable or elsewhere) or self._attempt >= self.retry.attempts:
            return None
        if elsewhere:
            self._attempt += 1
            return 0.0
        longest_s = min(self.retry.max_delay_s, FIRST_DELAY_S * GROWTH**self._attempt)
        self._attempt += 1
        asked_s = (error.retry_after if isinstance(error, RateLimitedError) else None) or 0.0
        return max(roll * longest_s, asked_s) if asked_s <= MAX_ASKED_S else None
