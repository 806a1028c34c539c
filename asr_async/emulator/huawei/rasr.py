"""The emulator's Huawei room: the RASR protocol (`/v1/{project_id}/rasr/...-stream`) from the server's side.

Knows no engine: it checks order, options and frame sizes, takes the samples out of their container, and dresses what an
engine hears in the messages of the three modes. It is as strict as the documents; where they are silent the reason for
a choice stands beside it. Who may come in is checked in `huawei_auth`, plain HTTP is answered in `huawei_rest`.
Sources: the API reference of SIS (public documentation repository, 2021-10; live pages sis_03_0029 to sis_03_0045,
2025/26) and frames of the official Python SDK (1.7/1.8 line).

Where a sentence ends is the engine's own business: `vad_tail`, `max_seconds` and, in mode continue, `vad_head` are
checked and have no effect, nor have `digit_norm` and `vad_threshold`. Hot words are handed to the engine without their
weights.

A failed round does not end its connection: the client is told ERROR, and everything but a new START is ignored. What
fails is raised as a `_RoundError`, and answered by whoever was at work: the reader, or the task beside it.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
import re
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from aiohttp import WSCloseCode, web
from msgspec import UNSET

from ...results import join_texts
from ...vendors.huawei.models import AUDIO_FORMATS, FRAME_LIMITS, MODES, Mode, rate_of
from ...vendors.huawei.wire import End as EndCommand
from ...vendors.huawei.wire import ServerMessage, StartConfig, WireResult, WireSegment, WireWord
from ..audio_decoder import SAMPLE_BYTES, G711Decoder, PcmDecoder, split_samples
from ..engines.engine import Hypothesis, Request
from ..handler import FaultInjectingHandler
from ..session import EndConnection, VendorSession, engine_refusals
from . import rest as huawei_rest
from .auth import Authenticator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from ..engines.engine import Engine, Recognition
    from ..faults import FaultInjector
    from ..session import Link

__all__ = ["add_routes"]

VOICE_TIMEOUT_S = 20
"""A connection on which the client says nothing for so long is closed: "wait voice timeout" (FATAL_ERROR page)."""

VAD_HEAD_MS = 10_000
"""How much silence before speech ends a round in mode sentence, unless START says otherwise; 0 is never."""

PIECE_MS = 100
"""The engine gets longer frames in pieces of this length, so that silence is judged alike however audio is framed."""

FINAL_SCORE = 0.9
"""The documents give 0.0 to interims and 0..1 to finals; no engine here knows better."""

_logger = logging.getLogger("asr_async")
_PATHS = {mode.path: mode for mode in MODES.values()}


# --- the order of a conversation -------------------------------------------------------------------------------------


class State(enum.Enum):
    """Where a connection stands."""

    IDLE = "no round"
    STARTING = "round starting"
    STREAMING = "round open"
    DEAF = "round open, heard enough"
    FINISHING = "round finishing"
    FAILED = "round failed"


class Step(enum.Enum):
    """What moves a connection on: the first four are the client's, the rest ours."""

    START = "START"
    AUDIO = "audio"
    END = "END"
    CANCEL = "END with cancel"
    STARTED = "START answered"
    RESULT = "RESULT"
    ENOUGH = "sentence over"
    FINISHED = "END answered"
    FAIL = "ERROR"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.IDLE, Step.START): State.STARTING,
    (State.IDLE, Step.FAIL): State.FAILED,
    (State.STARTING, Step.STARTED): State.STREAMING,
    (State.STARTING, Step.CANCEL): State.IDLE,
    (State.STARTING, Step.FAIL): State.FAILED,
    (State.STREAMING, Step.AUDIO): State.STREAMING,
    (State.STREAMING, Step.RESULT): State.STREAMING,
    (State.STREAMING, Step.ENOUGH): State.DEAF,
    (State.STREAMING, Step.END): State.FINISHING,
    (State.STREAMING, Step.CANCEL): State.IDLE,
    (State.STREAMING, Step.FAIL): State.FAILED,
    (State.DEAF, Step.AUDIO): State.DEAF,
    (State.DEAF, Step.END): State.FINISHING,
    (State.DEAF, Step.CANCEL): State.IDLE,
    (State.DEAF, Step.FAIL): State.FAILED,
    (State.FINISHING, Step.RESULT): State.FINISHING,
    (State.FINISHING, Step.FINISHED): State.IDLE,
    (State.FINISHING, Step.CANCEL): State.IDLE,
    (State.FINISHING, Step.FAIL): State.FAILED,
    (State.FAILED, Step.START): State.STARTING,
    (State.FAILED, Step.AUDIO): State.FAILED,
    (State.FAILED, Step.END): State.FAILED,
    (State.FAILED, Step.CANCEL): State.FAILED,
    (State.FAILED, Step.FAIL): State.FAILED,
}
"""The whole life of a connection. After an ERROR audio is ignored until the next START (error page), and so is an END
that crossed it. A cancel is taken from START on: what is not wanted need not have begun."""

