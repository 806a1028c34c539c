"""The servers of FunASR that people run themselves: the real-time server, and those of the older 2pass protocol."""

from __future__ import annotations

import msgspec

from ..options import Options
from ..registry import Vendor
from ..service import Endpoint
from .catalogue import CATALOGUE
from .models import NANO_MODEL, FunASR2Pass, FunASRNano
from .service import ADDRESS_VARIABLE, FunASRServer

__all__ = ["VENDOR", "FunASR2Pass", "FunASRNano", "FunASRServer"]


EMULATED_PATHS = {"FunASRNano": "/funasr/realtime", "FunASR2Pass": "/funasr/2pass"}
"""The class of the options → the path of its server in the emulator; the servers themselves accept every path."""


def _service(endpoint: str | None = None) -> FunASRServer:
    return FunASRServer() if endpoint is None else FunASRServer(endpoint)


class _EmulatedServer(FunASRServer):
    """The emulator: one address for all servers, which are at paths and in modes of their own."""

    async def resolve(self, options: Options) -> Endpoint:
        endpoint = await super().resolve(options)
        mode = "?endpoint-mode=client" if isinstance(options, FunASRNano) and options.manual_commit else ""
        return msgspec.structs.replace(endpoint, url=f"{endpoint.url}{EMULATED_PATHS[type(options).__name__]}{mode}")


VENDOR = Vendor(
    name="funasr",
    options=(FunASRNano, FunASR2Pass),
    catalogue=CATALOGUE,
    default_model=NANO_MODEL,
    service=_service,
    key_variables=(),
    address_variable=ADDRESS_VARIABLE,
    emulator="asr_async.emulator.funasr.routes:add_routes",
    local_service=lambda address: _EmulatedServer(f"ws://{address}"),
)
"""The entry of this vendor in the registry."""
