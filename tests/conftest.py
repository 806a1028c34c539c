"""Event loops that tests run in: those marked `both_loops` in the standard one and in uvloop's.

A test that makes a loop of its own, as those with a virtual clock do, is not concerned.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    standard = {"asyncio": asyncio.new_event_loop}
    return standard | {"uvloop": new_uvloop} if item.get_closest_marker("both_loops") else standard


def new_uvloop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        pytest.skip("there is no uvloop for Windows")
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
