"""The API key for OpenAI.

Does not know the form of a key, except that a temporary one, a "client secret", begins with `ek_` (PyPI `openai`
3.57.0, `realtime.client_secrets`).
"""

from __future__ import annotations

import os

from ...errors import AuthenticationError
from ..api_key import ApiKey
from .errors import VENDOR, is_invalid_key

__all__ = ["TEMPORARY_PREFIX", "OpenAIKey"]

TEMPORARY_PREFIX = "ek_"


class OpenAIKey(ApiKey):
    """The source of one service's key; without one, `OPENAI_API_KEY`."""

    vendor = VENDOR
    vendor_name = "OpenAI"
    service = "OpenAI"
    variable = "OPENAI_API_KEY"
    temporary_prefix = TEMPORARY_PREFIX

    def _read_environment(self) -> str:
        return os.environ.get(self.variable, "")

    def _is_invalid_key(self, error: AuthenticationError) -> bool:
        return is_invalid_key(error)
