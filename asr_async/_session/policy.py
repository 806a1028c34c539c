"""The decisions about the connections of a session: whether another one is worth it, when, and how to change over.

Pure rules: every fact and the random number are arguments, and the answer says what to do. Nothing here waits, connects
or looks at a clock.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from .._limits.backoff import backoff_delay_s, requested_delay_s
from ..config import Retry
from ..errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, LocalProtocolError, VendorError

if TYPE_CHECKING:
    from ..vendors.options import Options
    from ..vendors.service import Service

__all__ = [
    "Handover",
    "ReconnectPolicy",
    "SendFailure",
    "check_options",
    "check_silence",
    "commit_refusal",
    "decide_handover",
    "decide_send_failure",
    "first_cause",
    "longest_finish_s",
    "rotation_s",
]

FIRST_DELAY_S = 0.25
"""The longest delay before the first attempt; it doubles before each next one."""

MAX_REQUESTED_S = 60.0
"""A vendor that requests a longer delay is an error for the caller, who can decide better than a session."""

LONG_S = 3_600.0
ROTATION_MARGIN_S = 300.0
"""A connection to a model that takes hours is replaced five minutes before the model's limit. Models that take a minute
are meant to end there."""

QUIET_S = 10.0
"""A source that has brought nothing for this long is in a pause. The vendors' own timers are 20 s and more."""

SEGMENT_PATIENCE_S = 30.0
"""The time for which a change of connections waits for the end of a segment; the vendors cut a segment at 60 s."""

SLOWEST_SPEED = 0.1
"""The speed at which a vendor has to work through audio at least, in seconds of audio per second; 1 is real time."""


class ReconnectPolicy:
    """The rules for the time after a lost connection, and the number of attempts so far."""

    __slots__ = ("_attempt", "retry")

    def __init__(self, retry: Retry) -> None:
        self.retry = retry
        self._attempt = 0

    def __repr__(self) -> str:
        return f"<ReconnectPolicy {self._attempt} of {self.retry.attempts} attempts>"

    @property
    def attempt(self) -> int:
        """The number of attempts since there was progress."""
        return self._attempt

    def record_progress(self) -> None:
        """Count the attempts from 0 again: final results cover more audio, or the source has only paused."""
        self._attempt = 0

    def is_idle_loss(
        self, error: ASRError, *, quiet_s: float, source_has_ended: bool, is_finalizing: bool = False
    ) -> bool:
        """Return True if a loss only means that the source paused for longer than the vendor waits.

        The next connection waits for audio then, and no attempt is counted. Where pauses are filled with silence, only
        the vendor's own end of the task means that.

        Args:
            error: the error that ended the connection.
            quiet_s: the time for which the source has brought nothing.
            source_has_ended: no more audio comes from the source.
            is_finalizing: a call of `finalize` waits for the audio that is sent again: more may never come.
        """
        is_expected = self.retry.silence == "resume" or isinstance(error, VendorError)
        may_retry = error.retryable and self.retry.attempts > 0
        may_rest = not (source_has_ended or is_finalizing) and quiet_s >= QUIET_S
        return may_retry and is_expected and may_rest

    def next_delay_s(
        self, error: ASRError, jitter: float, *, fail_over: bool = False, input_closed: bool = False
    ) -> float | None:
        """Return the delay before the next attempt, and count it; None if the session should end with the error.

        Args:
            error: the error that ended the connection, or the last attempt.
            jitter: a random number from 0 to 1, the share of the longest delay.
            fail_over: another member takes over: at once, whatever the error is.
            input_closed: the vendor has closed the input of the session: one sentence is not recognised twice.
        """
        if input_closed or not (error.retryable or fail_over) or self._attempt >= self.retry.attempts:
            return None
        attempt, self._attempt = self._attempt, self._attempt + 1
        if fail_over:
            return 0.0
        requested_s = requested_delay_s(error)
        if requested_s is not None and requested_s > MAX_REQUESTED_S:
            return None
        return backoff_delay_s(
            attempt, first_s=FIRST_DELAY_S, longest_s=self.retry.max_delay_s, jitter=jitter, requested_s=requested_s
        )


