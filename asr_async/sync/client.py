"""The client of the blocking face, and the functions that need one call."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack

import msgspec

from .._text.secret import tolerant_repr
from ..client import CONCURRENCY, ClientSettings, conceal_proxy
from ..client import Client as AsynchronousClient
from ..errors import LocalProtocolError
from ..results import BatchItem
from ..sources import AudioFile, AudioSource
from ._loop import BackgroundLoop, Held, ItemReader, background_loop
from ._sources import ThreadedIterable, nonblocking
from .session import Session

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Mapping

    from ..hotwords import HotWord, Vocabulary
    from ..results import Transcript
    from ..session import Session as AsynchronousSession
    from ..sources import TranscriptionBatch as AsynchronousBatch
    from ..vendors.options import Options
    from ..vendors.service import Service, TemporaryKey
    from ..vendors.service import Vocabularies as AsynchronousVocabularies

__all__ = ["Client", "TranscriptionBatch", "Vocabularies", "connect", "transcribe"]

S = TypeVar("S", bound=AudioSource | str | os.PathLike[str])


class Client:
    """A client of one service, as `asr_async.Client`: a context manager, for any number of threads.

        client = Client(DashScope(), limits=Limits(max_sessions=20))

        with client, client.session(Paraformer()) as session:
            for result in session.stream(audio):
                print(result.text)

    A web service or a worker opens one when it starts (`client.open()`) and uses it in all of its threads: the sessions
    share connections and limits. It is closed by `close()`, or when the interpreter exits. A process that forks makes
    its clients after that.

    Args:
        service: the vendor's service with its credentials; None, the default, is that of the vendor of `options`.
        options: the model and its settings for calls that name none. None, the default, uses those of the first member
            of a `Fallback`.
        settings: see `asr_async.Client`. Observers are called in the thread of the event loop.

    Raises:
        ConfigurationError: see `asr_async.Client`.
    """

    def __init__(
        self,
        service: Service | None = None,
        *,
        options: Options | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        settings = conceal_proxy(settings)
        self._client = AsynchronousClient(service, options=options, **settings)
        # None while the client is not open
        self._opened: tuple[BackgroundLoop, Held[AsynchronousClient]] | None = None

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<sync {self._client!r}>"

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self, *, timeout: float | None = None) -> Self:
        """Open the client, as `with` does, for a program that closes it elsewhere, or not before it exits.

        Raises:
            ASRError: the service cannot be started, or the tape cannot be written.
            DeadlineError: the service was not ready within `timeout` seconds.
            LocalProtocolError: the client is open.
        """
        if self._opened is not None:
            raise LocalProtocolError("the client is open already: open it once, and use it in all threads")
        loop = background_loop()
        held = Held(loop, self._client)
        held.enter(timeout)
        self._opened = loop, held
        return self

    def close(self) -> None:
        """Close the client and what its sessions share. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[1].leave()

    def session(self, options: Options | None = None, *, tags: Mapping[str, str] | None = None) -> Session:
        """Make a session, to be opened with `with client.session(options) as session`.

        Args:
            options: the model and its settings; None, the default, uses those of the client.
            tags: the session's names in your program; see `asr_async.Client.session`.

        Raises:
            ConfigurationError: see `asr_async.Client.session`.
            LocalProtocolError: the client is not open.
        """
        loop = self._loop()

        async def make() -> AsynchronousSession:
            return self._client.session(options, tags=tags)

        session = loop.run(make)
        return Session(loop, Held(loop, session), session)

    def warm(self, options: Options | None = None, *, timeout: float | None = None) -> None:
        """Open the connections that `Pool(warm=...)` keeps ready; see `asr_async.Client.warm`."""
        self._loop().run(self._client.warm, options, timeout=timeout)

    @property
    def vocabularies(self) -> Vocabularies:
        """The hot-word tables of the service's account; see `asr_async.Client.vocabularies`."""
        return Vocabularies(self._loop(), self._client.vocabularies)

    def temporary_key(self, *, expires_in: int = 60, timeout: float | None = None) -> TemporaryKey:
        """Make a short-lived key for another program; see `asr_async.Client.temporary_key`."""

        async def make() -> TemporaryKey:
            return await self._client.temporary_key(expires_in=expires_in)

        return self._loop().run(make, timeout=timeout)

    def transcribe(
        self,
        source: AudioSource | str | os.PathLike[str],
        options: Options | None = None,
        *,
        pace: float | None = None,
        timeout: float | None = None,
    ) -> Transcript:
        """Recognise a source, or the file at a path, and return its transcript; see `asr_async.Client.transcribe`.

        Raises:
            ASRError: the recognition failed; its attribute `transcript` holds everything recognised before.
            DeadlineError: there was no transcript within `timeout` seconds; nothing of it is kept.
            OSError: the file cannot be read.
        """
        audio = nonblocking(source)

        async def work() -> Transcript:
            return await self._client.transcribe(audio, options, pace=pace)

        return self._loop().run(work, timeout=timeout)

    def transcribe_many(
        self,
        sources: Iterable[S] | AsyncIterable[S],
        options: Options | None = None,
        *,
        concurrency: int = CONCURRENCY,
        pace: float | None = None,
    ) -> TranscriptionBatch[S]:
        """Recognise many sources and iterate over their outcomes; see `asr_async.Client.transcribe_many`.

            with client.transcribe_many(Path("calls").glob("*.wav"), Paraformer()) as batch:
                for item in batch:
                    print(item.source, item.error or item.transcript.text)

        A plain iterable of sources is read in a thread of its own, and so is each source that is one.
        """
        loop = self._loop()

        async def make() -> AsynchronousBatch[Any, BatchItem[Any]]:
            return self._client.transcribe_many(_readable(sources), options, concurrency=concurrency, pace=pace)

        return TranscriptionBatch(loop, loop.run(make))

    def _loop(self) -> BackgroundLoop:
        """Return the loop of the open client.

        Raises:
            LocalProtocolError: the client is not open.
        """
        if self._opened is None:
            raise LocalProtocolError("the client is not open: use it with 'with Client(...) as client', or open() it")
        return self._opened[0]


