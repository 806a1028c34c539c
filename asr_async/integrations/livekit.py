"""Speech recognition for LiveKit Agents: every model of this library as the `stt` of an agent.

    pip install 'asr-async[livekit]'

    from asr_async import FunASR
    from asr_async.integrations.livekit import STT
    from livekit.agents import Agent, AgentSession

    async def entrypoint(ctx):
        session = AgentSession(stt=STT(FunASR(language_hints=["zh", "en"])), vad=..., llm=..., tts=...)
        await session.start(Agent(instructions="..."), room=ctx.room)

The key comes from the environment, or from a service: `STT(FunASR(), DashScope("sk-..."))`. Huawei is `STT(Rasr())`,
no key at all `STT(Paraformer(), Local())`, several vendors in a row `STT.with_fallback(Fallback([...]))`. Timeouts,
limits, proxies and observers are those of `asr_async.Client`.

How events map:

| here | LiveKit |
|---|---|
| the first segment opens, the last one ends | `START_OF_SPEECH`, `END_OF_SPEECH`, with the time of day |
| an interim `Result` | `INTERIM_TRANSCRIPT` |
| `SpeechEnding` (Gummy, Qwen realtime) | `PREFLIGHT_TRANSCRIPT`; `INTERIM_TRANSCRIPT` when it is withdrawn |
| a final `Result` | `FINAL_TRANSCRIPT` with `words`, and `RECOGNITION_USAGE` for what was used since the one before |
| `Reconnected`, `Gap`, a late or lost translation | the event `error` of the STT, with `recoverable=True` |
| `Gap`, `may_repeat`, `is_confirmed=False`, `emotion` | `SpeechData.metadata` of the final, under these names |
| translations | `SpeechData.target_languages` and `target_texts` |

With `turn_detection="stt"` the vendor ends the turns. With a VAD, or `session.commit_user_turn()`, a flush makes the
text final at once (a commit where the options take commits, else `Session.finalize`); `stt.capabilities.manual_flush =
False` leaves that to the vendor. Turns of the conversation go to models that take a context, key terms to models whose
hot words need no table (`QwenAudio`). `prewarm` opens the client, and a connection with `STT(..., pool=Pool(warm=1))`.

What differs from other plugins:

- A lost connection is replaced in the same stream, and the audio without a final is sent again: no word is lost. The
  framework's own retry would begin with an empty stream, so it gets only errors from before the first audio
  (`retryable`); a later one ends the stream, and the agent opens another. Use `with_fallback` for another vendor:
  `stt.FallbackAdapter` works, but its next STT does not get the audio that the failed one took.
- Models that end no utterances (`capabilities.utterances`: `VLLMRealtime`, some of OpenAI's) need a VAD in the agent's
  session: without its flush, the only final comes at the end.
- Frames may change their rate or have several channels. Options of one sentence (`GummyChat`, `Rasr(mode="sentence")`)
  do not stream: the framework cuts the audio by its VAD and calls `recognize`.
- Audio that was lost in spite of everything is a gap, not an error (`Retry(on_gap="continue")`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import weakref
from typing import TYPE_CHECKING, Any, Never, Self

import msgspec

from ..audio.samples import mono
from ..client import Client, ClientSettings
from ..config import Retry
from ..errors import ASRError, AuthenticationError, ConfigurationError, DeadlineError, RateLimitedError, VendorError
from ..results import Gap, Reconnected, Result, SpeechEnded, SpeechEnding, SpeechStarted, TranslationLost, shown_text
from ..telemetry import Observer
from ..vendors.options import ContextMessage
from ..vendors.service import ServiceOfMembers
from ._conversation import ContextHistory, Conversation, SharedClient, check_same_audio, check_samples, with_language
from ._framework import require

require("livekit-agents", "1.8.9", extra="livekit")

from livekit.agents import (  # noqa: E402 - behind the check of the version
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    LanguageCode,
    NotGivenOr,
    get_job_context,
    stt,
)
from livekit.agents.types import TimedString  # noqa: E402
from livekit.agents.utils import is_given  # noqa: E402
from livekit.rtc import AudioFrame, AudioResampler, AudioResamplerQuality, combine_audio_frames  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from livekit.agents.utils import AudioBuffer
    from livekit.agents.voice.events import ConversationItemAddedEvent

    from ..fallback import Fallback
    from ..results import Event, Word
    from ..telemetry.observer import SessionInfo
    from ..vendors.options import Options
    from ..vendors.service import Service

__all__ = ["STT", "SpeechStream"]

logger: logging.Logger = logging.getLogger("asr_async")

SOURCE_S = 2.0
"""The audio that waits for the session at most; more of it waits in the framework's own queue."""

