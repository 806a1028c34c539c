"""The embedded recogniser as a service: the emulator on a loopback port, started and stopped with the client.

Any model's options are taken, and spoken to over the real protocol of that model's vendor; what recognises is the
engine, which says in an error what it cannot do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .errors import ConfigurationError, LocalProtocolError
from .vendors import vendor_of

if TYPE_CHECKING:
    from .emulator import Emulator, Engine
    from .vendors.codec import Codec, TaskDescription
    from .vendors.options import Options
    from .vendors.service import Endpoint, Service, Vocabularies

__all__ = ["Local"]


class Local:
    """A recogniser on this machine, without any key: `connect(Paraformer(), service=Local())`.

    Args:
        engine: `"pocketsphinx"` (English, 16 kHz; the extra `local`), or an engine of `asr_async.emulator`.
    """

    def __init__(self, engine: str | Engine = "pocketsphinx") -> None:
        self._engine = engine
        self._emulator: Emulator | None = None

    def __repr__(self) -> str:
        return f"<Local {self._engine!r}>"

    async def __aenter__(self) -> Self:
        # not before it is used: a client of the vendors never loads the server side
        from .emulator import serve  # noqa: PLC0415

        self._emulator = await serve(engine=self._engine).__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._emulator is not None:
            emulator, self._emulator = self._emulator, None
            await emulator.__aexit__(*exc_info)

    def describe(self, options: Options) -> TaskDescription:
        """Return the facts about a task of the options' vendor."""
        return vendor_of(options).service().describe(options)

    def codec(self, options: Options, *, task_id: str) -> Codec:
        """The codec of the options' vendor; it knows no address, so it is there before the emulator is."""
        return vendor_of(options).service().codec(options, task_id=task_id)

    @property
    def vocabularies(self) -> Vocabularies:
        """None: tables are a vendor's.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError("Local() keeps no hot-word tables: they are a vendor's, as of DashScope(...)")

    async def resolve(self, options: Options) -> Endpoint:
        """The emulator's door for the options' vendor."""
        return await self._service_for(options).resolve(options)

    def _service_for(self, options: Options) -> Service:
        if self._emulator is None:
            raise LocalProtocolError("Local() is not started: use it with connect(...) or Client(...)")
        return vendor_of(options).local_service(self._emulator.address)
