"""Every error, option, result and event can be pickled and copied, and stays the same.

The classes are found by walking the package, so a new public class fails here until `EXAMPLES` holds an instance of it.
Services are not values: they may hold a key, and are not part of this; nor are `Limits` with a password. They refuse to
be pickled (`tests/text`).
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import pickle
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import asr_async
from asr_async import (
    ASRError,
    AudioFormat,
    AudioLostError,
    AuthenticationError,
    BatchItem,
    Capabilities,
    ConfigurationError,
    ConnectionLostError,
    ContextMessage,
    DeadlineError,
    Difference,
    Finding,
    FunASR,
    FunASR2Pass,
    FunASRNano,
    Gap,
    Gummy,
    GummyChat,
    HotWord,
    Limits,
    LocalProtocolError,
    ModelInfo,
    OpenAIRealtime,
    Paraformer,
    Pool,
    ProtocolError,
    QwenAudio,
    QwenRealtime,
    Rasr,
    RateLimitedError,
    Reconnected,
    RemoteProtocolError,
    Report,
    Result,
    Retry,
    SessionStats,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    TemporaryKey,
    Timeouts,
    Transcript,
    Translation,
    TranslationArrived,
    TranslationLost,
    VendorError,
    VLLMRealtime,
    Vocabulary,
    Word,
    models,
)
from asr_async.batch import BatchOutcome, BatchProgress, Budget, Row, StorageError, Work
from asr_async.compat.dashscope.audio.asr import VocabularyServiceException
from asr_async.emulator import EngineRefusedError, Hypothesis, HypothesisWord, Request, faults
from asr_async.sources import FoundSource, SourceVersion
from asr_async.subtitles import Cue
from asr_async.telemetry import SessionInfo
from asr_async.testing import BrokenContractError
from asr_async.testing import Finding as CheckFinding
from asr_async.testing import Report as CheckReport
from asr_async.vendors import Vendor
from asr_async.vendors.dashscope import RecognitionOptions, TaskOptions, TranslationOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

# --- the classes ------------------------------------------------------------------------------------------------------


FRAMEWORKS = {f"asr_async.integrations.{name}": name for name in ("livekit", "pipecat", "wyoming")}
"""Adapter → the framework that it imports; `nox -s tests` has none of them."""


def package_modules() -> list[ModuleType]:
    """Import and return every module of the package, but for adapters whose framework is not installed."""
    names = [module.name for module in pkgutil.walk_packages(asr_async.__path__, "asr_async.")]
    missing = {name for name, framework in FRAMEWORKS.items() if importlib.util.find_spec(framework) is None}
    return [importlib.import_module(name) for name in names if not name.endswith(".__main__") and name not in missing]


def subclasses(base: type) -> Iterator[type]:
    direct: list[type] = base.__subclasses__()
    for subclass in direct:
        yield subclass
        yield from subclasses(subclass)


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


def exported_classes(modules: list[ModuleType]) -> set[type]:
    """Return the classes in the `__all__` of the package, of its packages and of its top-level modules."""
    exporting = [asr_async, *modules]
    return {
        value
        for module in exporting
        if is_public(module.__name__) and (hasattr(module, "__path__") or module.__name__.count(".") == 1)
        for value in (getattr(module, name) for name in getattr(module, "__all__", ()))
        if isinstance(value, type)
    }


def public_values() -> list[type]:
    """Return the public exceptions and structs of the package.

    Public are the exported classes, their subclasses, and every `ASRError`, whichever module defines it.
    """
    modules = package_modules()
    exported = exported_classes(modules)
    defined = {
        cls
        for base in (Exception, msgspec.Struct)
        for cls in subclasses(base)
        if cls.__module__.startswith("asr_async.") and is_public(cls.__name__)
    }
    public = {cls for cls in defined if issubclass(cls, ASRError) or exported & set(cls.__mro__)}
    return sorted(public, key=lambda cls: (cls.__module__, cls.__qualname__))


NOT_VALUES = {Vendor}
"""A vendor is a registration of code: its fields are classes and functions."""

PUBLIC = [cls for cls in public_values() if cls not in NOT_VALUES]

# --- an instance of each ----------------------------------------------------------------------------------------------

WORD = Word(text="go", start_ms=0, end_ms=400, punctuation=".", confidence=0.5, is_fixed=True)
TRANSLATION = Translation(text="los", is_final=True, start_ms=0, end_ms=400, words=(WORD,))
RESULT = Result(
    text="go",
    is_final=True,
    segment_id=3,
    start_ms=0,
    end_ms=400,
    words=(WORD,),
    confidence=0.9,
    emotion="neutral",
    emotion_confidence=0.8,
    language="en",
    translations={"de": TRANSLATION},
    request_id="request-1",
    raw='{"text": "go"}',
)
GAP = Gap(start_ms=400, end_ms=800, reason="the connection was lost")
STATS = SessionStats(
    request_id="request-1",
    first_result_ms=120.5,
    last_result_ms=80.25,
    audio_sent_ms=800,
    usage_seconds=1.0,
    pacer_lateness_max_ms=0.5,
    interims_conflated=1,
    results_received=5,
    finals_received=2,
    reconnects=1,
    lost_ms=400,
    member="dashscope",
    silence_sent_ms=100,
    replayed_ms=300,
)
TRANSCRIPT = Transcript(
    text="go", results=(RESULT,), duration_ms=800, gaps=(GAP,), usage_seconds=1.0, request_id="request-1", stats=STATS
)


def complete(error: ASRError) -> ASRError:
    """Set what the constructor does not take: the transcript, a cause and a note."""
    error.transcript = TRANSCRIPT
    error.__cause__ = OSError(111, "Connection refused")
    error.add_note("in session 7")
    return error


def vendor_details() -> dict[str, Any]:
    return {
        "code": "InternalError",
        "status": 503,
        "request_id": "request-1",
        "vendor": "dashscope",
        "raw": '{"code":\n"x"}',
    }


FINDING = Finding("silent", "error", "there is nothing to hear in it", "check the microphone")

CHECK_FINDING = CheckFinding(check="a cut in mid-speech", options="Paraformer", reason="a final is missing")
CHECK_REPORT = CheckReport(vendor="acme", findings=(CHECK_FINDING,))

EXAMPLES: dict[type, list[object]] = {
    Finding: [FINDING],
    SourceVersion: [SourceVersion(size_bytes=3_244, tag='"1"')],
    FoundSource: [FoundSource("s3://calls/a/b.wav", PurePath("a/b"), SourceVersion(3_244, None))],
    Report: [
        Report(
            name="a.wav",
            summary="16-bit WAV, 16000 Hz, mono",
            sample_rate=16_000,
            channels=1,
            duration_ms=400,
            measured_ms=400,
            findings=(FINDING,),
        )
    ],
    **{
        cls: [cls("it broke"), complete(cls("it broke: try again", retryable=True, **vendor_details()))]
        for cls in (
            AuthenticationError,
            ConfigurationError,
            ConnectionLostError,
            DeadlineError,
            LocalProtocolError,
            ProtocolError,
            RemoteProtocolError,
            VendorError,
        )
    },
    ASRError: [complete(ASRError("it broke"))],
    AudioLostError: [
        AudioLostError("audio is lost", start_ms=400, end_ms=800, request_id="request-1"),
        complete(AudioLostError.between(400, None, ConnectionLostError("the connection was lost"))),
    ],
    RateLimitedError: [
        RateLimitedError("slower"),
        complete(RateLimitedError("slower", retry_after=2.5, **vendor_details())),
    ],
    EngineRefusedError: [EngineRefusedError("no such language", kind="unsupported")],
    # what goes in
    AudioFormat: [AudioFormat(), AudioFormat("ulaw", 8_000)],
    ContextMessage: [ContextMessage("user", "The name is Paraformer.")],
    HotWord: [HotWord("Paraformer", weight=5, language="en", translation="Paraformer", target_language="de")],
    Vocabulary: [Vocabulary(vocabulary_id="vocab-1", name="names", words=(HotWord("Paraformer"),))],
    TemporaryKey: [TemporaryKey(value="st-1", expires_at=1_767_225_600)],
    # settings
    Timeouts: [Timeouts(), Timeouts(connect=1, first_result=2.5)],
    Retry: [Retry(), Retry(attempts=0, on_gap="continue", silence="fill", rotate_after=600)],
    Limits: [Limits(), Limits(max_sessions=3, shared="rediss://redis.example:6379/0")],
    Pool: [Pool(), Pool(warm=2)],
    # options
    TaskOptions: [TaskOptions(model="paraformer-realtime-v2")],
    RecognitionOptions: [RecognitionOptions(model="fun-asr-realtime", language_hints=["zh"])],
    TranslationOptions: [TranslationOptions(model="gummy-realtime-v1", translation_target_languages=["en"])],
    Paraformer: [Paraformer(), Paraformer(language_hints=["zh", "en"], extra_parameters={"level": [1]})],
    FunASR2Pass: [FunASR2Pass(hotwords={"Paraformer": 20})],
    FunASRNano: [FunASRNano(hotwords=["Paraformer"], replacements={"para former": "Paraformer"})],
    FunASR: [FunASR(context=[ContextMessage("user", "Paraformer")])],
    Gummy: [Gummy(translation_target_languages=["en"])],
    GummyChat: [GummyChat()],
    QwenAudio: [QwenAudio()],
    QwenRealtime: [QwenRealtime()],
    OpenAIRealtime: [
        OpenAIRealtime(language="en", prompt="birds", turn_detection="server_vad", vad_threshold=0.4),
        OpenAIRealtime(model="gpt-live-transcribe", keywords=["Paraformer"]),
    ],
    VLLMRealtime: [VLLMRealtime(model="own/model")],
    Rasr: [Rasr(), Rasr(mode="short", add_punc=False)],
    # results and events
    Word: [WORD],
    Translation: [TRANSLATION],
    Result: [RESULT],
    SpeechStarted: [SpeechStarted(segment_id=3, start_ms=0)],
    SpeechEnding: [SpeechEnding(segment_id=3, end_ms=400, is_withdrawn=True)],
    SpeechEnded: [SpeechEnded(segment_id=3, end_ms=400)],
    TranslationLost: [TranslationLost(segment_id=3, language="de", reason="the connection was lost")],
    TranslationArrived: [TranslationArrived(segment_id=3, language="de", translation=TRANSLATION)],
    Reconnected: [Reconnected(at_ms=400, reason="the connection was lost")],
    Gap: [GAP],
    SessionInfo: [
        SessionInfo(
            number=1,
            vendor="dashscope",
            model="paraformer-realtime-v2",
            tags={"call": "4711"},
            provider="alibaba_cloud.dashscope",
            language="zh",
        )
    ],
    SessionStats: [STATS],
    Transcript: [TRANSCRIPT],
    Cue: [Cue(start_ms=0, end_ms=1_000, lines=("go", "weiter"))],
    BatchItem: [
        BatchItem(index=0, source="a.wav", transcript=TRANSCRIPT),
        BatchItem(index=1, source=("b", 2), transcript=None, error=None),
    ],
    StorageError: [StorageError("run.sqlite is read-only"), complete(StorageError("the disk is full"))],
    Budget: [Budget(billed_s=3_600), Budget(yuan=10.5)],
    BatchOutcome: [
        BatchOutcome(source="/calls/1.wav", state="done", output="/texts/1.json", audio_s=60.0, billed_s=61.0),
        BatchOutcome(
            source="/calls/2.wav",
            state="poison",
            output="/texts/2.json",
            attempts=1,
            missing_s=0.5,
            error_class="ConfigurationError",
            error="it is no audio",
        ),
    ],
    VocabularyServiceException: [VocabularyServiceException("request-1", 404, "NotFound", "no such table")],
    BatchProgress: [BatchProgress(done=1, waiting=2, remaining_s=4.5, stopped="budget")],
    Row: [
        Row(
            source="/calls/1.wav",
            output="1.json",
            state="done",
            size_bytes=1_000,
            version="1767225600",
            attempts=1,
            losses=0,
            audio_s=60.0,
            billed_s=61.0,
            missing_s=0.0,
            sha256="ab",
            error_class=None,
            error=None,
        )
    ],
    Work: [
        Work(
            manifest="run.sqlite",
            options=Paraformer(),
            service=None,
            output="/texts",
            format="json",
            attempts=3,
            budget_s=None,
            limits=Limits(),
            timeouts=Timeouts(),
            retry=Retry(),
            pace=None,
        )
    ],
    # models
    Capabilities: [Paraformer().capabilities, Rasr(need_word_info=True).capabilities],
    ModelInfo: list(models()),
    Difference: [Difference(member="huawei", feature="translation", values=("en", "ja"))],
    # the conformance kit
    BrokenContractError: [BrokenContractError(str(CHECK_REPORT))],
    CheckFinding: [CHECK_FINDING],
    CheckReport: [CHECK_REPORT],
    # the emulator
    Request: [
        Request(
            sample_rate=16_000,
            languages=("zh",),
            hot_words=("Paraformer",),
            translate_to=("en",),
            includes_half_words=True,
        )
    ],
    HypothesisWord: [HypothesisWord(text="go", start_ms=0, end_ms=400, punctuation=".")],
    Hypothesis: [
        Hypothesis(text="go", is_final=True, start_ms=0, end_ms=400, translations={"de": "los"}, is_noise=True)
    ],
    faults.Close: [faults.Close(after_s=2.5, code=4000, reason="maintenance")],
    faults.Cut: [faults.Cut(after_audio_ms=1_500, every=2, times=10)],
    faults.Delay: [faults.Delay(by_ms=200)],
    faults.Fail: [faults.Fail(at="result", code="InternalError", message="it broke")],
    faults.Fault: [faults.Fault(connection=1, times=3, probability=0.5)],
    faults.Garbage: [faults.Garbage(after_frames=10, binary=True)],
    faults.HalfOpen: [faults.HalfOpen(at="audio")],
    faults.MuteFinish: [faults.MuteFinish()],
    faults.Redraw: [faults.Redraw(max_words=3, jitter_ms=40, noise=0.5)],
    faults.Refuse: [faults.Refuse(status=429, code="Throttling", message="slower", retry_after_s=3)],
    faults.SlowReader: [faults.SlowReader(bytes_per_second=1_000)],
    faults.Throttle: [faults.Throttle(connection=1)],
}

# --- the same afterwards ----------------------------------------------------------------------------------------------


def through_pickle(protocol: int) -> Callable[[object], object]:
    return lambda value: pickle.loads(pickle.dumps(value, protocol))


WAYS: dict[str, Callable[[Any], Any]] = {
    **{f"pickle protocol {protocol}": through_pickle(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def content(value: object) -> object:
    """Return what two equal values share: an exception has no equality of its own."""
    if isinstance(value, BaseException):
        return type(value), str(value), repr(value), value.args, value.__dict__
    return type(value), value, repr(value)


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_every_public_class_has_an_example(cls: type) -> None:
    assert cls in EXAMPLES, (
        f"{cls.__module__}.{cls.__qualname__} is public: add an instance of it, with every field set, to EXAMPLES in "
        f"{__name__}, so that pickling and copying it are tested"
    )
    assert all(type(example) is cls for example in EXAMPLES[cls])


def test_no_example_is_left_of_a_class_that_is_not_public() -> None:
    assert set(EXAMPLES) <= set(PUBLIC)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("cls", EXAMPLES, ids=lambda cls: cls.__name__)
def test_a_value_is_the_same_after_pickling_and_copying(cls: type, way: Callable[[object], object]) -> None:
    for example in EXAMPLES[cls]:
        assert content(way(example)) == content(example)


def test_a_copied_error_shares_nothing_that_can_change_with_its_original() -> None:
    error = complete(ConnectionLostError("it broke"))
    copied = copy.deepcopy(error)
    copied.message = "changed"
    copied.add_note("of the copy")
    assert (error.message, error.__notes__) == ("it broke", ["in session 7"])


def test_a_failed_batch_item_keeps_its_error() -> None:
    error = AudioLostError("audio is lost", start_ms=400, end_ms=800)
    item = BatchItem(index=0, source="a.wav", transcript=TRANSCRIPT, error=error)
    for way in WAYS.values():
        received = way(item)
        assert content(received.error) == content(error)
        assert (received.index, received.source, received.transcript) == (0, "a.wav", TRANSCRIPT)


def raise_audio_lost() -> None:
    raise AudioLostError.between(400, 800, DeadlineError("nothing came"))


def test_an_error_crosses_a_process_boundary() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
        pytest.raises(AudioLostError, match="from 400 to 800 ms") as caught,
    ):
        executor.submit(raise_audio_lost).result()
    assert (caught.value.start_ms, caught.value.end_ms, caught.value.retryable) == (400, 800, False)
