"""The exceptions of the official SDK. The two are not related, as there."""

from __future__ import annotations

__all__ = ["ClientException", "ServerException"]


class ClientException(Exception):  # noqa: N818 - the SDK's name
    """An error of the caller, or of the connection."""

    def __init__(self, error_msg: object) -> None:
        super().__init__(error_msg)
        self._error_msg = error_msg

    def get_error_msg(self) -> object:
        """Return the text."""
        return self._error_msg


class ServerException(Exception):  # noqa: N818 - the SDK's name
    """An error response to an HTTP request."""

    def __init__(self, error_code: str, error_msg: str) -> None:
        super().__init__(error_code, error_msg)
        self._error_code = error_code
        self._error_msg = error_msg

    def get_error_code(self) -> str:
        """Return the vendor's code."""
        return self._error_code

    def get_error_msg(self) -> str:
        """Return the vendor's text."""
        return self._error_msg

    def __str__(self) -> str:
        return f"error_code: {self._error_code}\terror_msg: {self._error_msg}"