PATIENCE_S = dict.fromkeys((State.IDLE, State.STREAMING, State.DEAF, State.FAILED), VOICE_TIMEOUT_S)
"""How long the client may say nothing. Elsewhere it is the engine's turn, and nobody waits for the client."""

ANSWERED = {State.STREAMING, State.DEAF, State.FINISHING}
"""A round runs from START's answer on; only then does END stand behind an ERROR (error page)."""

_OUT_OF_ORDER = {
    State.IDLE: "without START",
    State.STARTING: "before START was answered",
    State.FINISHING: "after END",
}


class _RoundError(Exception):
    """The round fails, or cannot begin; the connection goes on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _VoiceTimeoutError(EndConnection):
    """The client said nothing for too long; it is told before the connection closes.

    The documents give no close code for this. 1000: what went wrong has been said in the message before.
    """

    def __init__(self) -> None:
        super().__init__("wait voice timeout", close_code=WSCloseCode.OK)


_ENGINE_CODES = {"unsupported": "SIS.0031", "capacity": "SIS.0312", "broken": "SIS.0302"}
_engine_refusals = functools.partial(engine_refusals, _ENGINE_CODES, _RoundError)


# --- what the client says --------------------------------------------------------------------------------------------


class _Config(StartConfig, frozen=True, kw_only=True):
    """What START asks for, with the ranges of the documents. Unknown members pass: the official SDK sends some."""

    vad_head: Annotated[int, msgspec.Meta(ge=0, le=60_000)] | None = None
    vad_tail: Annotated[int, msgspec.Meta(ge=0, le=3_000)] | None = None
    max_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] | None = None

    @property
    def sample_rate(self) -> int:
        """That of the declared audio."""
        return AUDIO_FORMATS[self.audio_format].sample_rate


def _read_message(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise _RoundError("SIS.0032", f"a text message must be a JSON object: {error}") from None


def _required(message: dict[str, Any], name: str) -> Any:
    if name not in message:
        raise _RoundError("SIS.0012", f"'{name}' is missing")
    return message[name]


def _read_config(message: dict[str, Any]) -> _Config:
    given = _required(message, "config")
    if not isinstance(given, dict):
        raise _invalid("config", "must be an object")
    for name in ("audio_format", "property"):
        _required(given, name)
    try:
        config = msgspec.convert(given, _Config)
    except msgspec.ValidationError as error:
        # "Expected `int`, got `str` - at `$.vad_head`": names the member
        raise _RoundError("SIS.0032", str(error)) from None
    if config.audio_format not in AUDIO_FORMATS:
        raise _invalid("audio_format")
    if rate_of(config.property) not in {None, config.sample_rate}:
        raise _RoundError("SIS.0301", "'audio_format' is not match model")
    return config


def _read_cancel(message: dict[str, Any]) -> bool:
    try:
        return msgspec.convert(message, EndCommand).cancel in {True, "true"}
    except msgspec.ValidationError as error:
        raise _invalid("cancel", str(error)) from None


def _invalid(name: str, why: str = "") -> _RoundError:
    return _RoundError("SIS.0032", f"'{name}' is invalid" + (f": {why}" if why else ""))


# --- what we say -----------------------------------------------------------------------------------------------------


def _ended(reason: Literal["NORMAL", "CANCEL", "ERROR"]) -> ServerMessage:
    return ServerMessage(resp_type="END", reason=reason)


def _event(name: str, timestamp: int) -> ServerMessage:
    return ServerMessage(resp_type="EVENT", event=name, timestamp=timestamp)


def _without_punctuation(hypothesis: Hypothesis) -> str:
    """The text without the marks that stand behind its words."""
    text, kept, position = hypothesis.text, "", 0
    for word in hypothesis.words:
        start = text.find(word.text, position)
        if start >= 0:
            end = start + len(word.text)
            kept += text[position:end]
            position = end + len(word.punctuation) if text.startswith(word.punctuation, end) else end
    return kept + text[position:]


class _Continuous:
    """Mode continue: sentence after sentence."""

    def __init__(self, config: _Config) -> None:
        self._config = config
        self._start_ms: int | None = None
        """Where the present sentence began, which its results keep; None between two."""

    @property
    def is_over(self) -> bool:
        """Whether nothing that is still to be heard matters."""
        return False

    def heard(self, hypothesis: Hypothesis) -> list[ServerMessage]:
        """What to say to something that was heard."""
        return self._results(hypothesis)

    def after_silence(self, _silent_ms: int) -> list[ServerMessage]:
        """What to say when nothing has been heard since the start."""
        return []

    def rest(self) -> list[ServerMessage]:
        """What to say when the engine has finished."""
        return []

    def _results(self, hypothesis: Hypothesis) -> list[ServerMessage]:
        if self._start_ms is None:
            self._start_ms = hypothesis.start_ms
        start_ms = self._start_ms
        if hypothesis.is_final:
            self._start_ms = None
        elif self._config.interim_results != "yes":
            return []
        segment = WireSegment(
            start_time=start_ms,
            end_time=hypothesis.end_ms,
            is_final=hypothesis.is_final,
            result=WireResult(
                text=self._text(hypothesis),
                score=FINAL_SCORE if hypothesis.is_final else 0.0,
                word_info=_wire_words(hypothesis) if self._config.need_word_info == "yes" else UNSET,
            ),
        )
        return [ServerMessage(resp_type="RESULT", segments=(segment,))]

    def _text(self, hypothesis: Hypothesis) -> str:
        return hypothesis.text if self._config.add_punc == "yes" else _without_punctuation(hypothesis)


class _Sentence(_Continuous):
    """Mode sentence: one sentence, or too much silence before it."""

    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        self._vad_head_ms = VAD_HEAD_MS if config.vad_head is None else config.vad_head
        self._is_begun = False
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether the sentence has ended, or was waited for too long."""
        return self._is_over

    def heard(self, hypothesis: Hypothesis) -> list[ServerMessage]:
        """The sentence between two events; nothing of what comes behind it."""
        if self._is_over:
            return []
        begun = [] if self._is_begun else [_event("VOICE_START", hypothesis.start_ms)]
        self._is_begun = True
        self._is_over = hypothesis.is_final
        over = [_event("VOICE_END", hypothesis.end_ms)] if hypothesis.is_final else []
        return [*begun, *self._results(hypothesis), *over]

    def after_silence(self, silent_ms: int) -> list[ServerMessage]:
        """An event, once it is as much as `vad_head`; 0 turns that off (Chinese documents)."""
        if self._is_begun or self._is_over or not 0 < self._vad_head_ms <= silent_ms:
            return []
        self._is_over = True
        return [_event("EXCEEDED_SILENCE", silent_ms)]


