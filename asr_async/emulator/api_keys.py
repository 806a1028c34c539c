"""The API keys of a vendor that the emulator accepts: configured keys, and temporary keys that it has issued."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ApiKeys", "key_of"]

MAX_ISSUED = 1_024
"""Beyond this number, the oldest issued key is no longer accepted."""


class ApiKeys:
    """The keys of one emulator; `known=None` accepts every key, except those that look issued but are not valid.

    Expiry follows the event loop's clock.
    """

    def __init__(self, known: Collection[str] | None, *, issued_prefix: str) -> None:
        self._known = known
        self._issued_prefix = issued_prefix
        self._expire_at: dict[str, float] = {}
        """The issued keys, oldest first."""

    def __repr__(self) -> str:
        return f"<ApiKeys {'any' if self._known is None else len(self._known)} known, {len(self._expire_at)} issued>"

    @property
    def are_configured(self) -> bool:
        """True if only certain keys are accepted."""
        return self._known is not None

    def accepts(self, key: str) -> bool:
        """Return True if this key is valid now."""
        if self._known is not None and key in self._known:
            return True
        if key.startswith(self._issued_prefix):
            return self._expire_at.get(key, 0.0) > _now()
        return self._known is None

    def issue(self, expires_in_s: int) -> str:
        """Create a key that is valid for this many seconds."""
        key = f"{self._issued_prefix}{uuid.uuid4().hex}"
        self._expire_at[key] = _now() + expires_in_s
        if len(self._expire_at) > MAX_ISSUED:
            del self._expire_at[next(iter(self._expire_at))]
        return key


def key_of(authorization: str) -> str:
    """Return the key of an Authorization header, empty if it has none; some documents write "bearer"."""
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _now() -> float:
    return asyncio.get_running_loop().time()
