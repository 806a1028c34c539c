"""A speech-to-text server for Home Assistant, in its Wyoming protocol (extra `wyoming`).

    async with Client(options=FunASR()) as client, WyomingServer("tcp://0.0.0.0:10300", client, FunASR()):
        await asyncio.Event().wait()

`asr-async wyoming --uri tcp://0.0.0.0:10300` is the same as a command. Each request of a client is a session. Finals
are sent as they arrive ("transcript-chunk", which Home Assistant does not need), and the whole text at the end. The
messages are those of the protocol's description (wyoming 1.10).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Self

from .._net.user_agent import __version__
from ..audio.samples import SampleFormat
from ..errors import ASRError, ConfigurationError
from ..results import join_texts
from ..sources import PushSource
from ._conversation import with_language
from ._framework import require
from ._samples import SampleConverter

require("wyoming", "1.10", extra="wyoming")

from wyoming.asr import (  # noqa: E402 - behind the check of the version
    Transcribe,
    Transcript,
    TranscriptChunk,
    TranscriptStart,
    TranscriptStop,
)
from wyoming.audio import AudioChunk, AudioStart, AudioStop  # noqa: E402
from wyoming.error import Error  # noqa: E402
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info  # noqa: E402
from wyoming.server import AsyncEventHandler, AsyncServer  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wyoming.audio import AudioFormat as WyomingFormat
    from wyoming.event import Event

    from ..client import Client
    from ..vendors.options import Options

__all__ = ["WyomingServer"]

logger: logging.Logger = logging.getLogger("asr_async")

PROJECT_URL = "https://github.com/asr-async/asr-async"


class WyomingServer:
    """A server that runs inside `async with`.

    Args:
        uri: the address, `tcp://host:port` or `unix:///path`.
        client: the client whose sessions recognise; it is open as long as the server.
        options: the model and its settings. A language that a client asks for takes the place of one that they leave
            open.
        languages: the codes of the languages that are offered; None, the default, is those of the model.

    Raises:
        ConfigurationError: the address is malformed.
    """

    def __init__(self, uri: str, client: Client, options: Options, *, languages: Sequence[str] | None = None) -> None:
        try:
            self._server = AsyncServer.from_uri(uri)
        except ValueError as error:
            raise ConfigurationError(f"uri={uri!r}: {error}; write tcp://host:port or unix:///path") from None
        self._uri = uri
        self.client: Client = client
        self.options: Options = options
        self.info: Info = _info(options, options.capabilities.languages if languages is None else languages)
        self._connections: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<WyomingServer {self._uri} {self.options.model}>"

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: the address is in use, or is not one of this machine.
        """
        await self._server.start(self._handler)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._server.stop()
        await asyncio.gather(*self._connections)

    def _handler(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Connection:
        return _Connection(reader, writer, self)

    @contextlib.contextmanager
    def _tracked(self) -> Iterator[None]:
        """Keep the task of a connection until it ends."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._connections.add(task)
        try:
            yield
        finally:
            self._connections.discard(task)


class _Connection(AsyncEventHandler):
    """The connection of one client: requests, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: WyomingServer) -> None:
        super().__init__(reader, writer)
        self._server = server
        self._options = server.options
        # of the present request, from its first audio on
        self._request: _Request | None = None

    async def run(self) -> None:
        """Serve the client until it leaves; what it breaks is a line in the log."""
        with self._server._tracked():  # noqa: SLF001 - the two are one
            try:
                await super().run()
            except (OSError, EOFError) as error:
                logger.info("wyoming: the client left: %s", error)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                logger.warning("wyoming: a message cannot be read: %r", error)

    async def disconnect(self) -> None:
        """End a request that the client has left."""
        request, self._request = self._request, None
        if request is not None:
            await request.cancel()

    async def handle_event(self, event: Event) -> bool:
        """Act on a message; return False to end the connection."""
        try:
            await self._handle(event)
        except ASRError as error:
            logger.warning("wyoming: %s", error)
            await self.write_event(Error(text=error.message, code=error.code).event())
            return False
        return True

    async def _handle(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self.write_event(self._server.info.event())
        elif Transcribe.is_type(event.type):
            self._options = _with_language(self._server.options, Transcribe.from_event(event).language)
        elif AudioStart.is_type(event.type):
            await self._begin(AudioStart.from_event(event))
        elif AudioChunk.is_type(event.type):
            chunk = AudioChunk.from_event(event)
            request = self._request or await self._begin(chunk)
            await request.send(chunk)
        elif AudioStop.is_type(event.type) and self._request is not None:
            await self._request.finish()
            self._request = None

    async def _begin(self, audio_format: WyomingFormat) -> _Request:
        if self._request is not None:
            raise ConfigurationError("audio-start: the audio before it has not ended; send audio-stop first")
        self._request = request = _Request(self._server.client, self._options, self)
        request.declare(audio_format)
        await self.write_event(TranscriptStart(language=self._options.spoken_language or None).event())
        request.start()
        return request


class _Request:
    """One request: a session, and the task that sends its results."""

    def __init__(self, client: Client, options: Options, connection: _Connection) -> None:
        self._client = client
        self._options = options
        self._connection = connection
        self._source = PushSource(options)
        self._format: tuple[int, int, int] | None = None
        self._converter: SampleConverter | None = None
        self._recognition: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the session; audio is accepted meanwhile."""
        self._recognition = asyncio.create_task(self._recognise(), name="wyoming recognition")

    def declare(self, audio_format: WyomingFormat) -> bytes:
        """Set the format of the audio that follows; return the rest of the audio before.

        Raises:
            ConfigurationError: audio of this format cannot be converted.
        """
        declared = audio_format.rate, audio_format.width, audio_format.channels
        if declared == self._format:
            return b""
        rest = b"" if self._converter is None else self._converter.finish()
        samples = SampleFormat("int", audio_format.width, audio_format.channels)
        self._converter = SampleConverter(samples, audio_format.rate, self._options.audio, sender="the client")
        self._format = declared
        return rest

    async def send(self, chunk: AudioChunk) -> None:
        """Push a chunk, and wait while there is no room: the client waits too.

        Raises:
            ASRError: the session has failed.
        """
        rest = self.declare(chunk)
        assert self._converter is not None  # noqa: S101 - declared
        if samples := rest + self._converter.convert(chunk.audio):
            await self._source.send(samples)

    async def finish(self) -> None:
        """End the audio, and wait until all results are sent.

        Raises:
            ASRError: the session has failed.
        """
        if self._converter is not None and (rest := self._converter.finish()):
            await self._source.send(rest)
        self._source.close()
        assert self._recognition is not None  # noqa: S101 - started with the request
        await self._recognition

    async def cancel(self) -> None:
        """End the session at once."""
        if self._recognition is not None:
            self._recognition.cancel()
            await asyncio.wait([self._recognition])
            if not self._recognition.cancelled() and (error := self._recognition.exception()) is not None:
                logger.info("wyoming: the request had failed: %s", error)

    async def _recognise(self) -> None:
        try:
            async with self._client.session(self._options) as session:
                texts: list[str] = []
                sent = ""
                async for result in session.stream(self._source):
                    if result.is_final:
                        texts.append(result.text)
                        text = join_texts(texts)
                        await self._connection.write_event(TranscriptChunk(text=text.removeprefix(sent)).event())
                        sent = text
            await self._connection.write_event(
                Transcript(text=sent, language=self._options.spoken_language or None).event()
            )
            await self._connection.write_event(TranscriptStop().event())
        except ASRError as error:
            self._source.end(error)  # a session that was not opened has not read it
            raise


def _with_language(options: Options, language: str | None) -> Options:
    """Return options with the language of a request, if they leave it open and the model has it."""
    code = (language or "").partition("-")[0].lower()
    if options.spoken_language or code not in options.capabilities.languages:
        return options
    try:
        return with_language(options, code)
    except ConfigurationError:  # the model finds the language by itself
        return options


def _info(options: Options, languages: Sequence[str]) -> Info:
    attribution = Attribution(name="asr_async", url=PROJECT_URL)
    model = AsrModel(
        name=options.model,
        attribution=attribution,
        installed=True,
        description=f"{options.model} of {options.provider or options.vendor}",
        version=None,
        languages=list(languages),
    )
    program = AsrProgram(
        name="asr-async",
        attribution=attribution,
        installed=True,
        description="Live speech recognition",
        version=__version__,
        models=[model],
        supports_transcript_streaming=True,
    )
    return Info(asr=[program])
