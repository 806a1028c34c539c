"""The keepalive messages of one vendor task: sent while no audio goes out, so that the vendor does not end the task.

Does not know the messages, nor where audio comes from.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..errors import ASRError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._net.websocket import WebSocket
    from ..vendors.codec import Message

__all__ = ["Keepalive"]


class Keepalive:
    """Sends messages on a connection on which no audio was sent for a time.

    One timer for each task, which is not moved with each frame: when it fires, it is set to the time of the last frame
    and the interval.
    """

    __slots__ = ("_connection", "_interval_s", "_loop", "_messages", "_on_failure", "_sent_at", "_timer")

    def __init__(
        self,
        connection: WebSocket,
        messages: Callable[[], Sequence[Message]],
        interval_s: float,
        on_failure: Callable[[ASRError], None],
    ) -> None:
        """Prepare; `start` begins.

        Args:
            connection: the connection of the task.
            messages: returns the messages to send.
            interval_s: the time without audio after which they are sent.
            on_failure: called with the error of `messages`; nothing is sent then, or later.
        """
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._messages = messages
        self._interval_s = interval_s
        self._on_failure = on_failure
        self._sent_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Keepalive every {self._interval_s:g} s{'' if self._timer is None else ' running'}>"

    def send_audio(self, message: Message) -> bool:
        """Send a message of audio as the connection does, and record its time."""
        self._sent_at = self._loop.time()
        return self._connection.send(message)

    def start(self) -> None:
        """Begin: the task is open."""
        self._sent_at = self._loop.time()
        self._plan()

    def stop(self) -> None:
        """Send no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self) -> None:
        self._timer = self._loop.call_at(self._sent_at + self._interval_s, self._check, self._sent_at)

    def _check(self, planned_for: float) -> None:
        """Send the messages if no audio was sent since the timer was set; a connection that is blocked gets none."""
        connection = self._connection
        if not connection.is_open:
            self._timer = None
            return
        if self._sent_at == planned_for:
            try:
                messages = self._messages()
            except ASRError as error:
                self._timer = None
                self._on_failure(error)
                return
            if connection.is_writable:
                for message in messages:
                    connection.send(message)
            self._sent_at = self._loop.time()
        self._plan()
