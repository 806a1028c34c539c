"""The API key for DashScope: an argument, the result of a caller's function, or an environment variable.

Does not know the form of a key, except that a temporary one begins with `st-` (temporary keys page, 2026).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable

from ..._text.secret import SecretText
from ...errors import AuthenticationError
from ..service import fingerprint
from .errors import VENDOR, is_invalid_key

__all__ = ["ApiKey", "KeyFunction", "account_of", "is_temporary"]

KeyFunction = Callable[[], str | Awaitable[str]]
"""Returns a key that is valid now; called in the event loop, for each connection and each REST request."""

PICKLE_ADVICE = (
    "set DASHSCOPE_API_KEY where it is unpickled, and pickle DashScope() without a key; or pass a function of a module "
    "that returns the key, DashScope(api_key=function)"
)

TEMPORARY_PREFIX = "st-"


def is_temporary(key: str) -> bool:
    """Return True if the key is a temporary one, which expires within minutes."""
    return key.startswith(TEMPORARY_PREFIX)


def account_of(key: str) -> str:
    """Return a name for the account of a key. Temporary keys do not name theirs, and count as one account's."""
    return TEMPORARY_PREFIX.rstrip("-") if is_temporary(key) else fingerprint(key)


class ApiKey:
    """The source of one service's key.

    Args:
        source: the key, or a function that returns one; None reads `DASHSCOPE_API_KEY`.
    """

    def __init__(self, source: str | KeyFunction | None) -> None:
        self._source = SecretText(source, PICKLE_ADVICE) if isinstance(source, str) else source
        self._last_refused: str | None = None

    async def find(self) -> str:
        """Return the key for one connection or request; errors of the caller's function are raised unchanged.

        Raises:
            AuthenticationError: there is no key, or its characters are not those of a key.
        """
        if callable(self._source):
            key: object = self._source()
            key = _concealed(await key if inspect.isawaitable(key) else key)
            return _checked(key, "the function given as api_key= returned no key")
        return _checked(
            _concealed(self._source or os.environ.get("DASHSCOPE_API_KEY", "")),
            "no DashScope key: set DASHSCOPE_API_KEY or pass DashScope(api_key=...); service=Local() needs none",
        )

    def refresh(self, refused_key: str, error: AuthenticationError) -> bool:
        """Return True if `find` may return a better key than the refused one: once for each key of a function."""
        if not callable(self._source) or not is_invalid_key(error) or refused_key == self._last_refused:
            return False
        self._last_refused = refused_key
        return True


def _concealed(key: object) -> object:
    return SecretText(key.strip()) if isinstance(key, str) else key


def _checked(key: object, missing: str) -> str:
    if not isinstance(key, str) or not key:
        raise AuthenticationError(missing, vendor=VENDOR)
    if not key.isascii() or any(character.isspace() for character in key):
        raise AuthenticationError("the DashScope key contains characters that no key has: check it", vendor=VENDOR)
    return key