STREAM_TAG = "livekit.stream"
"""The tag of a session with the number of its stream."""

KEY_TERM_WEIGHT = 4
"""The weight of key terms, of 1 to 5: the vendor's default in a table (DashScope's hot-word page, 2025)."""

_numbers = itertools.count(1)


class STT(stt.STT[Never]):
    """An STT of LiveKit Agents with a model of this library; see the module.

    One object serves any number of streams of an event loop, with one client. Inside a job it is closed with the job;
    elsewhere call `aclose`. The conversation that it has as context is that of one `AgentSession`.

    Args:
        options: the model and its settings, such as `Paraformer()`; they declare 16-bit samples. Audio of another rate
            is resampled.
        service: the vendor's service; None is the service of the options' vendor, with the credentials of the
            environment.
        tags: the names of its sessions in your program, for observers.
        settings: the keyword arguments of `Client`; `retry` is `Retry(on_gap="continue")` by default.

    Raises:
        ConfigurationError: the options do not declare samples, belong to another vendor, or a setting is invalid.
    """

    def __init__(
        self,
        options: Options,
        service: Service | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        **settings: Unpack[ClientSettings],
    ) -> None:
        check_samples(options, "LiveKit")
        self._connections = _ConnectionObserver()
        settings["retry"] = settings.get("retry") or Retry(on_gap="continue")
        settings["observers"] = [*settings.get("observers", ()), self._connections]
        self._client = SharedClient(Client(service, options=options, **settings))
        self._has_members = isinstance(service, ServiceOfMembers)
        super().__init__(capabilities=_capabilities(options, has_members=self._has_members))
        # what the caller chose; and with the key terms of the agent
        self._own_options = self._options = options
        self._tags = dict(tags or {})
        self._history = ContextHistory(getattr(options, "context", None) or ())
        self._streams: weakref.WeakSet[SpeechStream] = weakref.WeakSet()
        self._warming: asyncio.Task[None] | None = None
        self._closes_with_job = False

    @classmethod
    def with_fallback(
        cls, fallback: Fallback, *, tags: Mapping[str, str] | None = None, **settings: Unpack[ClientSettings]
    ) -> Self:
        """Make an STT of several services: when one is down, the next one gets the audio that has no final yet.

        Args:
            fallback: the services with their options, `Fallback([(DashScope(), FunASR()), (Huawei(), Rasr())])`.
            tags: see the class.
            settings: see the class.

        Raises:
            ConfigurationError: see the class.
        """
        return cls(fallback.options, fallback, tags=tags, **settings)

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._options.model

    @property
    def provider(self) -> str:
        """The name of the vendor, as in telemetry."""
        return self._options.provider or self._options.vendor

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> SpeechStream:
        """Begin a stream.

        Args:
            language: the spoken language, in place of that of the options.
            conn_options: the framework's retries, which apply until the first audio, and its limit for connecting.

        Raises:
            ConfigurationError: the options have no field for the language, or recognise one sentence in a session.
        """
        if not self.capabilities.streaming:
            raise ConfigurationError(
                f"stream(): {self.model} recognises one sentence in a session; give the agent a VAD, which cuts the "
                "audio, or use options that stream"
            )
        stream = SpeechStream(self, self._options_for(language), conn_options)
        self._streams.add(stream)
        return stream

    def _options_for(self, language: NotGivenOr[str]) -> Options:
        return with_language(self._options, language) if is_given(language) else self._options

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,  # noqa: ARG002 - the client has its own deadlines
    ) -> stt.SpeechEvent:
        options = self._options_for(language)
        self._close_with_job()
        try:
            client = await self._client.open()
            transcript = await client.transcribe([_samples(buffer, options.audio.sample_rate)], options)
        except ASRError as error:
            raise _api_error(error, is_retryable=error.retryable) from error
        results = transcript.results
        data = stt.SpeechData(
            language=_language(results[0] if results else None, options),
            text=transcript.text,
            start_time=results[0].start_ms / 1000 if results else 0.0,
            end_time=results[-1].end_ms / 1000 if results else 0.0,
            words=[_timed(word, 0.0) for result in results for word in result.words] or None,
        )
        return stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, transcript.request_id, [data])

    def _conversation(self, options: Options, number: str, open_s: float) -> Conversation:
        """Make the conversation of a stream."""
        self._close_with_job()
        tags = {**self._tags, STREAM_TAG: number}
        conversation = Conversation(self._client, options, when_full="wait", max_s=SOURCE_S, open_s=open_s, tags=tags)
        conversation.update_context(self._history.messages)
        return conversation

    def _close_with_job(self) -> None:
        context = get_job_context(required=False)
        if context is not None and not self._closes_with_job:
            self._closes_with_job = True
            context.add_shutdown_callback(self.aclose)

    # --- changes -----------------------------------------------------------------------------------------------------

    def update_options(self, options: Options) -> None:
        """Use other options: in new streams at once, in running ones at the end of the segment, by another session.

        Raises:
            ConfigurationError: they declare other audio, or the STT has the options of a Fallback.
        """
        if self._has_members:
            raise ConfigurationError("update_options(): the options are those of the Fallback; make another STT")
        check_same_audio(self._options, options)
        self._own_options = options
        self._capabilities = _capabilities(options, has_members=False)
        self._replace_options(options)

    def _replace_options(self, options: Options) -> None:
        self._options = options
        for stream in list(self._streams):
            stream._replace_options(options)  # noqa: SLF001 - the two are one

    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        """Use the key terms of the agent as hot words, beside those of the options. Called by the framework."""
        super()._update_session_keyterms(keyterms)
        if self.capabilities.keyterms:
            options = _with_key_terms(self._own_options, keyterms)
            if options != self._options:
                self._replace_options(options)

    def _push_conversation_item(self, ev: ConversationItemAddedEvent) -> None:
        """Use a turn of the conversation as context. Called by the framework."""
        super()._push_conversation_item(ev)
        text, role = getattr(ev.item, "text_content", None), getattr(ev.item, "role", None)
        if self.capabilities.chat_context and text and role in {"user", "assistant"}:
            self._history.add(ContextMessage(role, text))
            for stream in list(self._streams):
                stream._update_context(self._history.messages)  # noqa: SLF001

    # --- opening and closing -----------------------------------------------------------------------------------------

    def prewarm(self) -> None:
        """Open the client, and the connections that `Pool(warm=...)` keeps ready. Needs a running event loop."""
        self._close_with_job()
        if self._warming is None or self._warming.done():
            self._warming = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        try:
            client = await self._client.open()
            await client.warm(self._options)
        except ConfigurationError as error:
            logger.debug("%s keeps no connection warm: %s", self.label, error)
        except ASRError as error:
            logger.warning("%s could not be prewarmed: %s", self.label, error)

    async def aclose(self) -> None:
        """Close all streams and the client. Idempotent."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait([self._warming])
        for stream in list(self._streams):
            await stream.aclose()
        await self._client.aclose()


class SpeechStream(stt.RecognizeStream):
    """The stream of one call; `STT.stream` makes it."""

    def __init__(self, stt: STT, options: Options, conn_options: APIConnectOptions) -> None:
        # set before the base class starts the task
        self._parent = stt
        self._options = options
        self._conversation: Conversation | None = None
        self._forwarding: asyncio.Task[None] | None = None
        self._has_taken_audio = False
        # the time of day of the first frame, and the offset of its times that the framework sets
        self._began_at: float | None = None
        self._first_offset: float | None = None
        self._number = str(next(_numbers))
        stt._connections.streams[self._number] = self  # noqa: SLF001 - the two are one
        # the open segments, the newest interim, and the gaps since the last final
        self._speaking: set[int] = set()
        self._interim: Result | None = None
        self._gaps: list[Gap] = []
        super().__init__(stt=stt, conn_options=conn_options, sample_rate=options.audio.sample_rate)

    # --- audio in ----------------------------------------------------------------------------------------------------

    def push_frame(self, frame: AudioFrame) -> None:
        """Push audio of any rate and number of channels, also if they change within the stream."""
        if frame.num_channels > 1:
            samples = mono(frame.data.tobytes(), frame.num_channels, "mix")
            frame = AudioFrame(samples, frame.sample_rate, 1, frame.samples_per_channel)
        if self._began_at is None:
            self._began_at = self.start_time = time.time()
        if self._pushed_sr and self._pushed_sr != frame.sample_rate:
            self._check_input_not_ended()
            for rest in self._resampler.flush() if self._resampler else ():
                self._input_ch.send_nowait(rest)
            self._resampler, self._pushed_sr = None, 0
        super().push_frame(frame)

    async def _forward(self, conversation: Conversation) -> None:
        """Push the framework's audio into the conversation. Not before the session is open: it could not be retried."""
        try:
            async for data in self._input_ch:
                if isinstance(data, AudioFrame):
                    self._has_taken_audio = True
                    await conversation.send(data.data.tobytes())
                elif not (self._input_ch.closed and self._input_ch.empty()):
                    await self._flush(conversation)
            conversation.finish()
        except ASRError:  # the end of the session, which `_run` raises
            logger.debug("no more audio is sent", exc_info=True)

    async def _flush(self, conversation: Conversation) -> None:
        try:
            await conversation.flush()
        except DeadlineError as error:
            self._report(f"the flush was not confirmed: {error}")
        except ASRError:  # the end of the session, which `_run` raises
            logger.debug("nothing is flushed", exc_info=True)

    # --- the sessions ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        # A retry gets all of the audio, so times still begin with the first frame; the framework has moved both.
        if self._first_offset is None:
            self._first_offset = self.start_time_offset
        self.start_time_offset, self.start_time = self._first_offset, self._began_at or self.start_time
        conversation = self._conversation = self._parent._conversation(  # noqa: SLF001 - the two are one
            self._options, self._number, self._conn_options.timeout
        )
        try:
            await conversation.run(self._on_event, self._on_open)
        except ASRError as error:
            raise _api_error(error, is_retryable=error.retryable and not self._has_taken_audio) from error
        finally:
            self._end()

    def _on_open(self) -> None:
        if self._forwarding is None and self._conversation is not None:
            self._forwarding = asyncio.create_task(self._forward(self._conversation))

    def _end(self) -> None:
        """Complete the stream, also one that has failed: the framework would wait for the end of the speech."""
        if self._forwarding is not None:
            self._forwarding.cancel()
            self._forwarding = None
        if self._conversation is not None:
            self._send_usage(self._conversation, "")
        if self._speaking:
            self._speaking.clear()
            self._send(stt.SpeechEventType.END_OF_SPEECH)

    def _replace_options(self, options: Options) -> None:
        self._options = options
        if self._conversation is not None:
            self._conversation.replace_options(options)

    def _update_context(self, messages: tuple[ContextMessage, ...]) -> None:
        if self._conversation is not None:
            self._conversation.update_context(messages)

    # --- events out --------------------------------------------------------------------------------------------------

    async def _on_event(self, event: Event) -> None:
        assert self._conversation is not None  # noqa: S101 - it delivers the event
        conversation = self._conversation
        match event:
            case Result():
                self._on_result(event, conversation)
            case SpeechStarted():
                if not self._speaking:
                    started_at = conversation.wall_time(event.start_ms)
                    self._send(stt.SpeechEventType.START_OF_SPEECH, speech_start_time=started_at)
                self._speaking.add(event.segment_id)
            case SpeechEnding():
                self._on_speech_ending(event, conversation)
            case SpeechEnded():
                if event.segment_id in self._speaking:
                    self._speaking.discard(event.segment_id)
                    if not self._speaking:
                        ended_at = conversation.wall_time(event.end_ms)
                        self._send(stt.SpeechEventType.END_OF_SPEECH, speech_end_time=ended_at)
            case Reconnected():
                self._report(f"the connection was lost, and another one has replaced it: {event.reason}")
            case Gap():
                self._gaps.append(event)
                seconds = conversation.seconds(event.start_ms), conversation.seconds(event.end_ms)
                self._report(f"audio is lost from {seconds[0]:g} to {seconds[1]:g} s: {event.reason}")
            case TranslationLost():
                self._report(f"a translation into {event.language} is lost: {event.reason}")
            case _:
                self._report(f"a translation into {event.language} arrived after its final: {event.translation.text}")

    def _on_result(self, result: Result, conversation: Conversation) -> None:
        if not shown_text(result):
            return
        data = self._speech_data(result, conversation)
        if not result.is_final:
            self._interim = result
            self._send(stt.SpeechEventType.INTERIM_TRANSCRIPT, result, data)
            return
        self._interim = None
        ended_at = conversation.wall_time(result.end_ms)
        self._send(stt.SpeechEventType.FINAL_TRANSCRIPT, result, data, speech_end_time=ended_at)
        self._send_usage(conversation, result.request_id)

    def _on_speech_ending(self, event: SpeechEnding, conversation: Conversation) -> None:
        interim = self._interim
        if interim is not None and interim.segment_id == event.segment_id:
            kinds = stt.SpeechEventType
            kind = kinds.INTERIM_TRANSCRIPT if event.is_withdrawn else kinds.PREFLIGHT_TRANSCRIPT
            self._send(kind, interim, self._speech_data(interim, conversation))

    def _send(
        self,
        kind: stt.SpeechEventType,
        result: Result | None = None,
        data: stt.SpeechData | None = None,
        *,
        speech_start_time: float | None = None,
        speech_end_time: float | None = None,
    ) -> None:
        event = stt.SpeechEvent(
            kind,
            "" if result is None else result.request_id,
            [] if data is None else [data],
            speech_start_time=speech_start_time,
            speech_end_time=speech_end_time,
        )
        self._event_ch.send_nowait(event)

    def _send_usage(self, conversation: Conversation, request_id: str) -> None:
        usage_s = conversation.take_usage_s()
        if usage_s > 0:
            usage = stt.RecognitionUsage(audio_duration=usage_s)
            kind = stt.SpeechEventType.RECOGNITION_USAGE
            self._event_ch.send_nowait(stt.SpeechEvent(kind, request_id, recognition_usage=usage))

    def _report(self, text: str) -> None:
        """Emit a problem that the stream has survived."""
        self._emit_error(APIConnectionError(text), recoverable=True)

    def _speech_data(self, result: Result, conversation: Conversation) -> stt.SpeechData:
        offset_s = self.start_time_offset + conversation.seconds(0)
        translations = result.translations if result.text else {}
        return stt.SpeechData(
            language=_language(result, self._options),
            text=shown_text(result),
            start_time=offset_s + result.start_ms / 1000,
            end_time=offset_s + result.end_ms / 1000,
            confidence=result.confidence or 0.0,
            words=[_timed(word, offset_s) for word in result.words] or None,
            target_languages=[LanguageCode(language) for language in translations] or None,
            target_texts=[translation.text for translation in translations.values()] or None,
            metadata=self._metadata(result),
        )

    def _metadata(self, result: Result) -> dict[str, Any] | None:
        """Return what is uncertain about a result, and the gaps in front of a final."""
        metadata: dict[str, Any] = {}
        if result.is_final and self._gaps:
            metadata["gaps"] = [msgspec.to_builtins(gap) for gap in self._gaps]
            self._gaps = []
        if result.may_repeat:
            metadata["may_repeat"] = True
        if not result.is_confirmed:
            metadata["is_confirmed"] = False
        if result.emotion is not None:
            metadata["emotion"] = result.emotion
        return metadata or None


