"""The client, which makes the sessions of one service, and the functions that need one call.

Does not know recognition, connections or vendors: it combines a service, options and settings.
"""

from __future__ import annotations

import asyncio
import functools
import io
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, TypeVar, Unpack

import msgspec

from ._connection.member import choose_member
from ._connection.pool import ConnectionPool
from ._limits.limiter import Limiter
from ._loop.owner import check_loop, is_other_loop
from ._net.network_options import NetworkOptions
from ._net.wire_log import WireLog
from ._session.policy import check_options
from ._session.result_queue import event_bytes
from ._text.secret import secret_url, tolerant_repr
from .config import Limits, Pool, Retry, Timeouts
from .errors import ASRError, ConfigurationError, LocalProtocolError, RemoteProtocolError
from .results import BatchItem, Event, Gap, Result, SessionStats, Transcript, TranslationArrived, join_texts
from .session import Session
from .sources import AudioFile, AudioSource, TranscriptionBatch, check_source, prepare, read_audio
from .telemetry.observer import Observer, ObserverGroup
from .vendors import service_for
from .vendors.options import check_is_options
from .vendors.service import ServiceOfMembers, TemporaryKeyService, check_is_service, with_network

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, Iterable, Mapping

    from .vendors.options import Options
    from .vendors.service import Service, TemporaryKey, Vocabularies

__all__ = ["Client", "ClientSettings", "connect", "transcribe"]

CONCURRENCY = 8
"""As many sessions as `Pool` keeps connections by default, so that a long list of sources reuses the same eight; and
fewer than any vendor lets start in one second (10 to 20)."""

MAX_TRANSCRIPT_BYTES = 8 * 1024 * 1024
MAX_TRANSCRIPT_BYTES_PER_SECOND = 16 * 1024
"""The size of the finals that `transcribe` keeps: so much, and so much for each second of audio. Fast speech with
the times of all words needs 2 KiB per second."""

S = TypeVar("S", bound=AudioSource | str | os.PathLike[str])


class ClientSettings(TypedDict, total=False):
    """The keyword arguments that `Client`, `connect` and `transcribe` have in common; see `Client`."""

    timeouts: Timeouts | None
    retry: Retry | None
    limits: Limits | None
    pool: Pool | None
    tape: str | os.PathLike[str] | None
    ssl_context: ssl.SSLContext | None
    proxy: str | Literal[False] | None
    observers: Iterable[Observer]


def conceal_proxy(settings: ClientSettings) -> ClientSettings:
    """Return settings whose URL of the proxy no traceback that shows local variables shows, as it may have a password.

    A function that passes its `**settings` on replaces its own by these.
    """
    proxy = settings.get("proxy")
    return {**settings, "proxy": secret_url(proxy)} if isinstance(proxy, str) else settings


