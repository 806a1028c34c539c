"""The API key of a service: an argument, the result of a caller's function, or a value from the environment.

Does not know a vendor, nor the form of a key.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from .._text.secret import SecretText
from ..errors import AuthenticationError
from .service import fingerprint

__all__ = ["ApiKey", "KeyFunction"]

KeyFunction = Callable[[], str | Awaitable[str]]
"""Returns a key that is valid now; called in the event loop, for each connection and each REST request."""


class ApiKey:
    """The source of one service's key; a vendor's subclass names the vendor and reads the environment."""

    vendor: str
    """The vendor's name in options and errors."""
    vendor_name: str
    """The vendor's name in error texts."""
    service: str
    """The name of the class of the service."""
    variable: str
    """The environment variable that holds the key."""
    temporary_prefix: str
    """The beginning of a temporary key, with the sign that separates it from the rest."""

    def __init__(self, source: str | KeyFunction | None) -> None:
        """Make the source.

        Args:
            source: the key, or a function that returns one; None reads the environment.
        """
        advice = (
            f"set {self.variable} where it is unpickled, and pickle {self.service}() without a key; or pass a function "
            f"of a module that returns the key, {self.service}(api_key=function)"
        )
        self._source = SecretText(source, advice) if isinstance(source, str) else source
        self._last_refused: str | None = None

    def is_temporary(self, key: str) -> bool:
        """Return True if a key is a temporary one, which expires within minutes or hours."""
        return key.startswith(self.temporary_prefix)

    def account_of(self, key: str) -> str:
        """Return a name for the account of a key. Temporary keys do not name theirs, and count as one account's."""
        return self.temporary_prefix[:-1] if self.is_temporary(key) else fingerprint(key)

    def _read_environment(self) -> str:
        """Return the key of the environment; empty if it has none."""
        raise NotImplementedError

    def _is_invalid_key(self, error: AuthenticationError) -> bool:
        """Return True if the key itself is invalid; a valid one may lack the right to what was requested."""
        raise NotImplementedError

    async def find(self) -> str:
        """Return the key for one connection or request; errors of the caller's function are raised unchanged.

        Raises:
            AuthenticationError: there is no key, or its characters are not those of a key.
        """
        if callable(self._source):
            key: object = self._source()
            key = _concealed(await key if inspect.isawaitable(key) else key)
            return self._checked(key, "the function given as api_key= returned no key")
        return self._checked(
            _concealed(self._source or self._read_environment()),
            f"no {self.vendor_name} key: set {self.variable} or pass {self.service}(api_key=...); "
            "service=Local() needs none",
        )

    def refresh(self, refused_key: str, error: AuthenticationError) -> bool:
        """Return True if `find` may return a better key than the refused one: once for each key of a function."""
        if not callable(self._source) or not self._is_invalid_key(error) or refused_key == self._last_refused:
            return False
        self._last_refused = refused_key
        return True

    def _checked(self, key: object, missing: str) -> str:
        if not isinstance(key, str) or not key:
            raise AuthenticationError(missing, vendor=self.vendor)
        if not key.isascii() or any(character.isspace() for character in key):
            text = f"the {self.vendor_name} key contains characters that no key has: check it"
            raise AuthenticationError(text, vendor=self.vendor)
        return key


def _concealed(key: object) -> object:
    return SecretText(key.strip()) if isinstance(key, str) else key