class _ConnectionObserver(Observer):
    """Reports how long each connection took to the stream that it belongs to, as a metric."""

    def __init__(self) -> None:
        self.streams: weakref.WeakValueDictionary[str, SpeechStream] = weakref.WeakValueDictionary()

    def on_connect(
        self,
        session: SessionInfo,
        *,
        duration_s: float,
        is_reused: bool,
        host: str,  # noqa: ARG002 - of the interface
        member: str | None,  # noqa: ARG002
    ) -> None:
        stream = self.streams.get(session.tags.get(STREAM_TAG, ""))
        if stream is not None:
            stream._report_connection_acquired(duration_s, is_reused)  # noqa: SLF001 - the two are one


def _capabilities(options: Options, *, has_members: bool) -> stt.STTCapabilities:
    """Return what an STT with these options can do; the options of a Fallback cannot be replaced."""
    own = options.capabilities
    return stt.STTCapabilities(
        streaming=options.sentence_end_ms is None,
        interim_results=own.interims,
        aligned_transcript="word" if own.words else False,
        offline_recognize=True,
        keyterms="vocabulary" in own.hot_words and not has_members,
        chat_context=own.context,
        manual_flush=own.commit or own.finalize,
    )


def _with_key_terms(options: Options, terms: list[str]) -> Options:
    """Return options with these hot words beside their own; those that the model refuses are left out."""
    vocabulary: dict[str, int] = dict(getattr(options, "vocabulary", None) or {})
    for term in terms:
        if term in vocabulary:
            continue
        try:
            msgspec.structs.replace(options, vocabulary={**vocabulary, term: KEY_TERM_WEIGHT})
        except ConfigurationError as error:
            logger.warning("a key term is not used: %s", error)
        else:
            vocabulary[term] = KEY_TERM_WEIGHT
    return msgspec.structs.replace(options, vocabulary=vocabulary or None)


