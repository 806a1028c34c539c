"""The official DashScope SDK, unmodified, as a client of the emulator.

The emulator and the codecs could share a mistake; the SDK does not. It is synchronous and has threads and event loops
of its own, so its blocking calls run in a thread. Only `start()`, which does not wait, is called in the emulator's
thread, so that the emulator cannot answer before it returns. It has a race (2.0.2) that it does not lose over a real
network: if the answer arrives before `start()` has marked the object as running, the task ends without its audio, or
`start()` raises `InvalidTask`.
"""

from __future__ import annotations

import re
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from asr_async.vendors.dashscope.models import MODEL_ROWS

from ..support.paths import RECORDINGS
from ..support.threads import run_in_thread

FRAME = bytes(3_200)
SCRIPT = (("Hello, big world.", 100, 1000), ("Good bye.", 1400, 2000))
TEXTS = [text for text, _, _ in SCRIPT]

pytestmark = pytest.mark.usefixtures("no_proxy_for_loopback")

ConfigureSdk = Callable[..., None]


@pytest.fixture
def configure_sdk(monkeypatch: pytest.MonkeyPatch) -> ConfigureSdk:
    """Return a function that sets the SDK's global endpoints and key for an emulator, until the test ends."""

    def configure(emulator: Emulator, *, api_key: str = "sk-test") -> None:
        monkeypatch.setattr(dashscope, "api_key", api_key)
        monkeypatch.setattr(dashscope, "base_websocket_api_url", emulator.dashscope_url)
        monkeypatch.setattr(dashscope, "base_http_api_url", emulator.dashscope_http_url)

    return configure


class CallbackLog(RecognitionCallback):
    """A record of the SDK's calls."""

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
    """Run a task with callbacks: start, send silent frames, stop."""

    def send_and_stop() -> None:
        for _ in range(frames):
            recogniser.send_audio_frame(FRAME)
        recogniser.stop()

    recogniser.start(**start)
    await run_in_thread(send_and_stop)


async def test_a_file_is_recognised(configure_sdk: ConfigureSdk, tmp_path: Path) -> None:
    path = tmp_path / "silence.pcm"
    path.write_bytes(FRAME * 22)
    async with serve(Scripted(SCRIPT)) as emulator:
        configure_sdk(emulator)
        result = await run_in_thread(recognition().call, str(path))
    assert result.status_code == 200
    sentences = result.get_sentence()
    assert [sentence["text"] for sentence in sentences] == TEXTS
    assert [(sentence["begin_time"], sentence["end_time"]) for sentence in sentences] == [(100, 1000), (1400, 2000)]
    words = [(word["text"], word["punctuation"]) for sentence in sentences for word in sentence["words"]]
    assert words == [("Hello", ","), ("big", ""), ("world", "."), ("Good", ""), ("bye", ".")]
    assert [result.get_usage(sentence) for sentence in sentences] == [{"duration": 2}, {"duration": 2}]


async def test_a_wav_file_is_recognised(configure_sdk: ConfigureSdk, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(16_000 * 3))
    async with serve(Scripted(SCRIPT)) as emulator:
        configure_sdk(emulator)
        result = await run_in_thread(recognition(format="wav", sample_rate=8_000).call, str(path))
    assert [sentence["text"] for sentence in result.get_sentence()] == TEXTS


async def test_a_task_with_callbacks_completes(configure_sdk: ConfigureSdk) -> None:
    log = CallbackLog()
    recogniser = recognition(log)
    async with serve(Scripted(SCRIPT)) as emulator:
        configure_sdk(emulator)
        await stream(recogniser, language_hints=["en"], heartbeat=True)
    assert log.calls == ["open", "complete", "close"]
    assert [sentence["text"] for sentence in log.finals] == TEXTS
    assert log.interims[0] == "Hello,"
    assert len(recogniser.get_last_request_id()) == 32


async def test_two_recognitions_complete_one_after_the_other(configure_sdk: ConfigureSdk) -> None:
    logs = [CallbackLog(), CallbackLog()]
    async with serve(Scripted(SCRIPT)) as emulator:
        configure_sdk(emulator)
        for log in logs:
            await stream(recognition(log))
    for log in logs:
        assert log.calls == ["open", "complete", "close"]
        assert [sentence["text"] for sentence in log.finals] == TEXTS


async def test_a_recognition_can_be_started_again_with_its_task_id(configure_sdk: ConfigureSdk) -> None:
    log = CallbackLog()
    recogniser = recognition(log)
    async with serve(Scripted(SCRIPT)) as emulator:
        configure_sdk(emulator)
        await stream(recogniser)
        await stream(recogniser, frames=12)
    assert log.calls == ["open", "complete", "close"] * 2
    assert [sentence["text"] for sentence in log.finals] == [*TEXTS, TEXTS[0]]


