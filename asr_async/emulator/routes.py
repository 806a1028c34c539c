"""The vendors' endpoints in the emulator: the interface of the functions that add them, and how those are found.

A vendor names its function in `Vendor.emulator`, as "package.module:function"; the built-in vendors and those of third
parties do so alike, and nothing is imported before an emulator starts. Knows no protocol.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Protocol

from ..errors import ConfigurationError
from ..vendors.registry import vendors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from aiohttp import web

    from ..vendors.registry import Vendor
    from .engines.engine import Engine
    from .faults import FaultInjector
    from .handler import WebSocketHandler

__all__ = ["AddRoutes", "VendorRoutes"]

_logger = logging.getLogger("asr_async")


class AddRoutes(Protocol):
    """The function that adds the endpoints of one vendor to an emulator."""

    def __call__(
        self,
        application: web.Application,
        engine: Engine,
        *,
        api_keys: Collection[str] | Mapping[str, str] | None,
        faults: FaultInjector,
    ) -> Iterable[WebSocketHandler]:
        """Add the routes, and return the handlers of the WebSocket connections, which a shutdown ends.

        Args:
            application: the emulator's application; the paths of the vendors differ.
            engine: the recogniser, which is running.
            api_keys: see `asr_async.emulator.serve`.
            faults: the faults to inject; a `FaultInjectingHandler` takes them.
        """
        ...


class VendorRoutes:
    """The endpoints of one emulator; a vendor whose own cannot be added has none, and the others work."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        """The reason why a vendor has no endpoints, by its name."""

    def __repr__(self) -> str:
        return f"<VendorRoutes without {', '.join(self._reasons) or 'none'}>"

    def add(
        self,
        application: web.Application,
        engine: Engine,
        *,
        api_keys: Collection[str] | Mapping[str, str] | None,
        faults: FaultInjector,
    ) -> list[WebSocketHandler]:
        """Add the endpoints of all vendors, and return the handlers of their WebSocket connections."""
        handlers: list[WebSocketHandler] = []
        for vendor in vendors().values():
            if not vendor.emulator or vendor.local_service is None:
                self._reasons[vendor.name] = "it names no endpoints for the emulator"
                continue
            try:
                handlers += _load(vendor)(application, engine, api_keys=api_keys, faults=faults)
            except Exception as error:  # noqa: BLE001 - it may be the code of another project
                reason = f"{vendor.emulator} failed: {type(error).__name__}: {error}"
                self._reasons[vendor.name] = reason
                _logger.warning("emulator: no endpoints for vendor %r: %s", vendor.name, reason)
        return handlers

    def environment(self, address: str, *names: str) -> dict[str, str]:
        """Return the environment variables with which services connect to it: of all vendors, or of those named."""
        variables: dict[str, str] = {}
        for vendor in vendors().values():
            is_wanted = vendor.name in names if names else True
            if is_wanted and vendor.name not in self._reasons and vendor.local_environment is not None:
                variables |= vendor.local_environment(address)
        return variables

    def check(self, vendor: str) -> None:
        """Refuse a vendor without endpoints.

        Raises:
            ConfigurationError: the text gives the reason.
        """
        if (reason := self._reasons.get(vendor)) is not None:
            raise ConfigurationError(f"the emulator cannot stand in for vendor {vendor!r}: {reason}")


def _load(vendor: Vendor) -> AddRoutes:
    module, _, name = vendor.emulator.partition(":")
    function: AddRoutes = getattr(importlib.import_module(module), name)
    return function
