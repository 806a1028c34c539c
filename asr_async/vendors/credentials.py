"""A second attempt with new credentials after a vendor refused those in use: of a request or of a connection.

Does not know what credentials are, nor when they are worth a second attempt: the vendor's code decides both.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import AuthenticationError

__all__ = ["with_fresh_credentials"]

logger: logging.Logger = logging.getLogger("asr_async")

C = TypeVar("C")
T = TypeVar("T")


async def with_fresh_credentials(
    credentials: C,
    attempt: Callable[[C], Awaitable[T]],
    *,
    discard: Callable[[C, AuthenticationError], bool],
    obtain: Callable[[], Awaitable[C]],
) -> T:
    """Run an attempt; if the vendor refuses credentials that can be refreshed, run it once more with new ones.

    Args:
        credentials: the credentials of the first attempt.
        attempt: sends the request, or connects, with these credentials.
        discard: drops what was cached of the refused credentials, and returns True if `obtain` may return better ones.
        obtain: returns the credentials of the second attempt.

    Raises:
        ASRError: the attempt failed for another reason, or again.
    """
    try:
        return await attempt(credentials)
    except AuthenticationError as error:
        if not discard(credentials, error):
            raise
        logger.info("cached credentials were refused, trying once more with new ones: %s", error)
    return await attempt(await obtain())
