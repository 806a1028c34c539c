"""Blocking calls beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["run_in_thread"]

_T = TypeVar("_T")


async def run_in_thread(blocking: Callable[..., _T], *args: Any) -> _T:
    """Call a blocking function in a thread and return its result; raise `TimeoutError` after 30 s."""
    async with asyncio.timeout(30):
        return await asyncio.to_thread(blocking, *args)