@pytest.mark.parametrize("model", [name for name, row in MODEL_ROWS.items() if row.context])
async def test_the_context_of_a_continue_task_is_accepted(configure_sdk: ConfigureSdk, model: str) -> None:
    log = CallbackLog()
    recogniser = recognition(log, model=model)
    async with serve(Scripted(SCRIPT)) as emulator:
        configure_sdk(emulator)
        recogniser.start()
        recogniser.send_audio_frame(FRAME * 11)
        recogniser.update_context({"context": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]})
        recogniser.send_audio_frame(FRAME * 11)
        await run_in_thread(recogniser.stop)
    assert log.calls == ["open", "complete", "close"]
    assert [sentence["text"] for sentence in log.finals] == TEXTS


async def test_a_wrong_key_is_reported_as_an_error_401(configure_sdk: ConfigureSdk) -> None:
    log = CallbackLog()
    recogniser = recognition(log)
    async with serve(Scripted(SCRIPT), api_keys={"sk-right"}) as emulator:
        configure_sdk(emulator, api_key="sk-wrong")
        recogniser.start()
        await run_in_thread(recogniser._worker.join)
    recogniser._silence_timer.cancel()  # the SDK leaves it running after an error; it delays the exit by 23 s
    assert log.calls == ["open", "error", "close"]
    assert log.errors[0].status_code == 401


async def test_a_failed_task_is_reported_with_code_and_message(configure_sdk: ConfigureSdk, tmp_path: Path) -> None:
    path = tmp_path / "silence.pcm"
    path.write_bytes(FRAME)
    async with serve(Scripted([("later", 5000, 6000)])) as emulator:
        configure_sdk(emulator)
        result = await run_in_thread(recognition().call, str(path))
    assert (result.status_code, result.code) == (44, "NO_VALID_AUDIO_ERROR")
    assert result.message == "no valid audio was received"


# --- hot words and keys ----------------------------------------------------------------------------------------------


async def test_a_vocabulary_is_created_read_updated_and_deleted(configure_sdk: ConfigureSdk) -> None:
    words = [{"text": "Seediq Bale", "weight": 4, "lang": "en"}]

    def use_sdk() -> None:
        service: Any = VocabularyService()
        created = service.create_vocabulary("paraformer-realtime-v2", "terms", words)
        assert created.startswith("vocab-terms-")
        (listed,) = service.list_vocabularies(prefix="terms")
        assert (listed["vocabulary_id"], listed["status"]) == (created, "OK")
        assert service.list_vocabularies(page_index=1) == []
        assert service.list_vocabularies(prefix="other") == []
        table = service.query_vocabulary(created)
        assert (table["target_model"], table["vocabulary"]) == ("paraformer-realtime-v2", words)
        service.update_vocabulary(created, [{"text": "b", "weight": 1}])
        table = service.query_vocabulary(created)
        assert table["vocabulary"] == [{"text": "b", "weight": 1}]
        service.delete_vocabulary(created)
        assert service.list_vocabularies() == []
        assert service.get_last_request_id()

    async with serve(Scripted([])) as emulator:
        configure_sdk(emulator)
        await run_in_thread(use_sdk)


async def test_an_invalid_vocabulary_request_is_reported_with_status_and_code(configure_sdk: ConfigureSdk) -> None:
    async with serve(Scripted([]), api_keys={"sk-test"}) as emulator:
        configure_sdk(emulator)
        service = VocabularyService()
        with pytest.raises(VocabularyServiceException, match="Status Code: 404, Code: NotFound"):
            await run_in_thread(service.query_vocabulary, "vocab-x")
        with pytest.raises(VocabularyServiceException, match=r"Status Code: 400, Code: InvalidParameter.*weight 9"):
            await run_in_thread(
                service.create_vocabulary, "fun-asr-realtime", "terms", [{"text": "a", "weight": 9, "lang": "en"}]
            )
        with pytest.raises(VocabularyServiceException, match="Status Code: 401, Code: InvalidApiKey"):
            await run_in_thread(VocabularyService(api_key="sk-wrong").list_vocabularies)


async def test_phrases_are_created_read_updated_and_deleted(configure_sdk: ConfigureSdk) -> None:
    def use_sdk() -> None:
        created = AsrPhraseManager.create_phrases(model="paraformer-realtime-v1", phrases={"通义千问": 5})
        assert created.status_code == 200, created.message
        phrase_id = created.output["finetuned_output"]
        assert created.output["status"] == "SUCCEEDED"
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
        configure_sdk(emulator)
        await run_in_thread(use_sdk)


