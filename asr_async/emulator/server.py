"""The emulator: one port, one engine, and the endpoints of every vendor.

Knows no protocol: each vendor adds its own routes to the application, see `routes`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiohttp import web

from .dashscope import rest as dashscope_rest
from .engines.installed import choose_engine
from .faults import FaultInjector, Faults
from .local_server import LocalServer
from .routes import VendorRoutes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from contextlib import AsyncExitStack
    from typing import Any

    from .engines.engine import Engine
    from .faults import Fault
    from .handler import WebSocketHandler

__all__ = ["Emulator", "serve"]

_logger = logging.getLogger("asr_async")

MAX_BODY_BYTES = 12 * 1024 * 1024
"""The longest body of a plain HTTP request: no vendor's gateway checks the signature of a longer one (Huawei Cloud's
does up to 12 MB)."""


def serve(
    engine: Engine | str | None = None,
    *,
    # address
    host: str = "127.0.0.1",
    port: int = 0,
    # credentials
    api_keys: Collection[str] | Mapping[str, str] | None = None,
    # faults
    faults: Faults | Iterable[Fault | Mapping[str, Any]] = (),
) -> Emulator:
    """Create an emulator; it runs inside `async with`.

        async with serve(engine=Scripted([("good morning", 200, 1_100)])) as emulator:
            service = DashScope("any key", endpoint=emulator.dashscope_url)
            service = Huawei(ak="any", sk="key", project_id="p", region="r", endpoint=emulator.huawei_url)

    Args:
        engine: the recogniser, or the name of an embedded one: "moonshine", "pocketsphinx", or "sherpa:" and the folder
            of a model; by default the best one that is installed.
        host: loopback by default: the server is meant for this machine, and its keys are not secret.
        port: 0 selects a free port.
        api_keys: the accepted keys: API keys of DashScope and OpenAI, Huawei Cloud access keys and IAM user names. None
            accepts every key, but still rejects a client without one. A mapping gives each key its secret (the secret
            key of an access key, the password of a user), and only then are signatures and passwords checked.
        faults: the faults to inject, and into which connections, see `asr_async.emulator.faults`.

    Raises:
        ConfigurationError: no engine has that name, none is installed, the folder holds no model, or a fault is
            invalid.
    """
    plan = faults if isinstance(faults, Faults) else Faults(faults)
    if engine is None or isinstance(engine, str):
        engine, description = choose_engine(engine)
        _logger.info("emulator: recogniser: %s", description)
    return Emulator(engine, host=host, port=port, api_keys=api_keys, faults=plan)


class Emulator(LocalServer):
    """A local server in place of the vendors'; `async with` starts and stops it, and the engine with it."""

    _noun = "emulator"

    def __init__(
        self,
        engine: Engine,
        *,
        host: str,
        port: int,
        api_keys: Collection[str] | Mapping[str, str] | None,
        faults: Faults,
    ) -> None:
        super().__init__(host=host, port=port)
        self._engine = engine
        self._api_keys = api_keys
        self._faults = FaultInjector(faults)
        self._routes = VendorRoutes()

    def __repr__(self) -> str:
        return f"<Emulator {self._address or 'not running'} engine={type(self._engine).__name__}>"

    async def _start(self, starting: AsyncExitStack) -> tuple[web.Application, Sequence[WebSocketHandler]]:
        engine = await starting.enter_async_context(self._engine)
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        self._routes = VendorRoutes()
        return application, self._routes.add(application, engine, api_keys=self._api_keys, faults=self._faults)

    def check_vendor(self, vendor: str) -> None:
        """Refuse a vendor that has no endpoints here.

        Raises:
            ConfigurationError: the text gives the reason.
        """
        self._routes.check(vendor)

    def environment(self, *vendors: str) -> dict[str, str]:
        """Return the environment variables with which services connect to it: of all vendors, or of those named."""
        return self._routes.environment(self.address, *vendors)

    @property
    def faults_struck(self) -> dict[str, int]:
        """The number of connections that each kind of fault has struck since the emulator was created."""
        return self._faults.struck

    @property
    def dashscope_http_url(self) -> str:
        """The base URL of DashScope's REST API: hot words and temporary keys."""
        return f"{self.url}{dashscope_rest.PATH}"
