"""The end of a task that the vendor confirms by nothing: silence of the vendor after `finish`, which is proved.

Does not know messages or results.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ASRError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._net.websocket import WebSocket

__all__ = ["QuietWatch"]


class QuietWatch:
    """Waits until nothing has arrived on a connection for a time, and the server has proved meanwhile that it lives.

    In the middle of that time a ping is sent. Its answer comes behind everything that the server had sent before, so a
    silence of the network is not taken for one of the vendor.
    """

    __slots__ = ("_connection", "_loop", "_on_quiet", "_owed_s", "_quiet_s", "_timer")

    def __init__(
        self, connection: WebSocket, quiet_s: float, owed_s: Callable[[], float], on_quiet: Callable[[], None]
    ) -> None:
        """Prepare; `start` begins.

        Args:
            connection: the connection of the task.
            quiet_s: the time without a message.
            owed_s: returns the time that the vendor needs for the audio that was sent faster than it was spoken; it is
                waited for before the time without a message begins.
            on_quiet: called at its end; if it does not `stop` the watch, the time begins again.
        """
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._quiet_s = quiet_s
        self._owed_s = owed_s
        self._on_quiet = on_quiet
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<QuietWatch {self._quiet_s:g} s{'' if self._timer is None else ' running'}>"

    def record_message(self) -> None:
        """Begin the time again, if it has begun: a message was delivered."""
        if self._timer is not None:
            self._timer.cancel()
            self._wait()

    def start(self) -> None:
        """Begin: the audio is finished, and messages are delivered. Idempotent."""
        if self._timer is None:
            self._wait()

    def stop(self) -> None:
        """Wait no longer. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = self._loop.call_later(self._owed_s() + self._quiet_s / 2, self._send_probe)

    def _send_probe(self) -> None:
        with suppress(ASRError):  # the listener finds that the connection has ended
            self._connection.send_probe()
            self._timer = self._loop.call_later(self._quiet_s / 2, self._check_probe)

    def _check_probe(self) -> None:
        if self._connection.is_paused:  # messages may wait in the network
            self._wait()
        elif not self._connection.is_probe_answered:  # the network is slow, or the server is busy with the audio
            self._timer = self._loop.call_later(self._quiet_s / 2, self._check_probe)
        else:
            self._wait()
            self._on_quiet()
