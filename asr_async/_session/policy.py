"""When a lost connection is worth another one, and how long to wait before it.

Pure rules: the dice are an argument, nothing here waits or connects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._limits.backoff import backoff_delay_s, requested_delay_s
from ..config import Retry
from ..errors import ASRError, ConfigurationError

if TYPE_CHECKING:
    from ..vendors.options import Options
    from ..vendors.service import Service

__all__ = ["RetryBudget", "check_options", "check_silence", "rotation_s"]

FIRST_DELAY_S = 0.25
"""The longest wait before the first attempt; it doubles with each further one."""


MAX_ASKED_S = 60.0
"""A vendor that asks for more is not waited for: the caller would rather know."""


LONG_S = 3_600.0
ROTATION_MARGIN_S = 300.0
"""Models that take hours are left five minutes before their limit; those of a minute are meant to end there."""


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


def check_options(service: Service, options: Options, retry: Retry) -> None:
    """Refuse the options that a session of this service and these settings would refuse.

    Raises:
        ConfigurationError: the options are another vendor's, or `retry` asks for what the model cannot do.
    """
    check_silence(retry, options, takes_commits=service.describe(options).takes_commits)
    rotation_s(retry, options)


class RetryBudget:
    """How many attempts are left in this session."""

    __slots__ = ("_attempt", "retry")

    def __init__(self, retry: Retry) -> None:
        self.retry = retry
        self._attempt = 0

    def __repr__(self) -> str:
        return f"<RetryBudget {self._attempt} of {self.retry.attempts} attempts>"

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
        self._attempt += 1
        requested_s = requested_delay_s(error)
        if requested_s is not None and requested_s > MAX_ASKED_S:
            return None
        return backoff_delay_s(
            self._attempt - 1,
            first_s=FIRST_DELAY_S,
            longest_s=self.retry.max_delay_s,
            jitter=roll,
            requested_s=requested_s,
        )
