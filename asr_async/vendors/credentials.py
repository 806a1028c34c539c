"""A second attempt with new credentials after a vendor refused those in use, for the REST requests of every vendor.

Does not know what credentials are, nor when they are worth a second attempt: the vendor's code decides both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import AuthenticationError

__all__ = ["with_fresh_credentials"]

C = TypeVar("C")
T = TypeVar("T")


async def with_fresh_credentials(
    obtain: Callable[[], Awaitable[C]],
    attempt: Callable[[C], Awaitable[T]],
    *,
    refresh: Callable[[C, AuthenticationError], bool],
) -> T:
    """Run an attempt; if the vendor refuses credentials that can be refreshed, run it once more with new ones.

    Args:
        obtain: returns the credentials of the moment.
        attempt: sends the request with these credentials.
        refresh: drops what was cached of the refused credentials, and returns True if `obtain` may return better ones.

    Raises:
        ASRError: the attempt failed for another reason, or again.
    """
    credentials = await obtain()
    try:
        return await attempt(credentials)
    except AuthenticationError as error:
        if not refresh(credentials, error):
            raise
    return await attempt(await obtain())