def first_cause(error: ASRError, send_error: ASRError | None) -> ASRError:
    """Return the error of a failed send, if the receiver only found that the connection is gone, else the error."""
    return send_error if send_error is not None and isinstance(error, ConnectionLostError) else error


class SendFailure(enum.Enum):
    """The action after a send that failed."""

    IGNORE = "ignore it"
    END_SESSION = "end the session"
    ABORT = "abort the connection"
    READ_ON = "abort the connection after the last words of the vendor"


def decide_send_failure(error: ASRError, *, is_in_use: bool) -> SendFailure:
    """Decide what to do after a send that failed.

    A failed send is often the second sign: the vendor's own error may still be on its way in, so it is read first.

    Args:
        error: the error of the send.
        is_in_use: the connection is up and the one that the session sends to; else the loss is known already.
    """
    if isinstance(error, LocalProtocolError):  # a defect on this side, which another connection does not mend
        return SendFailure.END_SESSION
    if not is_in_use:
        return SendFailure.IGNORE
    return SendFailure.ABORT if isinstance(error, DeadlineError) else SendFailure.READ_ON


class Handover(enum.Enum):
    """The next action on the way from a connection that is still good to its successor."""

    OPEN = "open the successor"
    WAIT = "wait for the end of a segment"
    SWITCH = "send to the successor"
    CANCEL = "keep the connection, and close the successor"


def decide_handover(*, is_in_use: bool, has_successor: bool, segment_has_ended: bool, waited_s: float) -> Handover:
    """Decide the next action of a rotation or a fail-back.

    Args:
        is_in_use: more audio will be sent on the present connection.
        has_successor: the successor is open.
        segment_has_ended: a segment has ended since then.
        waited_s: the time since then.
    """
    if not is_in_use:
        return Handover.CANCEL
    if not has_successor:
        return Handover.OPEN
    return Handover.SWITCH if segment_has_ended or waited_s >= SEGMENT_PATIENCE_S else Handover.WAIT


def longest_finish_s(finish_s: float, rest_ms: int) -> float:
    """Return the longest time that the vendor may take from the end of the audio to its confirmation.

    Args:
        finish_s: `Timeouts.finish`.
        rest_ms: the length of the audio that no result covers yet.
    """
    return finish_s + rest_ms / 1000 / SLOWEST_SPEED


def rotation_s(retry: Retry, options: Options) -> float | None:
    """Return the age, and the length of the audio, at which a connection is replaced; None for never.

    Raises:
        ConfigurationError: `Retry.rotate_after` is longer than the model takes.
    """
    limit_s = None if options.max_audio_ms is None else options.max_audio_ms / 1000
    if retry.rotate_after is not None:
        if limit_s is not None and retry.rotate_after > limit_s:
            raise ConfigurationError(
                f"Retry(rotate_after={retry.rotate_after!r}): {options.model} accepts at most {limit_s:g} s"
            )
        return retry.rotate_after
    return None if limit_s is None or limit_s < LONG_S else limit_s - ROTATION_MARGIN_S


def commit_refusal(options: Options) -> str:
    """Return the error text for a commit that a model does not take."""
    return f"commit(): {options.model} finds the ends of utterances by itself; use options that have manual_commit=True"


def check_silence(retry: Retry, options: Options, *, takes_commits: bool) -> None:
    """Refuse `Retry(silence="fill")` where silence cannot help.

    Raises:
        ConfigurationError: with the reason and the way out.
    """
    if retry.silence == "resume":
        return
    if options.audio.bytes_per_second is None:
        reason = f"silence cannot be put into {options.audio.encoding}; send pcm"
    elif takes_commits:
        reason = "with manual_commit=True silence would be part of the utterance"
    elif options.max_audio_ms is not None and options.max_audio_ms / 1000 < LONG_S:
        reason = f"{options.model} accepts at most {options.max_audio_ms / 1000:g} s, and silence counts"
    elif options.silence_limit is not None:
        reason = f"{options.model} {options.silence_limit}"
    else:
        return
    raise ConfigurationError(f"Retry(silence='fill'): {reason}")


def check_options(service: Service, options: Options, retry: Retry) -> None:
    """Refuse options that no session could be opened with.

    Raises:
        ConfigurationError: with the reason and the way out.
    """
    check_silence(retry, options, takes_commits=service.describe(options).takes_commits)
    rotation_s(retry, options)
