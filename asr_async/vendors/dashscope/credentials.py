"""As whom to call DashScope: a key that was given, that a function of the caller gives, or that the environment holds.

It does not know what a key looks like, but for a temporary one, which begins with `st-` (temporary keys page, 2026).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable

from ...errors import AuthenticationError
from ..service import fingerprint
from .errors import VENDOR

__all__ = ["ApiKey", "KeyFunction", "account_of", "is_invalid_key", "is_temporary"]

KeyFunction = Callable[[], str | Awaitable[str]]
"""Gives a key that is good now; called in the event loop, for each connection and each REST request."""

TEMPORARY_PREFIX = "st-"


def is_temporary(key: str) -> bool:
    """Whether this key expires within minutes."""
    return key.startswith(TEMPORARY_PREFIX)


def account_of(key: str) -> str:
    """A name for whom this key counts towards. Temporary ones, which say nothing, count as one account's."""
    return TEMPORARY_PREFIX.rstrip("-") if is_temporary(key) else fingerprint(key)


def is_invalid_key(error: AuthenticationError) -> bool:
    """Whether the key is not let in at all; otherwise it is, but has no right to what was asked for."""
    return error.code in {"InvalidApiKey", "401"}


class ApiKey:
    """Where the key of one service comes from."""

    def __init__(self, given: str | KeyFunction | None) -> None:
        self._given = given
        self._refused_last: str | None = None

    async def find(self) -> str:
        """The key for one connection or request; what the caller's function raises is raised as it is.

        Raises:
            AuthenticationError: there is none, or it cannot be one.
        """
        if callable(self._given):
            key = self._given()
            if inspect.isawaitable(key):
                key = await key
            return _checked(key, "the function given as api_key= gave no key")
        return _checked(
            self._given or os.environ.get("DASHSCOPE_API_KEY", ""),
            "no DashScope key: set DASHSCOPE_API_KEY or pass DashScope(api_key=...); service=Local() needs none",
        )

    def renew(self, refused_key: str, error: AuthenticationError) -> bool:
        """Whether `find` may give a better key than the one refused; True once for each, and for a function only."""
        if not callable(self._given) or not is_invalid_key(error) or refused_key == self._refused_last:
            return False
        self._refused_last = refused_key
        return True


def _checked(key: object, missing: str) -> str:
    if not isinstance(key, str) or not key.strip():
        raise AuthenticationError(missing, vendor=VENDOR)
    key = key.strip()
    if not key.isascii() or any(character.isspace() for character in key):
        raise AuthenticationError("the DashScope key holds characters that no key has: check it", vendor=VENDOR)
    return key