def _api_error(error: ASRError, *, is_retryable: bool) -> APIError:
    """Return the framework's error for one of ours."""
    if isinstance(error, DeadlineError):
        return APITimeoutError(str(error), retryable=is_retryable)
    default = 429 if isinstance(error, RateLimitedError) else 401 if isinstance(error, AuthenticationError) else -1
    if error.status is not None or isinstance(error, VendorError | AuthenticationError):
        return APIStatusError(
            error.message,
            status_code=error.status or default,
            request_id=error.request_id,
            body=error.raw,
            retryable=is_retryable,
        )
    return APIConnectionError(str(error), retryable=is_retryable)


def _language(result: Result | None, options: Options) -> LanguageCode:
    """Return the language of a result: of the text that is shown, which is a translation if there is no other."""
    if result is not None and not result.text and result.translations:
        return LanguageCode(next(iter(result.translations)))
    return LanguageCode((result.language if result is not None else None) or options.spoken_language)


def _timed(word: Word, offset_s: float) -> TimedString:
    return TimedString(
        word.text + word.punctuation,
        start_time=offset_s + word.start_ms / 1000,
        end_time=offset_s + word.end_ms / 1000,
        confidence=NOT_GIVEN if word.confidence is None else word.confidence,
        start_time_offset=offset_s,
    )


def _samples(buffer: AudioBuffer, sample_rate: int) -> bytes:
    """Return the samples of a buffer in one channel, at this rate."""
    frame = combine_audio_frames(buffer)
    samples = mono(frame.data.tobytes(), frame.num_channels, "mix")
    if frame.sample_rate == sample_rate:
        return samples
    resampler = AudioResampler(frame.sample_rate, sample_rate, quality=AudioResamplerQuality.HIGH)
    pieces = [*resampler.push(bytearray(samples)), *resampler.flush()]
    return b"".join(piece.data.tobytes() for piece in pieces)
