"""The API key for DashScope.

Does not know the form of a key, except that a temporary one begins with `st-` (temporary keys page, 2026).
"""

from __future__ import annotations

from ...errors import AuthenticationError
from ..api_key import ApiKey
from ..service import fingerprint
from .errors import VENDOR, is_invalid_key
from .sdk_settings import KEY_VARIABLE, find_key

__all__ = ["TEMPORARY_PREFIX", "DashScopeKey", "account_of", "is_temporary"]

TEMPORARY_PREFIX = "st-"


def is_temporary(key: str) -> bool:
    """Return True if the key is a temporary one, which expires within minutes."""
    return key.startswith(TEMPORARY_PREFIX)


def account_of(key: str) -> str:
    """Return a name for the account of a key. Temporary keys do not name theirs, and count as one account's."""
    return TEMPORARY_PREFIX.rstrip("-") if is_temporary(key) else fingerprint(key)


class DashScopeKey(ApiKey):
    """The source of one service's key; without one, the settings of the official SDK."""

    vendor = VENDOR
    vendor_name = "DashScope"
    service = "DashScope"
    variable = KEY_VARIABLE

    def _read_environment(self) -> str:
        setting = find_key()
        return setting.value if setting else ""

    def _is_invalid_key(self, error: AuthenticationError) -> bool:
        return is_invalid_key(error)
