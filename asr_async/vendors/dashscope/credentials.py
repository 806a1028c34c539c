"""The API key for DashScope.

Does not know the form of a key, except that a temporary one begins with `st-` (temporary keys page, 2026).
"""

from __future__ import annotations

from ...errors import AuthenticationError
from ..api_key import ApiKey
from .errors import VENDOR, is_invalid_key
from .sdk_settings import KEY_VARIABLE, find_key

__all__ = ["TEMPORARY_PREFIX", "DashScopeKey"]

TEMPORARY_PREFIX = "st-"


class DashScopeKey(ApiKey):
    """The source of one service's key; without one, the settings of the official SDK."""

    vendor = VENDOR
    vendor_name = "DashScope"
    service = "DashScope"
    variable = KEY_VARIABLE
    temporary_prefix = TEMPORARY_PREFIX

    def _read_environment(self) -> str:
        setting = find_key()
        return setting.value if setting else ""

    def _is_invalid_key(self, error: AuthenticationError) -> bool:
        return is_invalid_key(error)
