"""Speech recognition for Pipecat: every model of this library as the STT service of a pipeline.

    pip install 'asr-async[pipecat]'

    from asr_async import FunASR
    from asr_async.integrations.pipecat import AsrAsyncSTTService

    stt = AsrAsyncSTTService(FunASR(language_hints=["zh", "en"]))  # the pipeline's VAD ends the turns
    stt = AsrAsyncSTTService(QwenRealtime(), turns=True)  # the vendor ends the turns
    pipeline = Pipeline([transport.input(), stt, user_aggregator, llm, tts, transport.output(), assistant_aggregator])
    await PipelineWorker(pipeline, params=PipelineParams(enable_metrics=True)).run(...)

The key comes from the environment, or from a service: `AsrAsyncSTTService(FunASR(), DashScope("sk-..."))`. Huawei is
`Rasr()`, no key at all `AsrAsyncSTTService(Paraformer(), Local())`, several vendors in a row
`AsrAsyncSTTService(fallback.options, fallback)`. Timeouts, limits, proxies and observers are those of `Client`.

How events map:

| here | Pipecat |
|---|---|
| an interim `Result` | `InterimTranscriptionFrame`, the `Result` in its member `result` |
| a final `Result` | usage metrics, then `TranscriptionFrame` (`finalized` with `turns`, and behind a flush) |
| its translations | `TranslationFrame`, also of those that arrive later |
| the first segment opens, the last one ends | with `turns`: `ProposedUserStartedSpeakingFrame`, `...Stopped...` |
| `SpeechEnding` | with `turns` and `enable_eager_end_of_turn`: `EagerTranscriptionFrame`, or its withdrawal |
| `Reconnected` | the event `on_connection_error`; the stream goes on |
| `Gap`, `TranslationLost` | an `ErrorFrame`; the stream goes on |
| an `ASRError` | an `ErrorFrame` with its category, and the events `on_connection_error` and `on_disconnected` |

Without `turns`, the end of speech that the pipeline's VAD finds makes the text final at once: a commit where the
options take commits, else `Session.finalize`. The text of the user's and the assistant's turns goes to models that take
a context. `STTUpdateSettingsFrame(delta=AsrAsyncSTTSettings(options=...))`, or a language, takes effect at the end of
the turn, in another session on the same line of times.

What differs from other services:

- A lost connection is replaced in the same session, and the audio without a final is sent again: no word is lost. So it
  is no `WebsocketSTTService`, whose own reconnect would begin anew.
- Audio is kept from the start of the pipeline on, while the first session opens, and frames of any rate are resampled.
- A session that fails never holds the pipeline up. Its audio is dropped and counted (`dropped_ms`). After an error that
  may pass, another session begins with the next speech or `RESTART_S` later, a second of audio before that included;
  after the others with other settings.
- `EndFrame` waits for the last final, as long as `Timeouts.finish` says.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..audio.samples import mono
from ..client import Client, ClientSettings
from ..config import Retry
from ..errors import (
    ASRError,
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    RateLimitedError,
    VendorError,
)
from ..results import (
    Gap,
    Reconnected,
    Result,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    TranslationArrived,
    TranslationLost,
    shown_text,
)
from ..vendors.options import ContextMessage, Options
from ..vendors.service import ServiceOfMembers
from ._conversation import (
    ContextHistory,
    Conversation,
    SharedClient,
    check_same_audio,
    check_samples,
    with_language,
)
from ._framework import require

require("pipecat-ai", "1.14", extra="pipecat")

from pipecat.audio.utils import create_stream_resampler  # noqa: E402 - behind the check of the version
from pipecat.frames.frames import (  # noqa: E402
    InterimTranscriptionFrame,
    LLMContextUserTurnFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    TranscriptionFrame,
    TranslationFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import STTUsage  # noqa: E402
from pipecat.services.settings import STTSettings  # noqa: E402
from pipecat.services.stt_latency import DEFAULT_TTFS_P99  # noqa: E402
from pipecat.services.stt_service import STTService  # noqa: E402
from pipecat.transcriptions.language import Language  # noqa: E402
from pipecat.turns.eager_end_of_turn_mixin import EagerEndOfTurnSTTServiceMixin  # noqa: E402
from pipecat.utils.errors import ErrorCategory, classify_http_status_code  # noqa: E402
from pipecat.utils.time import time_now_iso8601  # noqa: E402
from pipecat.utils.tracing.service_decorators import traced_stt  # noqa: E402
from pipecat.utils.types import NOT_GIVEN, NotGiven, is_given  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Mapping
    from typing import Unpack

    from pipecat.audio.resamplers.base_audio_resampler import BaseAudioResampler
    from pipecat.frames.frames import CancelFrame, EndFrame, Frame, InputAudioRawFrame, StartFrame, STTMetadataFrame
    from pipecat.processors.frame_processor import FrameDirection
    from pipecat.services.settings import ServiceSettings
    from pipecat.turns.user_stop import EagerMatchPolicy

    from ..results import Event, Translation
    from ..vendors.service import Service

__all__ = ["AsrAsyncSTTService", "AsrAsyncSTTSettings"]

logger: logging.Logger = logging.getLogger("asr_async")

SOURCE_S = 30.0
"""The audio that waits for a session at most, then the oldest is dropped: longer than connecting and starting take."""

RESTART_S = 5.0
"""The time after an error that may pass, after which another session begins. Speech begins it earlier."""

KEPT_MS = 1_000
"""The audio from before another session that it begins with: the first word, until a VAD has found the speech."""


@dataclass
class AsrAsyncSTTSettings(STTSettings):
    """The settings that may change while the pipeline runs: `options`, or the model or the language of them.

    Parameters:
        options: the options of this library, which have the model, the language and everything else.
    """

    options: Options | NotGiven = field(default_factory=lambda: NOT_GIVEN)


class AsrAsyncSTTService(EagerEndOfTurnSTTServiceMixin, STTService):
    """An STT service of Pipecat with a model of this library; see the module.

    Args:
        options: the model and its settings, such as `Paraformer()`; they declare 16-bit samples.
        service: the vendor's service; None is the service of the options' vendor, with the credentials of the
            environment.
        turns: True proposes turns as the vendor finds speech; the service recommends external turn strategies then.
            False leaves turns to the pipeline, and makes the text final when its VAD finds the end of speech.
        should_interrupt: True lets speech interrupt the bot, with `turns`.
        enable_eager_end_of_turn: True answers a predicted end of speech ahead of its final, with `turns`.
        eager_match_policy: see the framework's `EagerUserTurnStrategies`.
        audio_passthrough: True passes the audio on downstream.
        stt_ttfb_timeout: the time in seconds after the end of speech in which a text counts for the TTFB.
        ttfs_p99_latency: seconds from the end of speech to the final that turn strategies wait; the default is the
            framework's for services that were not measured.
        name: the name of the processor.
        tags: the names of its sessions in your program, for observers.
        client_settings: the keyword arguments of `Client`; `retry` is `Retry(on_gap="continue")` by default.

    Raises:
        ConfigurationError: the options do not declare samples, recognise one sentence in a session, belong to another
            vendor, do not let the vendor end the `turns`, or a setting is invalid.
    """

    Settings = AsrAsyncSTTSettings
    _settings: AsrAsyncSTTSettings

    def __init__(
        self,
        options: Options,
        service: Service | None = None,
        *,
        # turns
        turns: bool = False,
        should_interrupt: bool = True,
        enable_eager_end_of_turn: bool = False,
        eager_match_policy: EagerMatchPolicy | None = None,
        # the framework's
        audio_passthrough: bool = True,
        stt_ttfb_timeout: float = 2.0,
        ttfs_p99_latency: float = DEFAULT_TTFS_P99,
        name: str | None = None,
        # the client's
        tags: Mapping[str, str] | None = None,
        **client_settings: Unpack[ClientSettings],
    ) -> None:
        _check_options(options)
        if turns and not options.capabilities.utterances:
            raise ConfigurationError(
                f"turns=True: {options.model} ends no utterances with these options: leave the turns to a VAD of the "
                "pipeline"
            )
        client_settings["retry"] = client_settings.get("retry") or Retry(on_gap="continue")
        self._client = SharedClient(Client(service, options=options, **client_settings))
        super().__init__(
            enable_eager_end_of_turn=enable_eager_end_of_turn and turns,
            eager_match_policy=eager_match_policy,
            audio_passthrough=audio_passthrough,
            sample_rate=options.audio.sample_rate,
            stt_ttfb_timeout=stt_ttfb_timeout,
            ttfs_p99_latency=ttfs_p99_latency,
            settings=AsrAsyncSTTSettings(
                model=options.model, language=options.spoken_language or None, options=options
            ),
            name=name,
        )
        self._options = options
        self._has_members = isinstance(service, ServiceOfMembers)
        self._turns = turns
        self._should_interrupt = should_interrupt
        self._tags = tags
        self._history = ContextHistory(getattr(options, "context", None) or ())
        # None while no conversation runs, since the last one has failed; and when another one begins at the latest
        self._conversation: Conversation | None = None
        self._running: asyncio.Task[None] | None = None
        self._restarts_at = 0.0
        self._is_over = False
        self._flushes: set[asyncio.Task[None]] = set()
        # the audio while no conversation runs: the newest of it begins the next one
        self._dropped_bytes = 0
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._has_new_options = False
        self._resampler: BaseAudioResampler | None = None
        self._resampled_rate = 0
        # the open segments, and the newest interim
        self._speaking: set[int] = set()
        self._interim: Result | None = None

    @property
    def dropped_ms(self) -> int:
        """The length of the audio that no session took, since one had failed."""
        return self._options.audio.to_ms(self._dropped_bytes + self._kept_bytes)

    def can_generate_metrics(self) -> bool:
        """Return True: it measures the time to the first byte, and usage."""
        return True

    @property
    def supports_ttfs(self) -> bool:
        """True if the pipeline ends the turns; the vendor's end of a turn comes behind its text."""
        return not self._turns

    def service_metadata_frame(self) -> STTMetadataFrame:
        """Return the frame that recommends turn strategies: external ones with `turns`."""
        frame = super().service_metadata_frame()
        if self._turns:
            frame.user_turn_strategies = self.recommended_user_turn_strategies(
                enable_interruptions=self._should_interrupt
            )
        return frame

    # --- the conversation --------------------------------------------------------------------------------------------

    async def start(self, frame: StartFrame) -> None:
        """Begin to take audio, and open the first session."""
        await super().start(frame)
        self._begin()

    def _begin(self) -> None:
        """Begin a conversation, unless it could not work."""
        if self._is_over or not self.is_usable:
            return
        conversation = Conversation(
            self._client, self._options, when_full="drop_oldest", max_s=SOURCE_S, tags=self._tags
        )
        conversation.update_context(self._history.messages)
        self._conversation = conversation
        while self._kept:
            conversation.send_nowait(self._kept.popleft())
        self._kept_bytes = 0
        self._running = self.create_task(self._run(conversation), name="conversation")

    async def _run(self, conversation: Conversation) -> None:
        """Run a conversation to its end, and report the error that ends it."""
        try:
            await conversation.run(self._on_event, self._on_open)
        except ASRError as error:
            self._conversation = self._interim = None
            self._dropped_bytes += conversation.unread_bytes
            self._restarts_at = asyncio.get_running_loop().time() + RESTART_S
            if self._speaking:
                self._speaking.clear()
                await self._propose_stop()
            await self._emit_usage(conversation)
            await self._report_failure(error)
        await self._call_event_handler("on_disconnected")

    def _on_open(self) -> None:
        self.create_task(self._call_event_handler("on_connected"), name="on_connected")

    async def _report_failure(self, error: ASRError) -> None:
        category = _category(error)
        is_permanent = category.is_permanent or (isinstance(error, VendorError) and not error.retryable)
        await self._call_event_handler("on_connection_error", str(error))
        text = f"{self}: the session has failed: {error}"
        await self.push_error(text, exception=error, category=category, force_treat_as_permanent=is_permanent)

    async def stop(self, frame: EndFrame) -> None:
        """Wait for the last final, and close."""
        self._is_over = True
        if self._conversation is not None and self._running is not None:
            self._conversation.finish()
            await asyncio.wait([self._running])
        await super().stop(frame)
        await self._close()

    async def cancel(self, frame: CancelFrame) -> None:
        """Close at once."""
        self._is_over = True
        await self._cancel_all()
        await super().cancel(frame)
        await self._close()

    async def cleanup(self) -> None:
        """Close what is still open."""
        self._is_over = True
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self._close()

    async def _close(self) -> None:
        await self._cancel_all()
        self._conversation = None
        await self._client.aclose()

    async def _cancel_all(self) -> None:
        tasks = [*self._flushes, *([] if self._running is None else [self._running])]
        self._running = None
        for task in tasks:
            await self.cancel_task(task)

    # --- audio in ----------------------------------------------------------------------------------------------------

    async def process_audio_frame(self, frame: InputAudioRawFrame, direction: FrameDirection) -> None:
        """Send a frame to the session, at the rate that its options declare. Called by the framework."""
        rate = self._options.audio.sample_rate
        if frame.sample_rate != rate or frame.num_channels > 1:
            frame = copy.copy(frame)
            frame.audio = await self._converted(frame, rate)
            frame.sample_rate, frame.num_channels, frame.num_frames = rate, 1, len(frame.audio) // 2
            if not frame.audio:  # the resampler keeps the first samples
                return
        if self._conversation is None and asyncio.get_running_loop().time() >= self._restarts_at:
            self._begin()
        if self._muted or (self._conversation is not None and self.is_usable):
            await super().process_audio_frame(frame, direction)
        else:
            self._keep(bytes(frame.audio))

    async def _converted(self, frame: InputAudioRawFrame, rate: int) -> bytes:
        samples = mono(bytes(frame.audio), frame.num_channels, "mix")
        if frame.sample_rate == rate:
            return samples
        if self._resampler is None or frame.sample_rate != self._resampled_rate:
            self._resampler, self._resampled_rate = create_stream_resampler(), frame.sample_rate
        return await self._resampler.resample(samples, frame.sample_rate, rate)

    def _keep(self, audio: bytes) -> None:
        """Keep audio that no session takes, and drop the oldest."""
        self._kept.append(audio)
        self._kept_bytes += len(audio)
        while self._options.audio.to_ms(self._kept_bytes) > KEPT_MS:
            dropped_bytes = len(self._kept.popleft())
            self._kept_bytes -= dropped_bytes
            self._dropped_bytes += dropped_bytes

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Push audio into the session, without a wait. Called by the framework.

        Yields:
            None: the results come as the vendor sends them.
        """
        if self._conversation is not None:
            try:
                self._conversation.send_nowait(audio)
            except ASRError:  # the end of the session, which `_run` reports
                self._keep(audio)
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Process a frame: flush behind the end of speech, and use the user's turns as context."""
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            if self._conversation is None:
                self._begin()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            if not self._turns and self._conversation is not None:
                self.request_finalize()
                self._start_flush(self._flush(self._conversation))
                await asyncio.sleep(0)  # the mark is behind the audio so far
            self._apply_options()
        elif isinstance(frame, LLMContextUserTurnFrame):
            self._add_context("user", frame.text)

    def _start_flush(self, flush: Coroutine[Any, Any, None]) -> None:
        task = self.create_task(flush, name="flush")
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def _flush(self, conversation: Conversation) -> None:
        try:
            await conversation.flush()
        except DeadlineError as error:
            if conversation is self._conversation:
                await self.push_error(f"{self}: the flush was not confirmed: {error}", exception=error)
        except ASRError:  # the end of the session, which `_run` reports
            logger.debug("%s: nothing is flushed", self, exc_info=True)

    # --- context and settings ----------------------------------------------------------------------------------------

    async def _process_assistant_turn(self, text: str) -> None:
        """Use the answer of the assistant as context. Called by the framework."""
        self._add_context("assistant", text)

    def _add_context(self, role: Literal["user", "assistant"], text: str) -> None:
        if text and self._options.capabilities.context:
            self._history.add(ContextMessage(role, text))
            if self._conversation is not None:
                self._conversation.update_context(self._history.messages)

    async def _update_settings(self, delta: ServiceSettings) -> dict[str, Any]:
        """Use other options, from the end of the speech on. Called by the framework.

        Settings that cannot work are reported in an error frame, and nothing changes.
        """
        try:
            options = self._changed_options(delta)
            _check_options(options)
            check_same_audio(self._options, options)
        except ConfigurationError as error:
            await self.push_error(f"{self}: the settings are not used: {error}", exception=error)
            return {}
        settings = AsrAsyncSTTSettings(model=options.model, language=options.spoken_language or None, options=options)
        changed = await super()._update_settings(settings)
        if changed:
            self._options, self._has_new_options = options, True
            if not self._user_speaking:
                self._apply_options()
        return changed

    def _changed_options(self, delta: ServiceSettings) -> Options:
        if self._has_members:
            raise ConfigurationError("the options are those of the Fallback, which cannot change")
        options = self._options
        if isinstance(delta, AsrAsyncSTTSettings) and is_given(delta.options):
            options = delta.options
        if is_given(delta.model) and delta.model:
            options = msgspec.structs.replace(options, model=delta.model)
        if isinstance(delta, STTSettings) and is_given(delta.language) and delta.language:
            options = with_language(options, str(delta.language))
        return options

    def _apply_options(self) -> None:
        """Continue with changed options; a conversation does so at the end of the segment, if one is open."""
        if not self._has_new_options:
            return
        self._has_new_options = False
        if self._conversation is not None:
            self._conversation.replace_options(self._options)
        else:
            self._begin()

    # --- events out --------------------------------------------------------------------------------------------------

    async def _on_event(self, event: Event) -> None:
        match event:
            case Result():
                await self._on_result(event)
            case SpeechStarted():
                await self._on_speech_started(event)
            case SpeechEnding():
                await self._on_speech_ending(event)
            case SpeechEnded():
                if event.segment_id in self._speaking:
                    self._speaking.discard(event.segment_id)
                    if not self._speaking:
                        await self._propose_stop()
            case TranslationArrived():
                await self._push_translation(event.language, event.translation)
            case Reconnected():
                await self._call_event_handler("on_connection_error", event.reason)
            case Gap():
                text = (
                    f"{self}: audio is lost from {event.start_ms} to {event.end_ms} ms of the session: {event.reason}"
                )
                await self.push_error(text, category=ErrorCategory.CONNECTIVITY)
            case TranslationLost():
                text = f"{self}: a translation into {event.language} is lost: {event.reason}"
                await self.push_error(text, category=ErrorCategory.CONNECTIVITY)

    async def _on_speech_started(self, event: SpeechStarted) -> None:
        if self._turns and not self._speaking:
            await self.broadcast_frame(ProposedUserStartedSpeakingFrame)
        self._speaking.add(event.segment_id)

    async def _propose_stop(self) -> None:
        if self._turns:
            self._clear_eager_end_of_turn()
            await self.broadcast_frame(ProposedUserStoppedSpeakingFrame)

    async def _on_speech_ending(self, event: SpeechEnding) -> None:
        interim = self._interim
        if event.is_withdrawn:
            await self._cancel_eager_end_of_turn()
        elif interim is not None and interim.segment_id == event.segment_id:
            await self._push_eager_end_of_turn(
                shown_text(interim), user_id=self._user_id, language=_language(interim.language), result=interim
            )

    async def _on_result(self, result: Result) -> None:
        text, language = shown_text(result), _language(result.language or self._options.spoken_language)
        if not text:
            return
        if not result.is_final:
            self._interim = result
            await self.push_frame(
                InterimTranscriptionFrame(text, self._user_id, time_now_iso8601(), language, result=result)
            )
            return
        self._interim = None
        self.confirm_finalize()
        await self.emit_stt_usage_metrics()  # before the frame that ends a span of the tracing
        frame = TranscriptionFrame(
            text, self._user_id, time_now_iso8601(), language, result=result, finalized=self._turns
        )
        await self.push_frame(frame)
        await self._handle_transcription(text, True, language)
        for name, translation in result.translations.items():
            if translation.is_final and result.text:
                await self._push_translation(name, translation)

    async def _push_translation(self, language: str, translation: Translation) -> None:
        await self.push_frame(
            TranslationFrame(translation.text, self._user_id, time_now_iso8601(), _language(language))
        )

    @traced_stt
    async def _handle_transcription(self, transcript: str, is_final: bool, language: Language | None = None) -> None:
        """Do nothing: by its decorator, the framework traces the frames that are pushed."""

    async def emit_stt_usage_metrics(self) -> None:
        """Report what was used since the last report: the vendor's figure, else the audio that was sent."""
        if self._conversation is not None:
            await self._emit_usage(self._conversation)

    async def _emit_usage(self, conversation: Conversation) -> None:
        usage_s = conversation.take_usage_s()
        if usage_s > 0:
            await self.start_stt_usage_metrics(STTUsage(audio_seconds=usage_s))


def _check_options(options: Options) -> None:
    """Refuse options that cannot follow a conversation.

    Raises:
        ConfigurationError: they do not declare samples, or recognise one sentence in a session.
    """
    check_samples(options, "Pipecat")
    if options.sentence_end_ms is not None:
        raise ConfigurationError(
            f"{options.model} recognises one sentence in a session, and a pipeline needs more: use options that stream"
        )


def _category(error: ASRError) -> ErrorCategory:
    """Return the framework's category of an error."""
    if isinstance(error, AuthenticationError):
        return ErrorCategory.AUTHENTICATION
    if isinstance(error, ConfigurationError):
        return ErrorCategory.INVALID_REQUEST
    if isinstance(error, RateLimitedError):
        return ErrorCategory.RATE_LIMIT
    if isinstance(error, DeadlineError | ConnectionLostError) and error.status is None:
        return ErrorCategory.CONNECTIVITY
    return ErrorCategory.SERVER if error.status is None else classify_http_status_code(error.status)


def _language(code: str | None) -> Language | None:
    """Return the framework's language for a code; None if there is none."""
    try:
        return Language(code) if code else None
    except ValueError:
        return None