def _readable(sources: Any) -> Any:
    """Return an iterable of sources that does not block, nor does one of the sources."""
    if isinstance(sources, str | os.PathLike | AudioFile):  # refused by the client, in its words
        return sources
    items = sources if isinstance(sources, AsyncIterable) else ThreadedIterable(sources)

    async def each() -> AsyncIterator[Any]:
        async for source in items:
            yield nonblocking(source)

    return each()


class TranscriptionBatch(Generic[S]):
    """The results of many sources, as an iterator in the order of completion; see `asr_async.TranscriptionBatch`."""

    def __init__(self, loop: BackgroundLoop, batch: AsynchronousBatch[Any, BatchItem[Any]]) -> None:
        self._loop = loop
        self._batch = batch
        self._reader: ItemReader[BatchItem[S]] = ItemReader(loop)

    def __repr__(self) -> str:
        return f"<sync {self._batch!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> BatchItem[S]:
        return self.next()

    def next(self, *, timeout: float | None = None) -> BatchItem[S]:
        """Return the next outcome.

        Raises:
            DeadlineError: no source was finished within `timeout` seconds; nothing is lost.
            StopIteration: all outcomes were returned.
        """
        try:
            return self._reader.read(self._read_next, timeout)
        except StopAsyncIteration:
            raise StopIteration from None

    async def _read_next(self) -> BatchItem[S]:
        item = await anext(self._batch)
        if isinstance(item.source, ThreadedIterable):
            return msgspec.structs.replace(item, source=item.source.items)
        return item

    def close(self) -> None:
        """Stop the work that has started, and wait until it has stopped. Idempotent."""
        self._loop.run(self._batch.aclose)


class Vocabularies:
    """The hot-word tables of an account; see `asr_async.vendors.service.Vocabularies`."""

    def __init__(self, loop: BackgroundLoop, vocabularies: AsynchronousVocabularies) -> None:
        self._loop = loop
        self._vocabularies = vocabularies

    def __repr__(self) -> str:
        return f"<sync {self._vocabularies!r}>"

    def create(
        self,
        words: Iterable[HotWord | str],
        *,
        name: str,
        model: str | None = None,
        language: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Make a table and return its id, for the options' field `vocabulary_id`."""

        async def make() -> str:
            return await self._vocabularies.create(
                words, name=name, model=model, language=language, description=description
            )

        return self._loop.run(make, timeout=timeout)

    def update(self, vocabulary_id: str, words: Iterable[HotWord | str], *, timeout: float | None = None) -> None:
        """Replace all words of a table; its other properties stay."""
        self._loop.run(self._vocabularies.update, vocabulary_id, words, timeout=timeout)

    def list(self, *, timeout: float | None = None) -> builtins.list[Vocabulary]:
        """Return all tables, without their words."""
        return self._loop.run(self._vocabularies.list, timeout=timeout)

    def get(self, vocabulary_id: str, *, timeout: float | None = None) -> Vocabulary:
        """Return one table with its words."""
        return self._loop.run(self._vocabularies.get, vocabulary_id, timeout=timeout)

    def delete(self, vocabulary_id: str, *, timeout: float | None = None) -> None:
        """Remove a table."""
        self._loop.run(self._vocabularies.delete, vocabulary_id, timeout=timeout)


class connect:  # noqa: N801 - read as a verb: `with connect(options) as session`
    """A client and its only session, opened and closed together; see `asr_async.connect`.

        with connect(Paraformer()) as session:
            for result in session.stream(read_audio("meeting.wav")):
                print(result.text)

    Args:
        options: the model and its settings.
        service: the vendor's service. None, the default, is the service of the options' vendor with the credentials of
            the environment.
        settings: see `asr_async.Client`.

    Raises:
        ASRError: see `asr_async.connect`.
    """

    def __init__(self, options: Options, service: Service | None = None, **settings: Unpack[ClientSettings]) -> None:
        settings = conceal_proxy(settings)
        self._client = Client(service, options=options, **settings)
        self._stack = ExitStack()

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<sync connect {self._client!r}>"

    def __enter__(self) -> Session:
        with self._stack:
            client = self._stack.enter_context(self._client)
            session = self._stack.enter_context(client.session())
            self._stack = self._stack.pop_all()
        return session

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()


def transcribe(
    source: AudioSource | str | os.PathLike[str],
    options: Options,
    service: Service | None = None,
    *,
    pace: float | None = None,
    timeout: float | None = None,
    **settings: Unpack[ClientSettings],
) -> Transcript:
    """Recognise a whole source, or the file at a path, with a client of its own; see `asr_async.transcribe`.

        transcript = transcribe("meeting.wav", Paraformer())

    Raises:
        ASRError: see `Client.transcribe`.
        OSError: the file cannot be read.
    """
    settings = conceal_proxy(settings)
    with Client(service, options=options, **settings) as client:
        return client.transcribe(source, pace=pace, timeout=timeout)
