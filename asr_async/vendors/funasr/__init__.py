"""The servers of FunASR that people run themselves: the real-time server of PyPI `funasr`."""

from __future__ import annotations

import msgspec

from ..options import Options
from ..registry import Vendor
from ..service import Endpoint
from .catalogue import CATALOGUE
from .models import NANO_MODEL, FunASRNano
from .service import ADDRESS_VARIABLE, FunASRServer

__all__ = ["VENDOR", "FunASRNano", "FunASRServer"]


EMULATED_PATH = "/funasr/realtime"
"""The path of the real-time server in the emulator; the server itself accepts every path."""


def _service(endpoint: str | None = None) -> FunASRServer:
    return FunASRServer() if endpoint is None else FunASRServer(endpoint)


class _EmulatedServer(FunASRServer):
    """The emulator: one address for all servers, which are at paths and in modes of their own."""

    async def resolve(self, options: Options) -> Endpoint:
        endpoint = await super().resolve(options)
        mode = "?endpoint-mode=client" if isinstance(options, FunASRNano) and options.manual_commit else ""
        return msgspec.structs.replace(endpoint, url=f"{endpoint.url}{EMULATED_PATH}{mode}")


VENDOR = Vendor(
    name="funasr",
    options=(FunASRNano,),
    catalogue=CATALOGUE,
    default_model=NANO_MODEL,
    service=_service,
    key_variables=(ADDRESS_VARIABLE,),
    local_service=lambda address: _EmulatedServer(f"ws://{address}"),
)
"""The entry of this vendor in the registry."""
