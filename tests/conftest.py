"""Fixtures and the event loops of all tests.

Tests marked `both_loops` run in the standard event loop and in uvloop's. A test that makes its own loop, such as one
with a virtual clock, needs no mark.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A shell without job control starts programs in the background with SIGINT ignored, and child processes inherit that:
# the tests of Ctrl+C would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture
def no_proxy_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exempt loopback addresses from the environment's proxy: the official SDKs use it for them, too."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
