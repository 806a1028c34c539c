"""The embedded recogniser as a service: the emulator on a loopback port, started and stopped with the client.

Accepts the options of any model and serves them over the real protocol of that model's vendor. The engine recognises
the audio, and reports as an error what it does not support.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ._text.secret import tolerant_repr
from .errors import ConfigurationError, LocalProtocolError
from .vendors import vendor_of

if TYPE_CHECKING:
    from ._net.network_options import NetworkOptions
    from .emulator import Emulator, Engine
    from .vendors.codec import Codec, TaskDescription
    from .vendors.options import Options
    from .vendors.service import Endpoint, Service, Vocabularies

__all__ = ["Local"]


class Local:
    """A recogniser on this machine that needs no credentials: `connect(Paraformer(), service=Local())`.

    The options of any model are accepted, and served over the protocol of the model's vendor. `Local()` takes the best
    engine that is installed, and logs which:

    - `"moonshine"` (extra `local`): English with punctuation, at any sample rate; about 4 % of the words of recordings
      are wrong, 5 to 9 % at telephone quality. Up to five live sessions per core.
    - `"pocketsphinx"` (extra `local-small`), where Moonshine's wheels do not fit: English at 16 kHz; clean read speech
      with few errors, recordings with about 40 %. Up to ten live sessions per core.
    - `Sherpa(folder)` of `asr_async.emulator`, or `"sherpa:FOLDER"` (extra `sherpa`): a model of your own.

    More sessions are refused (`RateLimitedError`). Only the limits that `Limits` sets apply, since no vendor counts.

    Args:
        engine: the name of an engine, or an engine of `asr_async.emulator`; None is the best one that is installed.

    Raises:
        ConfigurationError: on entering, if no engine has this name, if the engine needs an extra that is not
            installed, or if the folder holds no model that can be run.
    """

    def __init__(self, engine: str | Engine | None = None) -> None:
        self._engine = engine
        self._emulator: Emulator | None = None

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<Local {'best engine' if self._engine is None else repr(self._engine)}>"

    @property
    def recogniser(self) -> str:
        """A line about the engine: what it is good for, and which extra has a better one.

        Raises:
            ConfigurationError: no engine has this name, or the folder in it holds no model; or none is named, and none
                is installed.
        """
        from .emulator.engines.installed import choose_engine  # noqa: PLC0415 - as in `__aenter__`

        if self._engine is None or isinstance(self._engine, str):
            return choose_engine(self._engine).description
        return repr(self._engine)

    async def __aenter__(self) -> Self:
        # imported here: a program that connects to the vendors never loads the server side
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
        """Return the codec of the options' vendor; it needs no address, so it works before the emulator has started."""
        return vendor_of(options).service().codec(options, task_id=task_id)

    def with_network(self, network: NetworkOptions) -> Local:  # noqa: ARG002 - only this machine is reached
        """Return this service: there is no proxy to this machine, and no TLS."""
        return self

    @property
    def vocabularies(self) -> Vocabularies:
        """Not supported: hot-word tables belong to a vendor's account.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "Local() stores no hot-word tables: use the service of a vendor, such as DashScope(...)"
        )

    async def resolve(self, options: Options) -> Endpoint:
        """Return the emulator's endpoint for the options' vendor.

        Raises:
            ConfigurationError: the emulator has no endpoints of the options' vendor.
            LocalProtocolError: the emulator is not running.
        """
        return await self._service_for(options).resolve(options)

    def _service_for(self, options: Options) -> Service:
        if self._emulator is None:
            raise LocalProtocolError("Local() is not running: pass it to connect(...) or Client(...), which start it")
        vendor = vendor_of(options)
        self._emulator.check_vendor(vendor.name)
        assert vendor.local_service is not None  # noqa: S101 - else it has no endpoints
        return vendor.local_service(self._emulator.address)
