"""The endpoints of DashScope: both WebSocket protocols, and the REST API that shares their keys and hot-word tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...vendors.dashscope.credentials import TEMPORARY_PREFIX
from ..api_keys import ApiKeys
from . import realtime, rest, tasks
from .hotwords import HotWordTables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from aiohttp import web

    from ..engines.engine import Engine
    from ..faults import FaultInjector
    from ..handler import WebSocketHandler

__all__ = ["add_routes"]


def add_routes(
    application: web.Application,
    engine: Engine,
    *,
    api_keys: Collection[str] | Mapping[str, str] | None,
    faults: FaultInjector,
) -> Sequence[WebSocketHandler]:
    """Add the routes, and return the handlers of both protocols."""
    keys, tables = ApiKeys(api_keys, issued_prefix=TEMPORARY_PREFIX), HotWordTables()
    rest.add_routes(application, keys=keys, tables=tables)
    return [
        tasks.add_routes(application, engine, keys=keys, tables=tables, faults=faults),
        realtime.add_routes(application, engine, keys=keys, faults=faults),
    ]
