"""What is known about the members of a service: their failures, for the log and for the caller."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..errors import AuthenticationError, ConnectionLostError, DeadlineError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._limits.circuit_breaker import CircuitBreaker
    from ..errors import ASRError

__all__ = ["combine_refusals", "may_succeed_elsewhere", "record_failure"]

logger: logging.Logger = logging.getLogger("asr_async")

_CONNECTION_ERRORS = (AuthenticationError, ConnectionLostError, DeadlineError, RemoteProtocolError)
"""Errors that are not about the audio: another member may succeed even if the same one would fail again."""


def may_succeed_elsewhere(error: ASRError) -> bool:
    """Return True if another member may go on where this error ended a connection."""
    return error.retryable or isinstance(error, _CONNECTION_ERRORS)


def record_failure(name: str, breaker: CircuitBreaker, error: ASRError, *, task_was_open: bool) -> None:
    """Record a failure of a member, and log it if the member is not tried for a while."""
    breaker.record_failure(asyncio.get_running_loop().time(), error, task_was_open=task_was_open)
    if not breaker.is_closed:
        level = logging.INFO if error.retryable else logging.WARNING  # a wrong key should not go unnoticed
        logger.log(level, "%s is not tried for %g s after: %s", name, breaker.open_for_s, error)


def combine_refusals(refusals: Iterable[tuple[str, ASRError]]) -> ASRError:
    """Return the last retryable error, else the last one, with the names and the texts of all."""
    *others, (name, chosen) = sorted(refusals, key=lambda refusal: refusal[1].retryable)
    texts = [f"{other}: {error}" for other, error in others]
    chosen.message = "; ".join([*texts, f"{name}: {chosen.message}"])
    return chosen
