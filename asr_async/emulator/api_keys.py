"""Which keys the emulator lets in: those it was given, and those it has issued for a while."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ApiKeys"]

ISSUED_PREFIX = "st-"

MAX_ISSUED = 1_024
"""Beyond, the oldest issued key is let in no more."""


class ApiKeys:
    """The keys of one emulator; None for `known` lets every key in but those that look issued and are not (any more).

    Time is the event loop's.
    """

    def __init__(self, known: Collection[str] | None) -> None:
        self._known = known
        self._expire_at: dict[str, float] = {}
        """Issued keys, oldest first."""

    def __repr__(self) -> str:
        return f"<ApiKeys {'any' if self._known is None else len(self._known)} known, {len(self._expire_at)} issued>"

    def let_in(self, key: str) -> bool:
        """Whether this key opens the door now."""
        if self._known is not None and key in self._known:
            return True
        if key.startswith(ISSUED_PREFIX):
            return self._expire_at.get(key, 0.0) > _now()
        return self._known is None

    def issue(self, expires_in_s: int) -> str:
        """Make a key that is let in for so long."""
        key = f"{ISSUED_PREFIX}{uuid.uuid4().hex}"
        self._expire_at[key] = _now() + expires_in_s
        if len(self._expire_at) > MAX_ISSUED:
            del self._expire_at[next(iter(self._expire_at))]
        return key


def _now() -> float:
    return asyncio.get_running_loop().time()
