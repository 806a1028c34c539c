"""Which event loop the tests run in: those of sessions in both, the standard one and uvloop's.

A test that makes a loop of its own, as those with a virtual clock do, is not concerned.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

IN_BOTH_LOOPS = {
    "test_dashscope_realtime_session",
    "test_fallback",
    "test_fanout",
    "test_faults",
    "test_feature_table_sessions",
    "test_huawei_session",
    "test_pool",
    "test_pool_warm",
    "test_proxies",
    "test_recovery",
    "test_session",
    "test_tape",
    "test_tcp_path",
    "test_tls",
    "test_translation",
    "test_transport",
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    standard = {"asyncio": asyncio.new_event_loop}
    return standard | {"uvloop": new_uvloop} if item.path.stem in IN_BOTH_LOOPS else standard


def new_uvloop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        pytest.skip("there is no uvloop for Windows")
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