class _Short(_Continuous):
    """Mode short: one segment that grows until END.

    Nothing heard, no result: the documents give none for that case.
    """

    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        self._utterances: list[Hypothesis] = []

    def heard(self, hypothesis: Hypothesis) -> list[ServerMessage]:
        """Everything until now, never final."""
        whole = self._whole([*self._utterances, hypothesis], is_final=False)
        if hypothesis.is_final:
            self._utterances.append(hypothesis)
        return self._results(whole)

    def rest(self) -> list[ServerMessage]:
        """Everything, final."""
        return self._results(self._whole(self._utterances, is_final=True)) if self._utterances else []

    def _whole(self, utterances: list[Hypothesis], *, is_final: bool) -> Hypothesis:
        return Hypothesis(
            text=join_texts([self._text(utterance) for utterance in utterances]),
            is_final=is_final,
            start_ms=utterances[0].start_ms,
            end_ms=utterances[-1].end_ms,
            words=tuple(word for utterance in utterances for word in utterance.words),
        )


def _wire_words(hypothesis: Hypothesis) -> tuple[WireWord, ...]:
    return tuple(WireWord(start_time=word.start_ms, end_time=word.end_ms, word=word.text) for word in hypothesis.words)


_READINGS: dict[str, type[_Continuous]] = {"continue": _Continuous, "sentence": _Sentence, "short": _Short}


# --- a round ---------------------------------------------------------------------------------------------------------


