"""The doors: a client that makes sessions, and the one-call forms of it.

They decide nothing about recognition: they put a service, options and timeouts together.
"""

from __future__ import annotations

import functools
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import msgspec

from ._connection.member import choose_member
from ._connection.pool import ConnectionPool
from ._limits.limiter import Limiter
from ._net.network_options import NetworkOptions
from ._net.wire_log import WireLog
from .batch import Closes, TranscriptionBatch
from .config import Limits, Pool, Retry, Timeouts
from .errors import ASRError, ConfigurationError, LocalProtocolError
from .results import BatchItem, Event, Gap, Result, SessionStats, Transcript, TranslationArrived, join_texts
from .session import Session
from .sources import AudioFile, AudioSource, preflight, read_audio
from .vendors import service_for
from .vendors.service import TemporaryKeyService, with_network

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, Iterable

    from .vendors.options import Options
    from .vendors.service import Service, TemporaryKey, Vocabularies

__all__ = ["Client", "connect", "transcribe"]

CONCURRENCY = 8
"""As many connections as `Pool` keeps by default, so that a long list is worked off on the same eight; and fewer
sessions than any vendor lets start in one second (10 to 20)."""

S = TypeVar("S", bound=AudioSource | str | os.PathLike[str])


class Client:
    """Makes sessions of one service; an async context manager that starts and stops what the service needs.

    Args:
        service: whom to call and as whom: `DashScope(...)`, `Local()`.
        timeouts: the deadlines of its sessions.
        retry: what they do when a connection is lost.
        limits: how many sessions and starts per second it allows itself.
        pool: how many connections are kept for the next session, where the vendor takes several tasks on one.
        tape: a file to record every message in, with times and without credentials and audio, until the client closes;
            `asr_async.emulator.replay` plays it back. Opened with the client: a `ConfigurationError` if it cannot be.
        ssl_context: the TLS context of its connections and HTTP requests, used as it is. Default: the service's own,
            else the system's trust store, or SSL_CERT_FILE and SSL_CERT_DIR.
        proxy: the URL of their proxy, `http://user:password@host:port` (`https`, for connections `socks5` too); False
            connects directly. Default: the service's own, else HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. This
            machine is never reached through a proxy.

    Raises:
        ConfigurationError: the context is not one of a client, the proxy's URL is malformed, or the service takes
            neither.
    """

    def __init__(
        self,
        service: Service,
        *,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
        pool: Pool | None = None,
        tape: str | os.PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
    ) -> None:
        self._service = with_network(service, NetworkOptions(ssl_context=ssl_context, proxy=proxy))
        self._timeouts = timeouts or Timeouts()
        self._retry = retry or Retry()
        self._limiter = Limiter(limits or Limits())
        self._pool = pool or Pool()
        self._tape = tape
        # while it is open
        self._connections: ConnectionPool | None = None
        self._fan_outs: set[Closes] = set()
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Client {self._service!r} {'closed' if self._connections is None else 'open'}>"

    async def __aenter__(self) -> Self:
        tape = None if self._tape is None else WireLog(self._tape)
        connections = ConnectionPool(self._pool, self._timeouts, tape)
        await connections.open()
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._limiter)
                await stack.enter_async_context(self._service)
                stack.push_async_callback(connections.aclose)
                self._stack = stack.pop_all()
        except BaseException:
            await connections.aclose()
            raise
        self._connections = connections
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._connections = None
        try:
            for fan_out in list(self._fan_outs):
                await fan_out.aclose()
        finally:
            await self._stack.aclose()

    def session(self, options: Options) -> Session:
        """One recognition: `async with client.session(options) as session`.

        Raises:
            ConfigurationError: the service is not of the options' vendor.
            LocalProtocolError: the client is not open.
        """
        if self._connections is None:
            raise LocalProtocolError("the client is not open: use it with 'async with Client(...) as client'")
        return Session(
            self._service,
            options,
            timeouts=self._timeouts,
            retry=self._retry,
            connections=self._connections,
            limiter=self._limiter,
        )

    async def warm(self, options: Options) -> None:
        """Open the connections that `Pool(warm=...)` keeps ready, ahead of the first session.

        Returns when the first of them is open; the others follow in the background. Of a service with several members
        it is the one that a session would be opened with now.

        Raises:
            ASRError: it could not be opened.
            ConfigurationError: nothing is to be kept warm, the model takes one session on a connection, or the service
                is not of the options' vendor.
            LocalProtocolError: the client is not open.
        """
        self.session(options)  # refuses what a session would
        assert self._connections is not None  # noqa: S101 - `session` asked
        choose = functools.partial(choose_member, self._service, options)
        await self._connections.warm(choose, self._limiter.session_permit().wait_to_connect)

    @property
    def vocabularies(self) -> Vocabularies:
        """The hot-word tables of the service's account: create, update, list, get, delete.

        Raises:
            ConfigurationError: the service has none.
        """
        return self._service.vocabularies

    async def temporary_key(self, *, expires_in: int = 60) -> TemporaryKey:
        """Make a key for a program that should not know this one: a browser, a device.

        Args:
            expires_in: seconds; DashScope takes 1 to 1800.

        Raises:
            ASRError: the vendor was not reached, or refused.
            ConfigurationError: the vendor has no temporary keys, or not for so long.
        """
        if not isinstance(self._service, TemporaryKeyService):
            raise ConfigurationError(f"{self._service!r} makes no temporary keys; DashScope does")
        return await self._service.temporary_key(expires_in=expires_in)

    async def transcribe(
        self, source: AudioSource | str | os.PathLike[str], options: Options, *, pace: float | None = None
    ) -> Transcript:
        """Recognise a whole source, or the file at a path, and return its final results.

        Args:
            source: what `Session.stream` takes, or a path.
            options: what to recognise.
            pace: None sends as fast as the connection takes it; see `Session.stream`.

        Raises:
            ASRError: with what had been recognised until then in its attribute `transcript`.
            OSError: the file cannot be read.
        """
        audio = read_audio(source) if isinstance(source, str | os.PathLike) else source
        await preflight(audio, options)
        collected = _Collected()
        session = self.session(options)
        try:
            async with session:
                async for event in session.events(audio, pace=pace):
                    collected.take(event)
        except ASRError as error:
            error.transcript = collected.transcript(session.stats)
            raise
        return collected.transcript(session.stats)

    def transcribe_many(
        self,
        sources: Iterable[S] | AsyncIterable[S],
        options: Options,
        *,
        concurrency: int = CONCURRENCY,
        pace: float | None = None,
    ) -> TranscriptionBatch[S, BatchItem[S]]:
        """Recognise many sources, some at once, and iterate what comes of each as it is done.

            async with client.transcribe_many(Path("calls").glob("*.wav"), Paraformer()) as many:
                async for item in many:
                    print(item.source, item.error or item.transcript.text)

        One that fails stops no other: its `error` says why. The iterable is read no further than sessions need it, and
        a caller who takes no results stops that: at most `concurrency` results wait, and as many in the hands of those
        who made them. What the iterable itself raises comes when all that was begun has been taken.

        Without `async with` a loop that is left early leaves what is under way to go on to its end, or to that of the
        client; nothing more is begun.

        Args:
            sources: an (async) iterable of what `transcribe` takes; thousands are as good as two.
            options: what to recognise, the same for all.
            concurrency: sessions at once.
            pace: see `transcribe`.

        Raises:
            ConfigurationError: one source where many are expected, options of another vendor, no concurrency.
            LocalProtocolError: the client is not open.
        """
        if isinstance(sources, str | os.PathLike | AudioFile):
            raise ConfigurationError(f"transcribe_many: a list of sources, as [{sources!r}]; transcribe() takes one")
        self.session(options)  # refuses now what would be refused for each

        async def attempt(index: int, source: S) -> BatchItem[S]:
            try:
                transcript = await self.transcribe(source, options, pace=pace)
            except Exception as error:  # noqa: BLE001 - of this source, and told with it
                so_far = error.transcript if isinstance(error, ASRError) else None
                return BatchItem(index=index, source=source, transcript=so_far, error=error)
            return BatchItem(index=index, source=source, transcript=transcript)

        return TranscriptionBatch(attempt, sources, concurrency=concurrency, open_ones=self._fan_outs)


