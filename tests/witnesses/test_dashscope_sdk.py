"""The vendor's own SDK, unmodified, against the emulator: the witness that the emulator is not our own mistake twice.

The SDK is synchronous and brings its own threads and event loops, so what blocks runs in a thread. Only `start()`,
which never waits, is called in the emulator's own thread: as long as it lasts the emulator cannot answer. It has a race
that is never lost over a real network: a worker that gets its answer before `start()` has marked the object as running
ends the task without its audio, or makes `start()` raise `InvalidTask` (2.0.2).
"""

from __future__ import annotations

import asyncio
import re
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import dashscope
import pytest
from dashscope.audio.asr import (
    AsrPhraseManager,
    Recognition,
    RecognitionCallback,
    RecognitionResult,
    TranslationRecognizerCallback,
    TranslationRecognizerChat,
    TranslationRecognizerRealtime,
    VocabularyService,
    VocabularyServiceException,
)

from asr_async import DashScope
from asr_async.emulator import Emulator, Scripted, serve
from asr_async.vendors.dashscope.models import CAPABILITIES

from ..support.paths import RECORDINGS

FRAME = bytes(3_200)
SCRIPT = (("Hello, big world.", 100, 1000), ("Good bye.", 1400, 2000))
TEXTS = [text for text, _, _ in SCRIPT]

_T = TypeVar("_T")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    # the SDK asks the environment for a proxy, for loopback too
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


Point = Callable[..., None]


@pytest.fixture
def point(monkeypatch: pytest.MonkeyPatch) -> Point:
    """Points the SDK at an emulator; monkeypatch puts its globals back."""

    def point_at(emulator: Emulator, *, api_key: str = "sk-test") -> None:
        monkeypatch.setattr(dashscope, "api_key", api_key)
        monkeypatch.setattr(dashscope, "base_websocket_api_url", emulator.dashscope_url)
        monkeypatch.setattr(dashscope, "base_http_api_url", emulator.dashscope_http_url)

    return point_at


async def in_thread(blocking: Callable[..., _T], *args: Any) -> _T:
    async with asyncio.timeout(30):
        return await asyncio.to_thread(blocking, *args)


