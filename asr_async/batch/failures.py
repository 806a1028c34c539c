"""The decision what follows from the failure of one source.

Does not know the manifest, a clock or the number of attempts.
"""

from __future__ import annotations

import enum

from ..errors import (
    ASRError,
    AudioLostError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    RateLimitedError,
    RemoteProtocolError,
)
from .databases import StorageError

__all__ = ["Verdict", "retry_delay_s", "verdict_of"]

FIRST_DELAY_S = 5.0
LONGEST_DELAY_S = 300.0
"""A session has reconnected for some seconds before it fails (`Retry`), so the next attempt is not immediate; and a run
of some hours can wait for minutes until a vendor is back."""


class Verdict(enum.Enum):
    """The consequence of a failure."""

    POISON = "no attempt with this source can succeed"
    RETRY = "another attempt may succeed"
    WAIT = "the vendor accepts no further session now"
    STOP = "every source would fail in the same way"


_TRANSIENT = (AudioLostError, ConnectionLostError, DeadlineError, RemoteProtocolError)

_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def verdict_of(error: Exception) -> Verdict:
    """Return the consequence of an error that the transcription of one source raised."""
    match error:
        case StorageError() | ASRError(concerns_account=True):
            return Verdict.STOP
        case RateLimitedError():
            return Verdict.WAIT
        case ConfigurationError():
            return Verdict.POISON
        case ASRError():
            return Verdict.RETRY if error.retryable or isinstance(error, _TRANSIENT) else Verdict.POISON
        case OSError():  # of the source: a network file system may come back
            return Verdict.POISON if isinstance(error, _PERMANENT) else Verdict.RETRY
        case _:  # a decoder that fails over the content
            return Verdict.POISON


def retry_delay_s(attempts: int) -> float:
    """Return the time until the next attempt, after so many failed ones."""
    return min(FIRST_DELAY_S * 2.0 ** max(0, attempts - 1), LONGEST_DELAY_S)
