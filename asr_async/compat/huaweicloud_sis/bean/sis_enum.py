"""The states of a client."""

from __future__ import annotations

from enum import Enum

__all__ = ["WebsocketStatus"]


class WebsocketStatus(Enum):
    """The state of a `RasrClient`."""

    STATE_INIT = 0
    STATE_CONNECT_WAITING = 1
    STATE_CONNECTED = 2
    STATE_START_WAITING = 3
    STATE_START = 4
    STATE_END_WAITING = 5
    STATE_END = 6
    STATE_CLOSE = 7
    STATE_ERROR = 8