class Log(RecognitionCallback):
    """Writes down what the SDK calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.interims: list[str] = []
        self.finals: list[dict[str, Any]] = []
        self.errors: list[RecognitionResult] = []

    def on_open(self) -> None:
        self.calls.append("open")

    def on_event(self, result: RecognitionResult) -> None:
        sentence: Any = result.get_sentence()
        if RecognitionResult.is_sentence_end(sentence):
            self.finals.append(sentence)
        else:
            self.interims.append(sentence["text"])

    def on_complete(self) -> None:
        self.calls.append("complete")

    def on_error(self, result: RecognitionResult) -> None:
        self.calls.append("error")
        self.errors.append(result)

    def on_close(self) -> None:
        self.calls.append("close")


def recognition(callback: Any = None, *, model: str = "paraformer-realtime-v2", **options: Any) -> Any:
    return Recognition(model=model, callback=callback, **{"format": "pcm", "sample_rate": 16_000, **options})


async def stream(recogniser: Any, frames: int = 22, **start: Any) -> None:
    """The callback form, from start to stop."""

    def send_and_stop() -> None:
        for _ in range(frames):
            recogniser.send_audio_frame(FRAME)
        recogniser.stop()

    recogniser.start(**start)
    await in_thread(send_and_stop)


async def test_a_file_is_recognised(point: Point, tmp_path: Path) -> None:
    path = tmp_path / "silence.pcm"
    path.write_bytes(FRAME * 22)
    async with serve(Scripted(SCRIPT)) as emulator:
        point(emulator)
        result = await in_thread(recognition().call, str(path))
    assert result.status_code == 200
    sentences = result.get_sentence()
    assert [sentence["text"] for sentence in sentences] == TEXTS
    assert [(sentence["begin_time"], sentence["end_time"]) for sentence in sentences] == [(100, 1000), (1400, 2000)]
    words = [(word["text"], word["punctuation"]) for sentence in sentences for word in sentence["words"]]
    assert words == [("Hello", ","), ("big", ""), ("world", "."), ("Good", ""), ("bye", ".")]
    assert [result.get_usage(sentence) for sentence in sentences] == [{"duration": 2}, {"duration": 2}]


async def test_a_wav_file_is_recognised(point: Point, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(16_000 * 3))
    async with serve(Scripted(SCRIPT)) as emulator:
        point(emulator)
        result = await in_thread(recognition(format="wav", sample_rate=8_000).call, str(path))
    assert [sentence["text"] for sentence in result.get_sentence()] == TEXTS


async def test_the_callback_form_completes(point: Point) -> None:
    log = Log()
    recogniser = recognition(log)
    async with serve(Scripted(SCRIPT)) as emulator:
        point(emulator)
        await stream(recogniser, language_hints=["en"], heartbeat=True)
    assert log.calls == ["open", "complete", "close"]
    assert [sentence["text"] for sentence in log.finals] == TEXTS
    assert log.interims[0] == "Hello,"
    assert len(recogniser.get_last_request_id()) == 32


async def test_two_objects_follow_each_other(point: Point) -> None:
    logs = [Log(), Log()]
    async with serve(Scripted(SCRIPT)) as emulator:
        point(emulator)
        for log in logs:
            await stream(recognition(log))
    for log in logs:
        assert log.calls == ["open", "complete", "close"]
        assert [sentence["text"] for sentence in log.finals] == TEXTS


async def test_one_object_may_be_started_again_with_its_task_id(point: Point) -> None:
    log = Log()
    recogniser = recognition(log)
    async with serve(Scripted(SCRIPT)) as emulator:
        point(emulator)
        await stream(recogniser)
        await stream(recogniser, frames=12)
    assert log.calls == ["open", "complete", "close"] * 2
    assert [sentence["text"] for sentence in log.finals] == [*TEXTS, TEXTS[0]]


@pytest.mark.parametrize("model", [name for name, row in CAPABILITIES.items() if row.context])
async def test_the_context_of_a_continue_task_is_taken(point: Point, model: str) -> None:
    log = Log()
    recogniser = recognition(log, model=model)
    async with serve(Scripted(SCRIPT)) as emulator:
        point(emulator)
        recogniser.start()
        recogniser.send_audio_frame(FRAME * 11)
        recogniser.update_context({"context": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]})
        recogniser.send_audio_frame(FRAME * 11)
        await in_thread(recogniser.stop)
    assert log.calls == ["open", "complete", "close"]
    assert [sentence["text"] for sentence in log.finals] == TEXTS


async def test_a_wrong_key_is_an_error_401(point: Point) -> None:
    log = Log()
    recogniser = recognition(log)
    async with serve(Scripted(SCRIPT), api_keys={"sk-right"}) as emulator:
        point(emulator, api_key="sk-wrong")
        recogniser.start()
        await in_thread(recogniser._worker.join)
    recogniser._silence_timer.cancel()  # left running after an error, it would hold the process for 23 s
    assert log.calls == ["open", "error", "close"]
    assert log.errors[0].status_code == 401


async def test_a_task_that_fails_is_an_error_with_code_and_message(point: Point, tmp_path: Path) -> None:
    path = tmp_path / "silence.pcm"
    path.write_bytes(FRAME)
    async with serve(Scripted([("later", 5000, 6000)])) as emulator:
        point(emulator)
        result = await in_thread(recognition().call, str(path))
    assert (result.status_code, result.code) == (44, "NO_VALID_AUDIO_ERROR")
    assert result.message == "no valid audio was received"


# --- hot words and keys ----------------------------------------------------------------------------------------------


async def test_a_vocabulary_is_made_read_changed_and_removed(point: Point) -> None:
    words = [{"text": "Seediq Bale", "weight": 4, "lang": "en"}]

    def use() -> None:
        service: Any = VocabularyService()
        made = service.create_vocabulary("paraformer-realtime-v2", "terms", words)
        assert made.startswith("vocab-terms-")
        (listed,) = service.list_vocabularies(prefix="terms")
        assert (listed["vocabulary_id"], listed["status"]) == (made, "OK")
        assert service.list_vocabularies(page_index=1) == []
        assert service.list_vocabularies(prefix="other") == []
        table = service.query_vocabulary(made)
        assert (table["target_model"], table["vocabulary"]) == ("paraformer-realtime-v2", words)
        service.update_vocabulary(made, [{"text": "b", "weight": 1}])
        table = service.query_vocabulary(made)
        assert table["vocabulary"] == [{"text": "b", "weight": 1}]
        service.delete_vocabulary(made)
        assert service.list_vocabularies() == []
        assert service.get_last_request_id()

    async with serve(Scripted([])) as emulator:
        point(emulator)
        await in_thread(use)


async def test_what_is_wrong_with_a_vocabulary_is_told_with_status_and_code(point: Point) -> None:
    async with serve(Scripted([]), api_keys={"sk-test"}) as emulator:
        point(emulator)
        service = VocabularyService()
        with pytest.raises(VocabularyServiceException, match="Status Code: 404, Code: NotFound"):
            await in_thread(service.query_vocabulary, "vocab-x")
        with pytest.raises(VocabularyServiceException, match=r"Status Code: 400, Code: InvalidParameter.*weight 9"):
            await in_thread(
                service.create_vocabulary, "fun-asr-realtime", "terms", [{"text": "a", "weight": 9, "lang": "en"}]
            )
        with pytest.raises(VocabularyServiceException, match="Status Code: 401, Code: InvalidApiKey"):
            await in_thread(VocabularyService(api_key="sk-wrong").list_vocabularies)


async def test_phrases_are_made_read_changed_and_removed(point: Point) -> None:
    def use() -> None:
        made = AsrPhraseManager.create_phrases(model="paraformer-realtime-v1", phrases={"通义千问": 5})
        assert made.status_code == 200, made.message
        phrase_id = made.output["finetuned_output"]
        assert made.output["status"] == "SUCCEEDED"
        changed = AsrPhraseManager.update_phrases("paraformer-realtime-v1", phrase_id, {"下一首": -6})
        assert changed.output["finetuned_output"] == phrase_id
        assert AsrPhraseManager.query_phrases(phrase_id).output["model"] == "paraformer-realtime-v1"
        listed: Any = AsrPhraseManager.list_phrases(page=1, page_size=5).output
        assert [one["finetuned_output"] for one in listed["finetuned_outputs"]] == [phrase_id]
        assert (listed["page_no"], listed["page_size"], listed["total"]) == (1, 5, 1)
        assert AsrPhraseManager.delete_phrases(phrase_id).status_code == 200
        gone = AsrPhraseManager.query_phrases(phrase_id)
        assert (gone.status_code, gone.code) == (404, "NotFound")

    async with serve(Scripted([])) as emulator:
        point(emulator)
        await in_thread(use)


async def test_hot_words_and_a_temporary_key_of_ours_serve_the_official_sdk(point: Point) -> None:
    segment = {"text": "Seediq Bale.", "start_ms": 0, "end_ms": 1000, "variants": {"Seediq Bale": "seat a bail"}}
    async with serve(Scripted([segment]), api_keys={"sk-right"}) as emulator:
        ours = DashScope("sk-right", endpoint=emulator.dashscope_url)
        made = await ours.vocabularies.create(["Seediq Bale"], name="films", model="paraformer-realtime-v2")
        point(emulator, api_key=(await ours.temporary_key()).value)
        with_table, without = Log(), Log()
        await stream(recognition(with_table), vocabulary_id=made)
        await stream(recognition(without))
    assert [sentence["text"] for sentence in with_table.finals] == ["Seediq Bale."]
    assert [sentence["text"] for sentence in without.finals] == ["seat a bail."]


# --- translation -----------------------------------------------------------------------------------------------------

TRANSLATED = (
    {"text": "你好世界。", "start_ms": 100, "end_ms": 1000, "translations": {"en": "Hello, big world."}},
    {"text": "再见。", "start_ms": 1400, "end_ms": 2000, "translations": {"en": "Good bye."}},
)
TO_ENGLISH: dict[str, Any] = {"translation_enabled": True, "translation_target_languages": ["en"]}


class TranslationLog(TranslationRecognizerCallback):
    """Writes down what the SDK calls; texts of ended sentences only."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.said: list[str] = []
        self.translated: list[str] = []
        self.expected_ends_ms: list[int] = []
        self.interims = 0

    def on_open(self) -> None:
        self.calls.append("open")

    def on_event(self, request_id: str, transcription_result: Any, translation_result: Any, usage: Any) -> None:
        translation = translation_result and translation_result.get_translation("en")
        for result, texts in ((transcription_result, self.said), (translation, self.translated)):
            if result is not None and result.is_sentence_end:
                texts.append(result.text)
            elif result is not None:
                self.interims += 1
        if transcription_result is not None and transcription_result.vad_pre_end:
            self.expected_ends_ms.append(transcription_result.pre_end_end_time)

    def on_complete(self) -> None:
        self.calls.append("complete")

    def on_error(self, message: Any) -> None:
        self.calls.append(f"error {message}")

    def on_close(self) -> None:
        self.calls.append("close")