class _Collected:
    """What of a session's events belongs into its transcript."""

    def __init__(self) -> None:
        self._finals: dict[int, Result] = {}
        self._gaps: list[Gap] = []

    def take(self, event: Event) -> None:
        """Keep a final by its segment, put a translation that comes later into it, and keep gaps."""
        if isinstance(event, Result) and event.is_final:
            self._finals[event.segment_id] = event
        elif isinstance(event, TranslationArrived) and event.segment_id in self._finals:
            final = self._finals[event.segment_id]
            translations = {**final.translations, event.language: event.translation}
            self._finals[event.segment_id] = msgspec.structs.replace(final, translations=translations)
        elif isinstance(event, Gap):
            self._gaps.append(event)

    def transcript(self, stats: SessionStats) -> Transcript:
        """All of it, in the order of speech: not every vendor finalises in that order."""
        in_order = tuple(final for _, final in sorted(self._finals.items()))
        return Transcript(
            text=join_texts([final.text for final in in_order]),
            results=in_order,
            duration_ms=stats.audio_sent_ms,
            gaps=tuple(self._gaps),
            usage_seconds=stats.usage_seconds,
            request_id=stats.request_id,
            stats=stats,
        )


class connect:  # noqa: N801 - read as a verb: `async with connect(options) as session`
    """One client and one session: `async with connect(Paraformer()) as session`.

    Args:
        options: what to recognise.
        service: whom to call; None takes the options' vendor with its credentials from the environment.
        timeouts: the deadlines.
        retry: what the session does when its connection is lost.
        limits: how many sessions and starts per second there may be; clients of one event loop count together.
        ssl_context: see `Client`.
        proxy: see `Client`.

    Raises:
        AuthenticationError: there are no credentials, or they were refused.
        ConfigurationError: service and options do not fit.
        ConnectionLostError: nobody is there.
        DeadlineError: not in time.
    """

    def __init__(
        self,
        options: Options,
        service: Service | None = None,
        *,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
    ) -> None:
        self._options = options
        service = service if service is not None else service_for(options)
        self._client = Client(
            service, timeouts=timeouts, retry=retry, limits=limits, ssl_context=ssl_context, proxy=proxy
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Session:
        async with self._stack:
            client = await self._stack.enter_async_context(self._client)
            session = await self._stack.enter_async_context(client.session(self._options))
            self._stack = self._stack.pop_all()
        return session

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()


async def transcribe(
    source: AudioSource | str | os.PathLike[str],
    options: Options,
    service: Service | None = None,
    *,
    pace: float | None = None,
    timeouts: Timeouts | None = None,
    retry: Retry | None = None,
    limits: Limits | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | Literal[False] | None = None,
) -> Transcript:
    """Recognise a whole source, or the file at a path; see `Client.transcribe` and `connect`."""
    service = service if service is not None else service_for(options)
    async with Client(
        service, timeouts=timeouts, retry=retry, limits=limits, ssl_context=ssl_context, proxy=proxy
    ) as client:
        return await client.transcribe(source, options, pace=pace)
