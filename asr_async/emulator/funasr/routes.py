"""The endpoints of FunASR: the real-time server and the 2pass protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import realtime, two_pass

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
    api_keys: Collection[str] | Mapping[str, str] | None,  # noqa: ARG001 - these servers have no keys
    faults: FaultInjector,
) -> Sequence[WebSocketHandler]:
    """Add the routes, and return the handlers of both protocols."""
    return [
        realtime.add_routes(application, engine, faults=faults),
        two_pass.add_routes(application, engine, faults=faults),
    ]