def translator(kind: Any, model: str, log: TranslationLog | None = None, **options: Any) -> Any:
    return kind(model=model, callback=log, **{"format": "pcm", "sample_rate": 16_000, **options})


async def test_the_translating_form_completes(point: Point) -> None:
    log = TranslationLog()
    async with serve(Scripted(TRANSLATED)) as emulator:
        point(emulator)
        await stream(translator(TranslationRecognizerRealtime, "gummy-realtime-v1", log, **TO_ENGLISH))
    assert log.calls == ["open", "complete", "close"]
    assert log.said == ["你好世界。", "再见。"]
    assert log.translated == ["Hello, big world.", "Good bye."]
    assert log.interims > 4


async def test_the_translating_form_only_transcribes_by_default(point: Point) -> None:
    log = TranslationLog()
    async with serve(Scripted(TRANSLATED)) as emulator:
        point(emulator)
        await stream(translator(TranslationRecognizerRealtime, "gummy-realtime-v1", log))
    assert (log.calls, log.said, log.translated) == (["open", "complete", "close"], ["你好世界。", "再见。"], [])


async def test_a_file_is_translated(point: Point, tmp_path: Path) -> None:
    path = tmp_path / "silence.pcm"
    path.write_bytes(FRAME * 22)
    async with serve(Scripted(TRANSLATED)) as emulator:
        point(emulator)
        recogniser = translator(TranslationRecognizerRealtime, "gummy-realtime-v1", **TO_ENGLISH)
        pack = await in_thread(recogniser.call, str(path))
    assert pack.error_message is None
    # the SDK puts a None into one list for each message of the other
    said = [result.text for result in pack.transcription_result_list if result is not None]
    translated = [result for result in pack.translation_result_list if result is not None]
    assert said == ["你好世界。", "再见。"]
    assert [result.get_translation("en").text for result in translated] == ["Hello, big world.", "Good bye."]


