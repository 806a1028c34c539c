"""Servers in a thread of their own, for programs without an event loop, and plain sources for such programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

from anyio.from_thread import start_blocking_portal

from .numbered_audio import numbered_millisecond

__all__ = ["in_a_thread", "numbered_chunks"]

T = TypeVar("T")


@contextmanager
def in_a_thread(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Run a server in the event loop of another thread while the context lasts, and yield its value."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server) as value:
        yield value


def numbered_chunks(seconds: int) -> Iterator[bytes]:
    """Yield the audio of a `NumberedSource`, from a plain generator."""
    for first in range(0, 1_000 * seconds, 100):
        yield b"".join(numbered_millisecond(number) for number in range(first, first + 100))


async def numbered_chunks_async(seconds: int) -> AsyncIterator[bytes]:
    """Yield the same from an async generator."""
    for chunk in numbered_chunks(seconds):
        yield chunk
