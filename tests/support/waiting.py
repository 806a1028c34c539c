"""Waits for conditions that have no event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["wait_until"]


async def wait_until(condition: Callable[[], object], *, timeout_s: float = 5.0) -> None:
    """Return as soon as the condition is true; raise `TimeoutError` if it stays false for so long."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the condition has no event of its own
            await asyncio.sleep(0.005)
