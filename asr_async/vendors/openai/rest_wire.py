"""The messages of OpenAI's REST interface for temporary keys ("client secrets"), defined once for client and server.

Source: PyPI `openai` 3.57.0 (`resources/realtime/client_secrets.py`, `types/realtime/client_secret_create_params.py`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..._text.secret import ShownByRepr

__all__ = [
    "CLIENT_SECRETS_PATH",
    "MAX_LIFETIME_S",
    "MIN_LIFETIME_S",
    "ClientSecret",
    "CreateClientSecret",
    "ExpiresAfter",
]

CLIENT_SECRETS_PATH = "/client_secrets"
"""Behind the address of the sessions, `https://host/v1/realtime`."""

MIN_LIFETIME_S = 10
MAX_LIFETIME_S = 7_200


class ExpiresAfter(msgspec.Struct, frozen=True, kw_only=True):
    """The lifetime of a key in seconds."""

    anchor: Literal["created_at"] = "created_at"
    seconds: int = 600


class CreateClientSecret(msgspec.Struct, frozen=True, kw_only=True):
    """Make a key for sessions of one type, with a configuration that the sessions may replace."""

    expires_after: ExpiresAfter = ExpiresAfter()
    session: Any = None


class ClientSecret(ShownByRepr, frozen=True, kw_only=True):
    """A temporary key, and the Unix time in seconds at which it expires."""

    value: str
    expires_at: int
    session: Any = None

    def __repr__(self) -> str:
        return f"<ClientSecret expires_at={self.expires_at}>"
