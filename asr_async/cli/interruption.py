"""Ctrl-C in two steps: the first ends the audio, so that the vendor finishes the sentence; the second leaves.

Does not know sessions: it ends their sources.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any, Self

from ..sources import AudioMark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ..audio import AudioFormat
    from ..sources import AudioFile, Microphone

__all__ = ["Interruption", "StoppableSource"]

PIECE_BYTES = 3_200
"""The audio that is sent at most after Ctrl-C, beside what the session has read already: 100 ms at 16 kHz."""


class Interruption:
    """The reaction to SIGINT inside `with`.

    Args:
        on_first: is called by the signal that ends the sources.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self._on_first = on_first
        self._requested = asyncio.Event()
        self._sessions = 0
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        # A shell lets a job in the background ignore SIGINT, and that must stay so.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            try:
                self._loop.add_signal_handler(signal.SIGINT, self.interrupt)
            except NotImplementedError:  # on Windows
                signal.signal(signal.SIGINT, self._interrupt_from_thread)
        return self

    def _interrupt_from_thread(self, _signal: int, _frame: object) -> None:
        self._loop.call_soon_threadsafe(self.interrupt)

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(NotImplementedError):
            self._loop.remove_signal_handler(signal.SIGINT)

    @property
    def is_requested(self) -> bool:
        """True after the first signal."""
        return self._requested.is_set()

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Count a session that recognises; without one, the first signal leaves."""
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1

    def interrupt(self) -> None:
        """End the sources; the second time, or without a session, cancel the task that entered this object."""
        if self._sessions and not self.is_requested:
            self._requested.set()
            self._on_first()
        elif self._task is not None:
            self._task.cancel()

    async def wait(self) -> None:
        """Wait for the first signal."""
        await self._requested.wait()


class StoppableSource:
    """A source that ends when it is read to its end, or at an interruption."""

    def __init__(self, source: AudioFile | Microphone, interruption: Interruption) -> None:
        self._source = source
        self._interruption = interruption
        self.live: bool | None = source.live
        self.duration_ms: int | None = getattr(source, "duration_ms", None)
        self.name: str = source.name

    async def preflight(self, expected: AudioFormat) -> None:
        """Check the source; see `AudioFile.preflight`."""
        await self._source.preflight(expected)
        self.duration_ms = getattr(self._source, "duration_ms", None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stop = asyncio.ensure_future(self._interruption.wait())
        iterator = aiter(self._source)
        try:
            while (chunk := await _next_unless(stop, iterator)) is not None:
                if isinstance(chunk, AudioMark):
                    yield chunk
                for begin in range(0, len(chunk), PIECE_BYTES):
                    if self._interruption.is_requested:
                        return
                    yield chunk[begin : begin + PIECE_BYTES]
        finally:
            stop.cancel()
            if hasattr(iterator, "aclose"):
                await iterator.aclose()


async def _next_unless(stop: asyncio.Future[None], iterator: AsyncIterator[bytes]) -> bytes | None:
    """Return the next chunk; None at the end of the source, and as soon as `stop` is done."""
    chunk: asyncio.Future[bytes | None] = asyncio.ensure_future(anext(iterator, None))
    both: list[asyncio.Future[Any]] = [stop, chunk]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not chunk.done():
            chunk.cancel()
            await asyncio.wait([chunk])
    return None if stop.done() else chunk.result()
