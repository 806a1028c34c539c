"""The silence that a connection was sent beside the source, so that times can leave it out.

Pure rules. Does not know connections or clocks.
"""

from __future__ import annotations

import msgspec

from ..audio import AudioFormat

__all__ = ["Silence"]

MAX_PAUSES = 1_000
"""The number of pauses that are kept; no result is further behind."""


class _Pause(msgspec.Struct, frozen=True, gc=False):
    """A place in the source, and the length of all silence that was sent up to it, without and with its own."""

    at_ms: int
    before_ms: int
    behind_ms: int


class Silence:
    """The silence that one connection was sent beside the source.

    The vendor's times count it, the source's do not. It is counted in bytes, so rounding errors do not add up however
    often the source pauses.
    """

    __slots__ = ("_format", "_pauses", "size_bytes")

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self.size_bytes = 0
        self._pauses: list[_Pause] = []

    def __repr__(self) -> str:
        return f"<Silence {self.size_bytes} bytes, {len(self._pauses)} pauses>"

    def put(self, at_ms: int, size_bytes: int) -> None:
        """Record more silence at a place in the source: the last one, or one behind it."""
        before_ms = self._format.to_ms(self.size_bytes)
        self.size_bytes += size_bytes
        if self._pauses and self._pauses[-1].at_ms == at_ms:
            before_ms = self._pauses.pop().before_ms
        self._pauses.append(_Pause(at_ms, before_ms, self._format.to_ms(self.size_bytes)))
        del self._pauses[:-MAX_PAUSES]

    def left_out(self, time_ms: int) -> int:
        """Return the time in the source for a time that counts the silence; all of a pause is one place."""
        before_ms = 0
        for pause in reversed(self._pauses):
            if time_ms >= pause.at_ms + pause.behind_ms:
                return time_ms - pause.behind_ms
            if time_ms >= pause.at_ms + pause.before_ms:
                return pause.at_ms
            before_ms = pause.before_ms
        return time_ms - before_ms