async def test_the_one_sentence_form_completes_and_takes_no_audio_after_its_sentence(point: Point) -> None:
    log = TranslationLog()
    recogniser = translator(TranslationRecognizerChat, "gummy-chat-v1", log, **TO_ENGLISH)

    def send_until_it_has_heard_enough() -> int:
        sent = 0
        while sent < 2_000 and recogniser.send_audio_frame(FRAME):
            sent += 1
            time.sleep(0.002)  # in a thread of its own; the results need time to come
        recogniser.stop()
        return sent

    async with serve(Scripted(TRANSLATED)) as emulator:
        point(emulator)
        recogniser.start()
        sent = await in_thread(send_until_it_has_heard_enough)
    assert 10 <= sent < 1_000
    assert log.calls == ["open", "complete", "close"]
    assert (log.said, log.translated, log.expected_ends_ms) == (["你好世界。"], ["Hello, big world."], [1000])


async def test_the_embedded_recogniser_hears_what_is_said(point: Point) -> None:
    pytest.importorskip("pocketsphinx")
    said = (RECORDINGS / "demo.txt").read_text(encoding="utf-8")
    async with serve("pocketsphinx") as emulator:
        point(emulator)
        result = await in_thread(recognition(format="wav").call, str(RECORDINGS / "demo.wav"))
    assert result.status_code == 200, result.message
    heard = " ".join(sentence["text"] for sentence in result.get_sentence())
    assert _words(heard) == _words(said)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