class Client:
    """A client of one service, which makes sessions and closes what they share.

    It is an async context manager: use it with `async with`, which starts the service and opens the connection pool. It
    belongs to the event loop that it is opened in, with its sessions; it may be opened again when it was closed, also
    in another loop. `session` alone needs no running loop.

        async with Client(DashScope(), limits=Limits(max_sessions=20)) as client:
            async with client.session(Paraformer()) as session:
                async for result in session.stream(audio):
                    print(result.text)

    Args:
        service: the vendor's service with its credentials: `DashScope(...)`, `Huawei(...)`, `Local()`, `Fallback(...)`.
            None, the default, is the service of the vendor of `options`, with the credentials of the environment.
        options: the model and its settings for calls that name none: `Client(options=Paraformer())`. None, the default,
            uses those of the first member of a `Fallback`.
        timeouts: the deadlines of its sessions.
        retry: the behaviour of its sessions when a connection is lost.
        limits: the number of sessions, and of starts per second, that the client allows itself.
        pool: the connections that are kept for the next session, where the vendor accepts several tasks on one.
        tape: a file that records every message, with times and without credentials and audio, until the client closes;
            `asr_async.emulator.replay` plays it back. The file is opened when the client is entered, which raises
            `ConfigurationError` if that fails.
        ssl_context: the TLS context of its connections and HTTP requests, used unchanged. None, the default, is the
            context of the service, else the system's trust store, or SSL_CERT_FILE and SSL_CERT_DIR.
        proxy: the URL of their proxy, `http://user:password@host:port` (`https`, and for connections also `socks5`).
            False connects directly. None, the default, is the proxy of the service, else HTTPS_PROXY, HTTP_PROXY,
            ALL_PROXY and NO_PROXY. This machine is never reached through a proxy.
        observers: objects whose methods are called on the transitions of its sessions; see
            `asr_async.telemetry.Observer`. Without any, nothing is paid for them.

    Raises:
        ConfigurationError: there is neither a service nor options, they belong to different vendors, `ssl_context` is
            not a context for clients, the URL of the proxy is malformed, the service supports neither argument, or an
            observer is none.
    """

    def __init__(
        self,
        service: Service | None = None,
        *,
        options: Options | None = None,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
        pool: Pool | None = None,
        tape: str | os.PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Literal[False] | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        # first, so that no local variable in a traceback shows a password
        proxy = secret_url(proxy) if isinstance(proxy, str) else proxy
        service = _service_for(service, options)
        self._service = with_network(service, NetworkOptions(ssl_context=ssl_context, proxy=proxy))
        self._options = service.options if options is None and isinstance(service, ServiceOfMembers) else options
        self._timeouts = timeouts or Timeouts()
        self._retry = retry or Retry()
        self._limiter = Limiter(limits or Limits())
        self._pool = pool or Pool()
        self._tape = tape
        self._observers = ObserverGroup(observers)
        # None while the client is not open; and the event loop that it is open in
        self._connections: ConnectionPool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open_batches: set[TranscriptionBatch[Any, Any]] = set()
        self._stack = AsyncExitStack()

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<Client {self._service!r} {'closed' if self._connections is None else 'open'}>"

    async def __aenter__(self) -> Self:
        if self._connections is not None and self._loop is not None and not self._loop.is_closed():
            raise LocalProtocolError(f"{self!r} is open already: enter it once, and pass it on to where it is used")
        self._loop = asyncio.get_running_loop()
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
        if self._loop is not None:
            check_loop(self._loop, "this client")
        self._connections = None
        try:
            for batch in list(self._open_batches):
                await batch.aclose()
        finally:
            await self._stack.aclose()

    def session(self, options: Options | None = None, *, tags: Mapping[str, str] | None = None) -> Session:
        """Make a session, to be opened with `async with client.session(options) as session`.

        No connection is made before the session is entered.

        Args:
            options: the model and its settings, such as `Paraformer(language_hints=["zh"])`; None, the default, uses
                those of the client.
            tags: the session's names in your program, such as `{"call": "4711"}`. They are in `repr(session)` and
                `session.stats`, observers get them, and the log records of the session have them as attributes, with
                `asr_session`, `asr_vendor` and `asr_model`; a tag with the name of an attribute that all records have,
                such as "name", is "tag_name" there.

        Raises:
            ConfigurationError: the options belong to another vendor than the service, the settings of the client ask
                for what the model cannot do, or a tag is not a string.
            LocalProtocolError: the client is not open.
        """
        return Session(
            self._service,
            self._options_or_default(options),
            timeouts=self._timeouts,
            retry=self._retry,
            pool=self._open_connections(),
            limiter=self._limiter,
            observers=self._observers,
            tags=tags,
        )

    async def warm(self, options: Options | None = None) -> None:
        """Open the connections that `Pool(warm=...)` keeps ready, before the first session.

        Return when the first of them is open; the others are opened in the background. With a `Fallback`, they belong
        to the member that a session would use now.

        Args:
            options: the model and its settings, None for those of the client; connections are kept for each endpoint.

        Raises:
            ASRError: the connection could not be opened.
            ConfigurationError: the pool keeps no connections ready (`Pool(warm=0)`), the vendor accepts one session of
                this model on each connection, or a session with these options would be refused.
            LocalProtocolError: the client is not open.
        """
        connections = self._open_connections()
        options = self._options_or_default(options)
        check_options(self._service, options, self._retry)
        choose = functools.partial(choose_member, self._service, options)
        await connections.warm(choose, self._limiter.session_permit().wait_to_connect)

    @property
    def vocabularies(self) -> Vocabularies:
        """The hot-word tables of the service's account: create, update, list, get, delete.

            vocabulary_id = await client.vocabularies.create(["Paraformer", HotWord("SIS", weight=5)], name="terms")
            options = Paraformer(vocabulary_id=vocabulary_id)

        Words beyond the vendor's limits are refused before anything is sent.

        Raises:
            ConfigurationError: the service has none.
        """
        return self._service.vocabularies

    async def temporary_key(self, *, expires_in: int = 60) -> TemporaryKey:
        """Make a short-lived key for a program that must not have the client's own key: a browser, a device.

        Args:
            expires_in: the lifetime of the key in seconds; DashScope accepts 1 to 1800, OpenAI 10 to 7200. The default
                is enough to connect, and an open session outlives its key.

        Raises:
            ASRError: the vendor could not be reached, or refused.
            ConfigurationError: the vendor has no temporary keys, or none with this lifetime.
        """
        if not isinstance(self._service, TemporaryKeyService):
            raise ConfigurationError(f"{self._service!r} makes no temporary keys; DashScope and OpenAI do")
        return await self._service.temporary_key(expires_in=expires_in)

    async def transcribe(
        self,
        source: AudioSource | str | os.PathLike[str],
        options: Options | None = None,
        *,
        pace: float | None = None,
    ) -> Transcript:
        """Recognise a whole source, or the file at a path, and return its transcript.

            transcript = await client.transcribe("meeting.wav", Paraformer())

        Args:
            source: a source, as for `Session.stream`, or the path of a file.
            options: the model and its settings; None, the default, uses those of the client.
            pace: the speed of sending, as a multiple of real time. None, the default, sends as fast as the connection
                accepts audio, since a whole source is usually a file; see `Session.stream`.

        Raises:
            ASRError: the recognition failed, or the vendor sent more text than speech of this length can have. The
                attribute `transcript` of the error holds everything recognised before.
            OSError: the file cannot be read.
        """
        options = self._options_or_default(options)
        audio = _source_of(source)
        if isinstance(self._service, ServiceOfMembers):  # its members declare what they were given
            await check_source(audio, options)
        else:
            options = await prepare(audio, options)
        builder = _TranscriptBuilder()
        session = self.session(options)
        try:
            async with session:
                async for event in session.events(audio, pace=pace):
                    builder.add(event)
                    if builder.size_bytes > MAX_TRANSCRIPT_BYTES:
                        builder.check_size(session._buffer.longest_sent_ms)  # noqa: SLF001 - not in the statistics
        except ASRError as error:
            error.transcript = builder.build(session.stats)
            raise
        return builder.build(session.stats)

    def transcribe_many(
        self,
        sources: Iterable[S] | AsyncIterable[S],
        options: Options | None = None,
        *,
        concurrency: int = CONCURRENCY,
        pace: float | None = None,
    ) -> TranscriptionBatch[S, BatchItem[S]]:
        """Recognise many sources, some at once, and iterate over their outcomes in the order of completion.

            async with client.transcribe_many(Path("calls").glob("*.wav"), Paraformer()) as batch:
                async for item in batch:
                    print(item.source, item.error or item.transcript.text)

        A source that fails does not stop the others: its item has an `error`. The iterable is read no further than the
        sessions need it. If the caller reads no items, at most `concurrency` of them wait, each worker holds one more,
        and no further source is read. An exception of the iterable itself is raised after the items of all sources
        that were read before it.

        Without `async with`, a loop that is left early does not stop the sessions that have started: they run to their
        end, or until the client closes. No further session is started.

        Args:
            sources: an (async) iterable of what `transcribe` accepts, of any length.
            options: the model and its settings, the same for all sources; None, the default, uses those of the client.
            concurrency: the maximum number of sessions at once. The default is the number of connections that `Pool`
                keeps by default, so that each connection is used again.
            pace: the speed of sending; see `transcribe`.

        Raises:
            ConfigurationError: `sources` is a single source, `concurrency` is less than 1, or a session with these
                options would be refused.
            LocalProtocolError: the client is not open.
        """
        if isinstance(sources, str | os.PathLike | AudioFile):
            text = f"transcribe_many() needs an iterable of sources, such as [{sources!r}]; transcribe() takes one"
            raise ConfigurationError(text)
        self._open_connections()
        options = self._options_or_default(options)
        check_options(self._service, options, self._retry)

        async def work(index: int, source: S) -> BatchItem[S]:
            try:
                transcript = await self.transcribe(source, options, pace=pace)
            except Exception as error:  # noqa: BLE001 - the outcome of this source, given to the caller in its item
                partial = error.transcript if isinstance(error, ASRError) else None
                return BatchItem(index=index, source=source, transcript=partial, error=error)
            except GeneratorExit as error:  # raised by the source; raised unchanged, it would end the whole batch
                reason = RuntimeError("the source raised GeneratorExit")
                reason.__cause__ = error
                return BatchItem(index=index, source=source, transcript=None, error=reason)
            return BatchItem(index=index, source=source, transcript=transcript)

        return TranscriptionBatch(work, sources, concurrency=concurrency, open_batches=self._open_batches)

    def _options_or_default(self, options: Options | None) -> Options:
        """Return the options of a call, else those of the client.

        Raises:
            ConfigurationError: there are none, or they are not options.
        """
        if options is None:
            options = self._options
        if options is None:
            raise ConfigurationError("no options: pass the model's, such as Paraformer(), or Client(options=...)")
        check_is_options(options)
        return options

    def _open_connections(self) -> ConnectionPool:
        """Return the pool of the open client.

        Raises:
            LocalProtocolError: the client is not open, or is open in another event loop.
        """
        if self._connections is None:
            raise LocalProtocolError("the client is not open: use it with 'async with Client(...) as client'")
        if self._loop is not None and is_other_loop(self._loop):
            check_loop(self._loop, "this client")
        return self._connections


def _source_of(source: AudioSource | str | os.PathLike[str]) -> AudioSource:
    """Return a source; a path and a binary file are read as recordings."""
    if isinstance(source, str | os.PathLike | io.RawIOBase | io.BufferedIOBase):
        return read_audio(source)
    return source


class _TranscriptBuilder:
    """The events of a session that belong to its transcript."""

    def __init__(self) -> None:
        # in the order of arrival; the place of the newest final of each segment
        self._finals: list[Result] = []
        self._indices: dict[int, int] = {}
        self._gaps: list[Gap] = []
        self.size_bytes = 0
        """The size of the finals and their late translations."""

    def check_size(self, audio_ms: int) -> None:
        """Refuse more finals than speech of this length can have.

        Raises:
            RemoteProtocolError: there are more; the vendor seems to send without end.
        """
        if self.size_bytes > MAX_TRANSCRIPT_BYTES + audio_ms / 1000 * MAX_TRANSCRIPT_BYTES_PER_SECOND:
            size_mib, audio_s = self.size_bytes / 1024**2, audio_ms / 1000
            raise RemoteProtocolError(f"the vendor sent {size_mib:.0f} MiB of final results for {audio_s:g} s of audio")

    def add(self, event: Event) -> None:
        """Keep a final, add a translation that arrives later to its final, and keep a gap."""
        if isinstance(event, Result) and event.is_final:
            self._indices[event.segment_id] = len(self._finals)
            self._finals.append(event)
            self.size_bytes += event_bytes(event)
        elif isinstance(event, TranslationArrived) and event.segment_id in self._indices:
            index = self._indices[event.segment_id]
            self.size_bytes += event_bytes(event)
            translations = {**self._finals[index].translations, event.language: event.translation}
            self._finals[index] = msgspec.structs.replace(self._finals[index], translations=translations)
        elif isinstance(event, Gap):
            self._gaps.append(event)

    def build(self, stats: SessionStats) -> Transcript:
        """Return the transcript, in the order of the audio: not every vendor finalises segments in that order."""
        in_order = tuple(sorted(self._finals, key=lambda final: final.start_ms))
        return Transcript(
            text=join_texts([final.text for final in in_order]),
            results=in_order,
            duration_ms=stats.audio_sent_ms,
            gaps=tuple(sorted(self._gaps, key=lambda gap: gap.start_ms)),
            usage_seconds=stats.usage_seconds,
            request_id=stats.request_id,
            stats=stats,
        )


class connect:  # noqa: N801 - read as a verb: `async with connect(options) as session`
    """A client and its only session, opened and closed together.

        async with connect(Paraformer()) as session:
            async for result in session.stream(read_audio("meeting.wav")):
                print(result.text)

    For several sessions, use a `Client`: its sessions share connections.

    Args:
        options: the model and its settings.
        service: the vendor's service. None, the default, is the service of the options' vendor with the credentials of
            the environment.
        settings: the keyword arguments of `Client`: timeouts, retry, limits, pool, tape, ssl_context, proxy, observers.

    Raises:
        AuthenticationError: there are no credentials, or the vendor refused them.
        ConfigurationError: the options belong to another vendor than the service, or an argument is invalid.
        ConnectionLostError: the vendor could not be reached.
        DeadlineError: a deadline of `timeouts` passed, or the limits did not admit the session within `Limits.wait`.
        RateLimitedError: the vendor refused a further session.
        VendorError: the vendor refused the task.
    """

    def __init__(self, options: Options, service: Service | None = None, **settings: Unpack[ClientSettings]) -> None:
        settings = conceal_proxy(settings)
        self._client = Client(service, options=options, **settings)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Session:
        async with self._stack:
            client = await self._stack.enter_async_context(self._client)
            session = await self._stack.enter_async_context(client.session())
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
    **settings: Unpack[ClientSettings],
) -> Transcript:
    """Recognise a whole source, or the file at a path, with a client of its own, and return the transcript.

        transcript = await transcribe("meeting.wav", Paraformer())

    Args:
        source: see `Client.transcribe`.
        options: the model and its settings.
        service: see `connect`.
        pace: see `Client.transcribe`.
        settings: see `connect`.

    Raises:
        ASRError: the recognition failed. The attribute `transcript` of the error holds what was recognised before.
        ConfigurationError: the options belong to another vendor than the service, or an argument is invalid.
        OSError: the file cannot be read.
    """
    settings = conceal_proxy(settings)
    async with Client(service, options=options, **settings) as client:
        return await client.transcribe(source, pace=pace)


def _service_for(service: Service | None, options: Options | None) -> Service:
    """Return the service, else that of the vendor of the options.

    Raises:
        ConfigurationError: there is none, or they belong to different vendors.
    """
    if options is not None:
        check_is_options(options)
    if service is None:
        if options is None:
            raise ConfigurationError(
                "no service: pass one, such as Client(DashScope()), or Client(options=Paraformer())"
            )
        return service_for(options)
    check_is_service(service)
    if options is not None:
        service.describe(options)
    return service
