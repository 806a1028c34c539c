"""The emulator as a running service: one port, one engine, one room per vendor.

Knows no protocol: a vendor's room is given the application and mounts its own routes there.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import ConfigurationError, LocalProtocolError
from .api_keys import ApiKeys
from .dashscope import realtime as dashscope_realtime
from .dashscope import rest as dashscope_rest
from .dashscope import tasks as dashscope
from .dashscope.hotwords import HotWordTables
from .faults import FaultInjector, Faults
from .huawei import rasr as huawei

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
    from typing import Any, Self

    from .engines.engine import Engine
    from .faults import Fault

__all__ = ["Emulator", "listen", "serve"]

BACKLOG = 1024
"""Connections that may wait to be accepted: tests open hundreds at once."""

MAX_BODY_BYTES = 12 * 1024 * 1024
"""The longest body of a plain HTTP request: no vendor's gateway checks the signature of a longer one (Huawei Cloud's
does up to 12 MB)."""

SHUTDOWN_TIMEOUT_S = 2.0
"""How long leaving waits for plain HTTP requests; the rooms end their WebSocket connections themselves."""


def serve(
    engine: Engine | str | None = None,
    *,
    # where
    host: str = "127.0.0.1",
    port: int = 0,
    # who may come in
    api_keys: Collection[str] | Mapping[str, str] | None = None,
    # what goes wrong
    faults: Faults | Iterable[Fault | Mapping[str, Any]] = (),
) -> Emulator:
    """Make an emulator; it runs inside `async with`.

    Args:
        engine: what listens, or "pocketsphinx", the embedded recogniser, which is the default.
        host: loopback unless told otherwise: the service is meant for this machine, and its keys are not secret.
        port: 0 takes a free one.
        api_keys: the keys that are let in, DashScope's as well as Huawei Cloud's access keys and IAM users; None lets
            every key in, but not a client without one. A mapping gives each key its secret (the secret key of an
            access key, the password of a user), and only then is a signature or a password checked.
        faults: what is to go wrong with which connections, see `asr_async.emulator.faults`.

    Raises:
        ConfigurationError: there is no engine of that name, or a fault cannot be read.
    """
    plan = faults if isinstance(faults, Faults) else Faults(faults)
    return Emulator(_engine(engine), host=host, port=port, api_keys=api_keys, faults=plan)


def _engine(engine: Engine | str | None) -> Engine:
    if engine is None or engine == "pocketsphinx":
        from .engines.pocketsphinx import PocketSphinx  # noqa: PLC0415 - only who asks for it loads it

        return PocketSphinx()
    if isinstance(engine, str):
        raise ConfigurationError(f"engine={engine!r}: known by name is 'pocketsphinx', others are given as objects")
    return engine


class Emulator:
    """A local service in place of the vendors'; `async with` starts and stops it, and the engine with it."""

    def __init__(
        self,
        engine: Engine,
        *,
        host: str,
        port: int,
        api_keys: Collection[str] | Mapping[str, str] | None,
        faults: Faults,
    ) -> None:
        self._engine = engine
        self._host = host
        self._port = port
        self._api_keys = api_keys
        self._faults = FaultInjector(faults)
        self._address: str | None = None
        self._running = AsyncExitStack()
        """What leaving undoes, in this order: the port, the rooms, the server, the engine."""

    def __repr__(self) -> str:
        return f"<Emulator {self._address or 'not running'} engine={type(self._engine).__name__}>"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            engine = await starting.enter_async_context(self._engine)
            application = web.Application(client_max_size=MAX_BODY_BYTES)
            keys, tables, faults = ApiKeys(self._api_keys), HotWordTables(), self._faults
            dashscope_rest.add_routes(application, keys=keys, tables=tables)
            shut_rooms = [
                dashscope.add_routes(application, engine, keys=keys, tables=tables, faults=faults),
                dashscope_realtime.add_routes(application, engine, keys=keys, faults=faults),
                huawei.add_routes(application, engine, api_keys=self._api_keys, faults=faults),
            ]
            self._address = await listen(application, shut_rooms, starting, host=self._host, port=self._port)
            self._running = starting.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._address = None
        await self._running.aclose()

    @property
    def address(self) -> str:
        """Host and port, "127.0.0.1:54321".

        Raises:
            LocalProtocolError: the emulator is not running.
        """
        if self._address is None:
            raise LocalProtocolError("the emulator has no address: it runs only inside `async with`")
        return self._address

    @property
    def faults_struck(self) -> dict[str, int]:
        """How many connections each kind of fault has struck since the emulator was made."""
        return self._faults.struck

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://{self.address}"

    @property
    def dashscope_url(self) -> str:
        """Where the DashScope task protocol is spoken."""
        return f"ws://{self.address}{dashscope.PATH}"

    @property
    def dashscope_http_url(self) -> str:
        """The base of DashScope's REST side: hot words and temporary keys."""
        return f"{self.url}{dashscope_rest.PATH}"

    @property
    def huawei_url(self) -> str:
        """Where Huawei Cloud's RASR is spoken: scheme, host and port, what its SDK calls the endpoint."""
        return f"ws://{self.address}"


async def listen(
    application: web.Application,
    shut_rooms: Iterable[Callable[[], Awaitable[None]]],
    running: AsyncExitStack,
    *,
    host: str,
    port: int,
) -> str:
    """Serve an application until `running` is closed, which ends the rooms' connections; return host and port."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    running.push_async_callback(runner.cleanup)
    running.push_async_callback(_let_accepted_connections_arrive)
    await runner.setup()
    # Not by `on_shutdown`: there aiohttp reads no more, so that no closing handshake could be completed
    # (3.14.5, RequestHandler.data_received after BaseRunner.cleanup has begun).
    for shut in shut_rooms:
        running.push_async_callback(shut)
    # Not by a site of aiohttp's: cancelled while it starts, it leaves an open port behind. Here whatever exists
    # at an await is already in the hands of the stack.
    loop = asyncio.get_running_loop()
    family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
    listener = running.enter_context(socket.create_server(address[:2], family=family))
    assert runner.server is not None  # noqa: S101 - it was set up before
    server = await loop.create_server(runner.server, sock=listener, backlog=BACKLOG, start_serving=False)
    running.callback(server.close)
    running.push_async_callback(_let_accepted_connections_arrive)
    await server.start_serving()
    return _as_text(*listener.getsockname()[:2])


async def _let_accepted_connections_arrive() -> None:
    """Wait a few turns of the loop: a connection that was accepted just before is on its way to aiohttp.

    It would be lost and stay open if the port closed under it (CPython 3.11, `Server._attach`), or if aiohttp closed
    its connections before it had this one.
    """
    for _ in range(3):
        await asyncio.sleep(0)


def _as_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
