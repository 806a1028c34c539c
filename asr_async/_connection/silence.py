"""Silence that one connection was sent beside the source, so that times can leave it out. Pure bookkeeping."""

from __future__ import annotations

import msgspec

from ..audio import AudioFormat

__all__ = ["Silence"]

MAX_PAUSES = 1_000
"""Pauses that are remembered; a result is never further behind."""


class _Pause(msgspec.Struct, frozen=True, gc=False):
    """A place in the source at which silence was sent, and how much of it the connection had before and behind it."""

    at_ms: int
    before_ms: int
    behind_ms: int


class Silence:
    """What one connection was sent beside the source: its vendor counts it, the source's clock does not.

    Counted in bytes, so that nothing adds up however often the source pauses.
    """

    __slots__ = ("_format", "_pauses", "size_bytes")

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self.size_bytes = 0
        self._pauses: list[_Pause] = []

    def __repr__(self) -> str:
        return f"<Silence {self.size_bytes} bytes, {len(self._pauses)} pauses>"

    def put(self, at_ms: int, size_bytes: int) -> None:
        """More silence is sent, at this place in the source: the one where it was before, or a later one."""
        before_ms = self._format.to_ms(self.size_bytes)
        self.size_bytes += size_bytes
        if self._pauses and self._pauses[-1].at_ms == at_ms:
            before_ms = self._pauses.pop().before_ms
        self._pauses.append(_Pause(at_ms, before_ms, self._format.to_ms(self.size_bytes)))
        del self._pauses[:-MAX_PAUSES]

    def left_out(self, time_ms: int) -> int:
        """The time of the source, of one that counts the silence too; all of a pause is where it stands."""
        before_ms = 0
        for pause in reversed(self._pauses):
            if time_ms >= pause.at_ms + pause.behind_ms:
                return time_ms - pause.behind_ms
            if time_ms >= pause.at_ms + pause.before_ms:
                return pause.at_ms
            before_ms = pause.before_ms
        return time_ms - before_ms