async def test_the_sdk_uses_hot_words_and_a_temporary_key_of_this_package(
    configure_sdk: ConfigureSdk,
) -> None:
    segment = {"text": "Seediq Bale.", "start_ms": 0, "end_ms": 1000, "variants": {"Seediq Bale": "seat a bail"}}
    async with serve(Scripted([segment]), api_keys={"sk-right"}) as emulator:
        ours = DashScope("sk-right", endpoint=emulator.dashscope_url)
        created = await ours.vocabularies.create(["Seediq Bale"], name="films", model="paraformer-realtime-v2")
        configure_sdk(emulator, api_key=(await ours.temporary_key()).value)
        with_table, without = CallbackLog(), CallbackLog()
        await stream(recognition(with_table), vocabulary_id=created)
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
    """A record of the SDK's calls, with the texts of finals only."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.texts: list[str] = []
        self.translations: list[str] = []
        self.expected_ends_ms: list[int] = []
        self.interims = 0

    def on_open(self) -> None:
        self.calls.append("open")

    def on_event(self, request_id: str, transcription_result: Any, translation_result: Any, usage: Any) -> None:
        translation = translation_result and translation_result.get_translation("en")
        for result, texts in ((transcription_result, self.texts), (translation, self.translations)):
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


async def test_a_translating_task_completes(configure_sdk: ConfigureSdk) -> None:
    log = TranslationLog()
    async with serve(Scripted(TRANSLATED)) as emulator:
        configure_sdk(emulator)
        await stream(translator(TranslationRecognizerRealtime, "gummy-realtime-v1", log, **TO_ENGLISH))
    assert log.calls == ["open", "complete", "close"]
    assert log.texts == ["你好世界。", "再见。"]
    assert log.translations == ["Hello, big world.", "Good bye."]
    assert log.interims > 4


async def test_a_translating_task_only_transcribes_by_default(configure_sdk: ConfigureSdk) -> None:
    log = TranslationLog()
    async with serve(Scripted(TRANSLATED)) as emulator:
        configure_sdk(emulator)
        await stream(translator(TranslationRecognizerRealtime, "gummy-realtime-v1", log))
    assert (log.calls, log.texts, log.translations) == (["open", "complete", "close"], ["你好世界。", "再见。"], [])


async def test_a_file_is_translated(configure_sdk: ConfigureSdk, tmp_path: Path) -> None:
    path = tmp_path / "silence.pcm"
    path.write_bytes(FRAME * 22)
    async with serve(Scripted(TRANSLATED)) as emulator:
        configure_sdk(emulator)
        recogniser = translator(TranslationRecognizerRealtime, "gummy-realtime-v1", **TO_ENGLISH)
        pack = await run_in_thread(recogniser.call, str(path))
    assert pack.error_message is None
    # for each message in one list, the SDK appends a None to the other
    texts = [result.text for result in pack.transcription_result_list if result is not None]
    translations = [result for result in pack.translation_result_list if result is not None]
    assert texts == ["你好世界。", "再见。"]
    assert [result.get_translation("en").text for result in translations] == ["Hello, big world.", "Good bye."]


async def test_a_one_sentence_task_accepts_no_audio_after_its_sentence(
    configure_sdk: ConfigureSdk,
) -> None:
    log = TranslationLog()
    recogniser = translator(TranslationRecognizerChat, "gummy-chat-v1", log, **TO_ENGLISH)

    def send_until_the_sentence_ends() -> int:
        sent = 0
        while sent < 2_000 and recogniser.send_audio_frame(FRAME):
            sent += 1
            time.sleep(0.002)  # this thread is not the event loop's; the results need time to arrive
        recogniser.stop()
        return sent

    async with serve(Scripted(TRANSLATED)) as emulator:
        configure_sdk(emulator)
        recogniser.start()
        sent = await run_in_thread(send_until_the_sentence_ends)
    assert 10 <= sent < 1_000
    assert log.calls == ["open", "complete", "close"]
    assert (log.texts, log.translations, log.expected_ends_ms) == (["你好世界。"], ["Hello, big world."], [1000])


async def test_the_embedded_recogniser_transcribes_a_recording(configure_sdk: ConfigureSdk) -> None:
    spoken = (RECORDINGS / "demo.txt").read_text(encoding="utf-8")
    async with serve("moonshine") as emulator:
        configure_sdk(emulator)
        result = await run_in_thread(recognition(format="wav").call, str(RECORDINGS / "demo.wav"))
    assert result.status_code == 200, result.message
    recognised = " ".join(sentence["text"] for sentence in result.get_sentence())
    assert _words(recognised) == _words(spoken)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
