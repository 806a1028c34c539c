"""The API key for OpenAI.

Does not know the form of a key, except that a temporary one, a "client secret", begins with `ek_` (PyPI `openai`
3.57.0, `realtime.client_secrets`).
"""

from __future__ import annotations

import os

from ...errors import AuthenticationError
from ..api_key import ApiKey
from ..service import fingerprint
from .errors import VENDOR, is_invalid_key

__all__ = ["TEMPORARY_PREFIX", "OpenAIKey", "account_of", "is_temporary"]

TEMPORARY_PREFIX = "ek_"


def is_temporary(key: str) -> bool:
    """Return True if the key is a temporary one, which expires within hours."""
    return key.startswith(TEMPORARY_PREFIX)


def account_of(key: str) -> str:
    """Return a name for the account of a key. Temporary keys do not name theirs, and count as one account's."""
    return TEMPORARY_PREFIX.rstrip("_") if is_temporary(key) else fingerprint(key)


class OpenAIKey(ApiKey):
    """The source of one service's key; without one, `OPENAI_API_KEY`."""

    vendor = VENDOR
    vendor_name = "OpenAI"
    service = "OpenAI"
    variable = "OPENAI_API_KEY"

    def _read_environment(self) -> str:
        return os.environ.get(self.variable, "")

    def _is_invalid_key(self, error: AuthenticationError) -> bool:
        return is_invalid_key(error)