class _Round:
    """From START to END: what was asked for, how much audio has come, and what is to be said about it."""

    def __init__(self, mode: Mode, config: _Config, hot_words: tuple[str, ...]) -> None:
        audio = AUDIO_FORMATS[config.audio_format]
        self.reading = _READINGS[mode.name](config)
        self.recognition: Recognition | None = None
        """None until the engine has opened it."""
        self._mode = mode
        self._hot_words = hot_words
        self._sample_rate = audio.sample_rate
        encoding = cast("Literal['pcm', 'ulaw', 'alaw']", audio.encoding)
        self._decoder = PcmDecoder() if encoding == "pcm" else G711Decoder(encoding)
        self._audio_bytes = 0

    @property
    def request(self) -> Request:
        """The part that concerns the engine."""
        # The property's language is no hint: a client that leaves the options alone asks for Chinese, and is to get
        # what the embedded recogniser hears all the same.
        return Request(sample_rate=self._sample_rate, hot_words=self._hot_words)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The samples in a message, in portions for the engine; each counts as received when it is taken."""
        least, most = FRAME_LIMITS[self._sample_rate]
        if not least <= len(data) <= most:
            raise _RoundError(
                "SIS.0032",
                f"an audio message has {least} to {most} bytes at {self._sample_rate} Hz, this one has {len(data)}",
            )
        for piece in split_samples(self._decoder.decode(data), self._sample_rate, PIECE_MS):
            self._audio_bytes += len(piece)
            if self._audio_bytes > self._mode.max_audio_s * self._sample_rate * SAMPLE_BYTES:
                raise _RoundError(
                    "SIS.0309", f"mode {self._mode.name} takes {self._mode.max_audio_s} s of audio at most"
                )
            yield piece


# --- a connection ----------------------------------------------------------------------------------------------------


class _Connection(VendorSession[State, Step]):
    """One client; round after round."""

    engine_codes = _ENGINE_CODES

    def __init__(
        self, link: Link, engine: Engine, mode: Mode, words_of: Callable[[str], tuple[str, ...] | None]
    ) -> None:
        super().__init__(link, state=State.IDLE, transitions=TRANSITIONS, patience_s=PATIENCE_S)
        self._engine = engine
        self._mode = mode
        self._words_of = words_of
        """The hot words of a table of the client's project; None if it has no such table."""
        self._trace_id = str(uuid.uuid4())
        self._round: _Round | None = None
        self._work: asyncio.Task[None] | None = None
        """What was last done beside the reading for a round."""

    def _refusal(self, step: Step) -> _RoundError:
        if step is Step.START:
            return _RoundError("SIS.0032", "START came while a round was running: END it first")
        return _RoundError("SIS.0032", f"{step.value} came {_OUT_OF_ORDER[self._state]}")

    def _impatience(self) -> EndConnection:
        return _VoiceTimeoutError()

    def _failure(self, code: str, message: str) -> _RoundError:
        return _RoundError(code, message)

    async def _on_text(self, text: str) -> None:
        try:
            await self._obey(_read_message(text))
        except _RoundError as error:
            await self._answer(error)

    async def _on_audio(self, data: bytes) -> None:
        try:
            self._take(Step.AUDIO)
            if self._state is State.STREAMING:
                await self._feed(data)
        except _RoundError as error:
            await self._answer(error)

    async def _obey(self, message: dict[str, Any]) -> None:
        match _required(message, "command"):
            case "START":
                await self._start(message)
            case "END":
                if _read_cancel(message):
                    await self._cancel()
                else:
                    await self._end()
            case _:
                raise _invalid("command")

    async def _start(self, message: dict[str, Any]) -> None:
        if not self._may(Step.START):
            raise self._refusal(Step.START)
        self._trace_id = str(uuid.uuid4())
        config = _read_config(message)
        hot_words = self._hot_words(config)
        self._take(Step.START)
        await self._reach("start")
        self._round = _Round(self._mode, config, hot_words)
        self._do_beside(self._open)

    def _hot_words(self, config: _Config) -> tuple[str, ...]:
        words = config.user_words or ()
        if config.vocabulary_id is None:
            return words
        table = self._words_of(config.vocabulary_id)
        if table is None:
            raise _RoundError("SIS.0201", f"vocabulary {config.vocabulary_id} not found")
        return (*words, *table)

    async def _end(self) -> None:
        self._take(Step.END)
        if self._state is State.FINISHING:
            await self._reach("finish")
            if not self._is_mute:
                self._do_beside(self._finish)

    async def _cancel(self) -> None:
        self._take(Step.CANCEL)
        if self._state is State.IDLE:
            await self._give_up()
            await self._tell(_ended("CANCEL"))

    async def _feed(self, data: bytes) -> None:
        round_, recognition = self._open_round
        heard_bytes = 0
        for piece in round_.pieces(data):
            heard_bytes += len(piece)
            with _engine_refusals():
                await recognition.feed(piece)
            if not recognition.has_speech:
                await self._say(round_, round_.reading.after_silence(recognition.silent_ms))
            if round_.reading.is_over:
                break
        await self._reach_after_audio(heard_bytes, round_.request.sample_rate)

    async def _open(self) -> None:
        round_ = self._round
        assert round_ is not None  # noqa: S101 - START has just made it
        with _engine_refusals():
            round_.recognition = await self._engine.open(round_.request, functools.partial(self._emit, round_))
        self._take(Step.STARTED)
        self._rearm()
        await self._tell(ServerMessage(resp_type="START"))

    async def _finish(self) -> None:
        round_, recognition = self._open_round
        if not round_.reading.is_over:
            with _engine_refusals():
                await recognition.finish()
            await self._reach("result")
        await self._release()
        self._take(Step.FINISHED)
        self._rearm()
        for message in (*round_.reading.rest(), _ended("NORMAL")):
            await self._tell(message)

    async def _emit(self, round_: _Round, hypothesis: Hypothesis) -> None:
        """Tell the client what an engine has heard; an engine that speaks after the end of its round is not heard."""
        if self._round is round_ and self._may(Step.RESULT):
            self._take(Step.RESULT)
            await self._say(round_, round_.reading.heard(hypothesis))

    async def _say(self, round_: _Round, messages: list[ServerMessage]) -> None:
        if round_.reading.is_over and self._may(Step.ENOUGH):
            self._take(Step.ENOUGH)
        for message in messages:
            await self._tell(message)
            if message.resp_type == "RESULT":
                self._script.hear_of_result()

    @property
    def _open_round(self) -> tuple[_Round, Recognition]:
        round_ = self._round
        # TRANSITIONS leads to no place that asks without a round
        assert round_ is not None and round_.recognition is not None  # noqa: S101, PT018
        return round_, round_.recognition

    def _do_beside(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = self._beside.create_task(self._answering_failure(work))

    async def _answering_failure(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except _RoundError as error:
            await self._answer(error)

    async def _answer(self, error: _RoundError) -> None:
        """Tell the client ERROR, and END behind it if a round was running."""
        await self._give_up()
        was_running = self._state in ANSWERED
        self._take(Step.FAIL)
        self._rearm()
        _logger.debug("emulator: round %s failed: %s %s", self._trace_id, error.code, error)
        await self._tell(ServerMessage(resp_type="ERROR", error_code=error.code, error_msg=str(error)))
        if was_running:
            await self._tell(_ended("ERROR"))

    async def _give_up(self) -> None:
        """Stop the engine where it is."""
        if self._work is not None and self._work is not asyncio.current_task():
            self._work.cancel()
            await asyncio.wait({self._work})
        await self._release()

    async def _release(self) -> None:
        if self._round is not None and self._round.recognition is not None:
            await self._round.recognition.aclose()
        self._round = None

    async def _tell(self, message: ServerMessage) -> None:
        await self._send(msgspec.structs.replace(message, trace_id=self._trace_id))

    async def _say_why(self, end: EndConnection) -> None:
        if isinstance(end, _VoiceTimeoutError):
            _logger.debug("emulator: %r: %s", self, end)
            await self._tell(ServerMessage(resp_type="FATAL_ERROR", error_code="SIS.0304", error_msg=end.reason))


# --- the door --------------------------------------------------------------------------------------------------------


def add_routes(
    application: web.Application,
    engine: Engine,
    *,
    api_keys: Collection[str] | Mapping[str, str] | None,
    faults: FaultInjector,
) -> Callable[[], Awaitable[None]]:
    """Add the routes of recognition, tokens and hot-word tables; return what ends the connections."""
    gate = Authenticator(api_keys)
    vocabularies = huawei_rest.Vocabularies()
    huawei_rest.add_routes(application, gate, vocabularies)
    door = _Handler(engine, gate, vocabularies, faults)
    path = f"/v1/{{project_id}}/{{path:{'|'.join(map(re.escape, _PATHS))}}}"
    for end in ("", "/"):
        application.router.add_get(path + end, door.enter)
    return door.shut


class _Handler(FaultInjectingHandler):
    """Lets clients in by their tokens and signatures."""

    def __init__(
        self, engine: Engine, gate: Authenticator, vocabularies: huawei_rest.Vocabularies, faults: FaultInjector
    ) -> None:
        super().__init__(faults)
        self._engine = engine
        self._gate = gate
        self._vocabularies = vocabularies

    def _refused(self, request: web.Request) -> web.Response | None:
        return self._gate.refusal(request)

    def _error_body(self, code: str, message: str) -> Any:
        return {"error_code": code, "error_msg": message}

    def _welcome(self, request: web.Request, link: Link) -> VendorSession[State, Step]:
        mode = _PATHS[request.match_info["path"]]
        words_of = functools.partial(self._vocabularies.words, request.match_info["project_id"])
        return _Connection(link, self._engine, mode, words_of)
