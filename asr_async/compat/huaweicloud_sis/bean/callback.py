"""The callbacks of a recognition."""

from __future__ import annotations

from typing import Any

from ..exception.exceptions import ClientException

__all__ = ["RasrCallBack"]


class RasrCallBack:
    """The base class of a program's callbacks; `on_response` must be overridden."""

    def on_open(self) -> None:
        """Act when the connection is open."""

    def on_start(self, message: str) -> None:
        """Act when the task has started; the message names its trace id."""

    def on_response(self, message: dict[str, Any]) -> None:  # noqa: ARG002 - the SDK's signature
        """Receive a RESULT message."""
        raise ClientException("no response implementation")

    def on_event(self, event: str) -> None:
        """Receive the name of an event, such as VOICE_START."""

    def on_end(self, message: str) -> None:
        """Act when the task has ended; the message names its trace id."""

    def on_close(self) -> None:
        """Act when the connection is closed."""

    def on_error(self, error: object) -> None:
        """Receive the text of an ERROR message, or the exception that ended the connection."""
