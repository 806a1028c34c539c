"""The face of the DashScope SDK: reconnects, errors, figures, settings, hot words, and the events of Qwen."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from asr_async.emulator import Emulator, Scripted, serve
from asr_async.emulator.faults import Close, Cut, Fail, Fault, MuteFinish
from asr_async.emulator.positions import position_audio, position_of

from ..support.child_processes import child_environment
from ..support.threaded_server import in_a_thread
from .conftest import FACE, FRAME, OFFICIAL, SEGMENTS, Package, configure

CHINESE = [str(segment["text"]) for segment in SEGMENTS]
WAIT_S = 20
AUDIO = {"format": "pcm", "sample_rate": 16_000}
GUMMY = {"translation_enabled": True, "translation_target_languages": ["en"], **AUDIO}


def callback_class(package: Package) -> Any:
    class Callback(package.asr.RecognitionCallback):  # type: ignore[name-defined,misc]
        """A record of the calls."""

        def __init__(self) -> None:
            self.calls: list[str] = []
            self.results: list[Any] = []
            self.errors: list[Any] = []
            self.closed = threading.Event()

        def on_open(self) -> None:
            self.calls.append("open")

        def on_event(self, result: Any) -> None:
            self.results.append(result)

        def on_complete(self) -> None:
            self.calls.append("complete")

        def on_error(self, result: Any) -> None:
            self.calls.append("error")
            self.errors.append(result)

        def on_close(self) -> None:
            self.calls.append("close")
            self.closed.set()

        @property
        def sentences(self) -> list[dict[str, Any]]:
            sentences = [result.get_sentence() for result in self.results]
            return [sentence for sentence in sentences if package.asr.RecognitionResult.is_sentence_end(sentence)]

        @property
        def texts(self) -> list[str]:
            return [sentence["text"] for sentence in self.sentences]

    return Callback()


def recognition(package: Package, callback: Any = None, **options: Any) -> Any:
    return package.asr.Recognition(model="paraformer-realtime-v2", callback=callback, **{**AUDIO, **options})


def run(package: Package, frames: list[bytes] | None = None, *, pause_s: float = 0.0, **options: Any) -> Any:
    """Recognise frames with callbacks, and return the record of the calls."""
    callback = callback_class(package)
    made = recognition(package, callback, **options)
    made.start()
    for frame in [FRAME] * 22 if frames is None else frames:
        made.send_audio_frame(frame)
        time.sleep(pause_s)
    made.stop()
    return callback


# --- reconnects ------------------------------------------------------------------------------------------------------

WORDS = Scripted([(f"part {number}", 500 * number, 500 * number + 400) for number in range(8)], position=position_of)
POSITIONS = [position_audio(start_ms, start_ms + 100) for start_ms in range(0, 4_200, 100)]


def with_faults(package: Package, monkeypatch: pytest.MonkeyPatch, *faults: Fault, silence_s: float = 0.0) -> Any:
    """Run a recognition of numbered parts against an emulator with faults."""
    with in_a_thread(serve(WORDS, faults=faults)) as emulator:
        configure(package, emulator, monkeypatch)
        callback = callback_class(package)
        made = recognition(package, callback)
        made.start()
        try:
            for frame in POSITIONS:
                made.send_audio_frame(frame)
                time.sleep(silence_s)
            made.stop()
        except package.error.InvalidParameter:  # it has given up
            assert callback.closed.wait(WAIT_S)
            if package.prefix == OFFICIAL:
                made._silence_timer.cancel()  # it delays the exit by 23 s
    return callback


def test_a_cut_loses_nothing_where_the_official_package_loses_the_rest(
    face: Package, official: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = Cut(after_audio_ms=1_700, connection=1)
    ours = with_faults(face, monkeypatch, cut)
    theirs = with_faults(official, monkeypatch, cut, silence_s=0.003)
    assert ours.texts == [f"part {number}" for number in range(8)]
    assert ours.calls == ["open", "complete", "close"]
    assert len(theirs.texts) < 8
    assert (theirs.calls, theirs.errors[0].code) == (["open", "error", "close"], "Unknown")


def test_times_and_numbers_of_sentences_go_on_behind_a_cut(face: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = with_faults(face, monkeypatch, Cut(after_audio_ms=1_700, connection=1)).sentences
    assert [sentence["begin_time"] for sentence in sentences] == [500 * number for number in range(8)]
    assert [sentence["sentence_id"] for sentence in sentences] == list(range(1, 9))
    for sentence in sentences:
        assert sentence["sentence_end"] is True
        assert [word["text"] for word in sentence["words"]] == sentence["text"].split()
        assert sentence["words"][0]["begin_time"] == sentence["begin_time"]


def test_the_code_and_the_text_of_the_vendor_are_kept(face: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = with_faults(face, monkeypatch, Fail(code="InvalidParameter", message="no such thing", after_frames=3))
    (error,) = failed.errors
    assert (error.status_code, error.code, error.message) == (44, "InvalidParameter", "no such thing")
    assert error.request_id
    assert error.get_sentence() is None
    assert json.loads(str(error))["code"] == "InvalidParameter"


def test_a_close_code_is_kept(face: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = with_faults(face, monkeypatch, Close(code=1007, reason="Invalid payload data", after_frames=3))
    assert (closed.errors[0].status_code, closed.errors[0].code) == (-1, "1007")


def test_stop_ends_where_the_vendor_never_confirms(face: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    import asr_async.compat.dashscope.audio.asr._recogniser as module

    monkeypatch.setattr(module, "TIMEOUTS", module.TIMEOUTS.__class__(translation=0.001, finish=0.05))
    callback = with_faults(face, monkeypatch, MuteFinish())
    assert callback.calls[-1] == "close"
    assert "did not confirm the end" in callback.errors[0].message


# --- one session -----------------------------------------------------------------------------------------------------


def test_results_have_the_members_of_the_official_ones(face: Package, official: Package) -> None:
    ours, theirs = run(face, pause_s=0.002), run(official, pause_s=0.002)
    assert ours.texts == theirs.texts == CHINESE
    assert ours.calls == theirs.calls == ["open", "complete", "close"]
    for mine, other in zip(ours.results[-1:], theirs.results[-1:], strict=True):
        assert {*mine.get_sentence()} == {*other.get_sentence()}
        assert mine.get_sentence()["words"] == other.get_sentence()["words"]
        assert mine.get_usage(mine.get_sentence()) == other.get_usage(other.get_sentence()) == {"duration": 2}
        assert (mine.status_code, mine.code, mine.message) == (other.status_code, other.code, other.message)
        assert {*mine} == {*other} - {"headers"} | {"headers"}
        assert json.loads(str(mine))["output"]["sentence"]["text"] == CHINESE[-1]
        assert mine.get_request_id()
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            mine.nothing  # noqa: B018


def test_the_figures_are_known_at_the_end(face: Package) -> None:
    callback = callback_class(face)
    made = recognition(face, callback)
    first_id = made.get_last_request_id()
    assert (len(first_id), made.get_response()) == (32, None)
    made.start()
    for _ in range(22):
        made.send_audio_frame(memoryview(bytearray(FRAME)))
    made.stop()
    assert made.get_first_package_delay() > 0
    assert made.get_last_package_delay() > 0
    assert made.get_last_request_id() == callback.results[0].request_id != first_id
    assert made.get_response() is callback.results[-1]
    made.start()  # once more
    made.send_audio_frame(FRAME * 22)
    made.stop()
    assert callback.texts == CHINESE * 2


def test_a_session_without_audio_is_completed_and_closed(face: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face.asr.Recognition, "SILENCE_TIMEOUT_S", 0.05)
    callback = callback_class(face)
    made = recognition(face, callback)
    made.start()
    made.send_audio_frame(FRAME * 22)
    assert callback.closed.wait(WAIT_S)
    assert (callback.calls, callback.texts) == (["open", "complete", "close"], CHINESE)
    with pytest.raises(face.error.InvalidParameter, match="has stopped"):
        made.send_audio_frame(FRAME)


def test_stop_in_a_callback_delivers_the_rest_and_closes(face: Package) -> None:
    callback = callback_class(face)
    made = recognition(face, callback)
    callback.on_event = lambda result: (callback.results.append(result), made._running and made.stop())
    made.start()
    made.send_audio_frame(FRAME * 22)
    assert callback.closed.wait(WAIT_S)
    assert (callback.calls, callback.texts) == (["open", "complete", "close"], CHINESE)


def test_an_exception_of_a_callback_is_an_error(face: Package, caplog: pytest.LogCaptureFixture) -> None:
    callback = callback_class(face)

    def fail(result: Any) -> None:
        raise KeyError("text")

    callback.on_event = fail
    made = recognition(face, callback)
    made.start()
    made.send_audio_frame(FRAME * 22)
    assert callback.closed.wait(WAIT_S)
    assert (callback.errors[0].code, callback.errors[0].message) == ("KeyError", "a callback raised KeyError: 'text'")
    assert "a callback raised an exception" in caplog.text


def test_a_wrong_key_is_an_error_with_its_status(
    face: Package, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(face, emulator, monkeypatch, api_key="sk-wrong")
    callback = callback_class(face)
    made = recognition(face, callback)
    made.start()
    assert callback.closed.wait(WAIT_S)
    assert callback.calls == ["error", "close"]
    assert (callback.errors[0].status_code, callback.errors[0].code) == (401, "InvalidApiKey")


def test_a_file_is_recognised(face: Package, tmp_path: Path) -> None:
    path = tmp_path / "silence.pcm"
    path.write_bytes(FRAME * 22)
    made = recognition(face)
    result = made.call(str(path), language_hints=["zh"])
    assert [sentence["text"] for sentence in result.get_sentence()] == CHINESE
    assert all(result.get_usage(sentence) for sentence in result.get_sentence())
    assert result.usage == {"duration": 2}
    assert made.get_first_package_delay() > 0
    path.write_bytes(FRAME)
    failed = made.call(str(path))
    assert (failed.status_code, failed.code) == (44, "NO_VALID_AUDIO_ERROR")


def test_parameters_and_hot_words_are_sent(face: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    module = sys.modules["asr_async.compat.dashscope.audio.asr._recogniser"]

    class Recorded(module.CallbackSession):  # type: ignore[name-defined,misc]
        def __init__(self, callbacks: Any, service: Any, options: Any, **more: Any) -> None:
            sent.append(options)
            super().__init__(callbacks, service, options, **more)

    monkeypatch.setattr(module, "CallbackSession", Recorded)
    context = {"context": [{"role": "user", "content": [{"type": "input_text", "text": "SIS"}]}]}
    models: dict[str, dict[str, Any]] = {
        "paraformer-realtime-v2": {"max_sentence_silence": 800, "unknown": 1, "heartbeat": None},
        "paraformer-realtime-v1": {},
        "fun-asr-realtime": {"raw_input": context},
        "a-model-of-tomorrow": {"max_sentence_silence": "soon"},
    }
    for model, more in models.items():
        made = face.asr.Recognition(model, face.asr.RecognitionCallback(), "pcm", 16_000, None, True, **more)
        made.start("phrases", speaker_count=2, request_timeout=5)
        made.stop() if made._running else None
    v2, v1, fun, unknown = sent
    assert v2.parameters() == {
        "format": "pcm",
        "sample_rate": 16_000,
        "disfluency_removal_enabled": True,
        "max_sentence_silence": 800,
        "speaker_count": 2,
        "unknown": 1,
    }
    assert v1.phrase_id == "phrases"
    assert fun.context[0].text == "SIS"
    assert unknown.parameters()["max_sentence_silence"] == "soon"


@pytest.mark.parametrize("context", [{"other": []}, {"context": [{"role": "user"}]}, {"context": 5}])
def test_a_context_of_another_form_is_refused(face: Package, context: Any) -> None:
    made = face.asr.Recognition("fun-asr-realtime", face.asr.RecognitionCallback(), "pcm", 16_000, raw_input=context)
    with pytest.raises(face.error.InvalidParameter, match="Context must have the form"):
        made.start()


def test_the_context_of_a_running_task_is_updated(face: Package) -> None:
    callback = callback_class(face)
    made = face.asr.Recognition("fun-asr-realtime", callback, "pcm", 16_000)
    made.start()
    made.update_context({"context": [{"role": "user", "content": [{"type": "input_text", "text": "SIS"}]}]})
    made.send_audio_frame(FRAME * 22)
    made.stop()
    assert callback.texts == CHINESE


# --- translation -----------------------------------------------------------------------------------------------------


def translation_log(package: Package) -> Any:
    class Callback(package.asr.TranslationRecognizerCallback):  # type: ignore[name-defined,misc]
        """A record of the final texts."""

        def __init__(self) -> None:
            self.calls: list[str] = []
            self.texts: list[str] = []
            self.translations: list[str] = []
            self.ends: list[int] = []
            self.usages: list[Any] = []

        def on_event(self, request_id: str, transcription: Any, translation: Any, usage: Any) -> None:
            assert request_id
            if transcription is not None and transcription.is_sentence_end:
                self.texts.append(transcription.text)
                assert transcription.words[0].text
                assert transcription.words[0].fixed
                assert str(transcription).startswith("Transcriptions: {")
                self.usages.append(usage)
            if transcription is not None and transcription.vad_pre_end:
                self.ends.append(transcription.pre_end_end_time)
            if translation is not None and translation.is_sentence_end:
                assert translation.get_language_list() == ["en"]
                self.translations.append(translation.get_translation("en").text)
                assert translation.get_translation("xx") is None
                assert str(translation).startswith("TranslationList: [")

        def on_complete(self) -> None:
            self.calls.append("complete")

        def on_error(self, message: Any) -> None:
            self.calls.append(str(message))

        def on_close(self) -> None:
            self.calls.append("close")

    return Callback()


def test_a_translation_is_delivered_beside_the_text(face: Package) -> None:
    callback = translation_log(face)
    made = face.asr.TranslationRecognizerRealtime("gummy-realtime-v1", callback, **GUMMY)
    made.start()
    made.send_audio_frame(FRAME * 22)
    made.stop()
    assert (callback.texts, callback.translations) == (CHINESE, ["Hello, big world.", "Good bye."])
    assert callback.calls == ["complete", "close"]


def test_a_file_is_translated(face: Package, tmp_path: Path) -> None:
    path = tmp_path / "silence.pcm"
    path.write_bytes(FRAME * 22)
    made = face.asr.TranslationRecognizerRealtime("gummy-realtime-v1", None, **GUMMY)
    pack = made.call(str(path))
    assert pack.error_message is None
    assert [part.text for part in pack.transcription_result_list if part is not None] == CHINESE
    translations = [part.get_translation("en").text for part in pack.translation_result_list if part is not None]
    assert translations == ["Hello, big world.", "Good bye."]
    assert len(pack.usage_list) == len(pack.transcription_result_list) == len(pack.translation_result_list)
    path.write_bytes(FRAME)
    assert made.call(str(path)).error_message.code == "NO_VALID_AUDIO_ERROR"


def test_a_chat_object_recognises_a_sentence_after_each_start(face: Package) -> None:
    callback = translation_log(face)
    made = face.asr.TranslationRecognizerChat("gummy-chat-v1", callback, **GUMMY)
    for _ in range(2):
        made.start()
        sent = 0
        while made.send_audio_frame(FRAME):
            sent += 1
            time.sleep(0.002)
        made.stop()
        assert sent >= 10
    assert callback.texts == CHINESE[:1] * 2
    assert callback.ends == [1000, 1000]


def test_values_without_members_are_read(face: Package) -> None:
    part = face.asr.TranscriptionResult.from_json({"text": "a", "stash": {"text": "b"}})
    assert (part.text, part.begin_time, part.words, part.stash.text) == ("a", None, [], "b")
    with pytest.raises(face.error.InvalidParameter, match="Invalid translation json data: 5"):
        face.asr.TranslationResult.from_json([5])


# --- hot words -------------------------------------------------------------------------------------------------------


def test_a_vocabulary_is_created_read_updated_and_deleted(face: Package) -> None:
    words = [{"text": "Seediq Bale", "weight": 4, "lang": "en"}]
    service = face.asr.VocabularyService()
    created = service.create_vocabulary("paraformer-realtime-v2", "terms", words)
    assert created.startswith("vocab-terms-")
    assert [table["vocabulary_id"] for table in service.list_vocabularies(prefix="terms")] == [created]
    assert service.query_vocabulary(created)["vocabulary"] == words
    service.update_vocabulary(created, [{"text": "b", "weight": 1}])
    assert service.query_vocabulary(created)["vocabulary"] == [{"text": "b", "weight": 1}]
    service.delete_vocabulary(created)
    assert service.list_vocabularies() == []
    assert service.get_last_request_id()
    with pytest.raises(face.asr.VocabularyServiceException, match="Status Code: 404, Code: NotFound"):
        service.query_vocabulary("vocab-x")
    with pytest.raises(face.asr.VocabularyServiceException, match="Status Code: 401, Code: InvalidApiKey"):
        face.asr.VocabularyService(api_key="sk-wrong", workspace="ws").list_vocabularies()


def test_a_request_without_a_network_is_an_exception(face: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    import asr_async.compat.dashscope.audio.asr.vocabulary as module

    monkeypatch.setattr(module, "RETRY_S", 0.0)
    monkeypatch.setattr(face.settings, "base_http_api_url", "http://127.0.0.1:1/api/v1")
    with pytest.raises(face.asr.VocabularyServiceException, match="Status Code: -1, Code: ConnectionLostError"):
        face.asr.VocabularyService().list_vocabularies()


def test_phrases_are_created_read_updated_and_deleted(face: Package) -> None:
    manager = face.asr.AsrPhraseManager
    created = manager.create_phrases("paraformer-realtime-v1", {"通义千问": 5})
    assert created.status_code == 200, created.message
    phrase_id = created.output.finetuned_output
    assert manager.update_phrases("paraformer-realtime-v1", phrase_id, {"下一首": -6}).status_code == 200
    assert manager.query_phrases(phrase_id).output["model"] == "paraformer-realtime-v1"
    assert [one["finetuned_output"] for one in manager.list_phrases().output["finetuned_outputs"]] == [phrase_id]
    assert manager.delete_phrases(phrase_id).status_code == 200
    gone = manager.query_phrases(phrase_id)
    assert (gone.status_code, gone.code) == (404, "NotFound")
    with pytest.raises(face.error.InvalidParameter, match="phrase_id is empty!"):
        manager.delete_phrases("")


def test_transcription_is_the_class_of_the_official_package(
    face: Package, official: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert face.asr.Transcription.async_call == official.asr.Transcription.async_call
    monkeypatch.setitem(sys.modules, "dashscope", None)
    with pytest.raises(ImportError, match="pip install dashscope"):
        face.asr.Transcription.async_call(model="paraformer-v2", file_urls=[])


# --- settings --------------------------------------------------------------------------------------------------------


def test_the_settings_begin_with_the_environment_and_name_regions(tmp_path: Path) -> None:
    code = """
from asr_async.compat import dashscope
print(dashscope.api_key, dashscope.base_websocket_api_url, dashscope.base_http_api_url)
dashscope.set_region("cn-beijing", "ws-2")
print(dashscope.base_websocket_api_url)
dashscope.save_api_key("sk-saved", "keys/key")
from pathlib import Path
print(Path("keys/key").read_text(), oct(Path("keys/key").stat().st_mode & 0o777))
import sys
print("aiohttp" in sys.modules, "dashscope" in sys.modules)
"""
    environment = {**child_environment(), "DASHSCOPE_API_KEY": "sk-1", "DASHSCOPE_API_REGION": "ap-southeast-1"}
    completed = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    host = "{workspace_id}.ap-southeast-1.maas.aliyuncs.com"
    assert completed.stdout.splitlines() == [
        f"sk-1 wss://{host}/api-ws/v1/inference https://{host}/api/v1",
        "wss://ws-2.cn-beijing.maas.aliyuncs.com/api-ws/v1/inference",
        "sk-saved 0o600",
        "False False",
    ]


def test_a_key_comes_from_the_file_that_the_program_names(
    face: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text("sk-test\n", encoding="utf-8")
    monkeypatch.delenv("DASHSCOPE_API_KEY")
    monkeypatch.setattr(face.settings, "api_key", None)
    monkeypatch.setattr(face.settings, "api_key_file_path", str(path))
    assert run(face).texts == CHINESE
    assert face.asr.VocabularyService().list_vocabularies() == []


def test_malformed_arguments_of_a_request_are_refused(face: Package) -> None:
    made = recognition(face, face.asr.RecognitionCallback(), base_address="no url")
    with pytest.raises(face.error.InvalidParameter, match="endpoint="):
        made.start()
    with pytest.raises(face.error.InvalidParameter, match="Timeouts"):
        recognition(face, face.asr.RecognitionCallback(), request_timeout=-1).start()


# --- Qwen ------------------------------------------------------------------------------------------------------------


def conversation(package: Package, emulator: Emulator, **options: Any) -> tuple[Any, Any]:
    class Callback(package.omni.OmniRealtimeCallback):  # type: ignore[name-defined,misc]
        """A record of the messages."""

        def __init__(self) -> None:
            self.calls: list[Any] = []
            self.messages: list[dict[str, Any]] = []
            self.closed = threading.Event()

        def on_open(self) -> None:
            self.calls.append("open")

        def on_event(self, message: dict[str, Any]) -> None:
            self.messages.append(message)

        def on_close(self, close_status_code: Any, close_msg: Any) -> None:
            self.calls.append(close_status_code)
            self.closed.set()

        @property
        def texts(self) -> list[str]:
            return [message["transcript"] for message in self.messages if "transcript" in message]

        @property
        def names(self) -> list[str]:
            return list(dict.fromkeys(message["type"] for message in self.messages))

    callback = Callback()
    url = emulator.dashscope_url.replace("inference", "realtime")
    made = package.omni.OmniRealtimeConversation(
        model="qwen3-asr-flash-realtime", callback=callback, url=url, api_key="sk-test", **options
    )
    return made, callback


def append(made: Any, frames: int = 32, *, pause_s: float = 0.0) -> None:
    for _ in range(frames):
        made.append_audio(base64.b64encode(FRAME).decode())
        time.sleep(pause_s)


def test_a_conversation_has_the_messages_of_the_vendor(face: Package, emulator: Emulator) -> None:
    made, callback = conversation(face, emulator)
    made.connect()
    params = face.omni.TranscriptionParams(language="zh", corpus_text="a talk", input_audio_format="pcm")
    made.update_session([face.omni.MultiModality.TEXT], transcription_params=params, turn_detection_threshold=0.3)
    append(made, pause_s=0.003)
    made.end_session()
    made.close()
    assert callback.texts == CHINESE
    assert sorted(callback.names) == [
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.input_audio_transcription.text",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "session.created",
        "session.finished",
        "session.updated",
    ]
    assert callback.calls == ["open", 1000]
    assert made.get_session_id().startswith("sess_")
    assert made.get_last_message() == {"type": "session.finished"}
    assert [made.get_last_response_id(), made.get_last_first_text_delay(), made.get_last_first_audio_delay()] == [
        None
    ] * 3
    made.end_session()  # nothing is left to do


def test_an_utterance_ends_by_a_commit(face: Package, emulator: Emulator) -> None:
    made, callback = conversation(face, emulator)
    made.connect()
    made.update_session([face.omni.MultiModality.TEXT], enable_turn_detection=False)
    append(made, 22)
    made.commit()
    made.end_session_async()
    assert callback.closed.wait(WAIT_S)
    assert "".join(callback.texts) == "".join(CHINESE)


def test_a_conversation_that_cannot_be_opened_is_a_timeout_with_the_reason(face: Package, emulator: Emulator) -> None:
    made, callback = conversation(face, emulator)
    made._request["api_key"] = "sk-wrong"
    with pytest.raises(TimeoutError, match="could not established: HTTP 401"):
        made.connect()
    assert callback.closed.wait(WAIT_S)
    assert callback.messages[0]["error"]["code"] == "InvalidApiKey"
    assert callback.calls == [1006]


def test_the_options_cannot_change_behind_the_audio(face: Package, emulator: Emulator) -> None:
    made, callback = conversation(face, emulator)
    made.connect()
    append(made, 1)
    with pytest.raises(face.error.InvalidParameter, match="before the audio"):
        made.update_session([face.omni.MultiModality.TEXT])
    made.close()
    assert callback.closed.wait(WAIT_S)


def test_the_end_of_a_conversation_has_a_deadline(face: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_a_thread(serve(Scripted(SEGMENTS), faults=[MuteFinish()])) as emulator:
        made, callback = conversation(face, emulator)
        made.connect()
        append(made, 3)
        with pytest.raises(TimeoutError, match=r"Session end timeout after 0\.1 seconds"):
            made.end_session(timeout=0.1)
        assert callback.closed.wait(WAIT_S)


def test_an_error_of_the_vendor_ends_a_conversation(face: Package) -> None:
    with in_a_thread(serve(Scripted(SEGMENTS), faults=[Fail(at="finish", code="invalid_value")])) as emulator:
        made, callback = conversation(face, emulator)
        made.connect()
        append(made, 3)
        with pytest.raises(RuntimeError, match=r"Session ended with error: .*invalid_value"):
            made.end_session()
        assert callback.closed.wait(WAIT_S)


def test_the_parts_of_dialogues_are_refused(face: Package, emulator: Emulator) -> None:
    with pytest.raises(face.error.UnsupportedModel, match="official package"):
        face.omni.OmniRealtimeConversation("qwen3-omni-flash-realtime", face.omni.OmniRealtimeCallback())
    made, _ = conversation(face, emulator)
    calls: dict[str, list[Any]] = {
        "append_video": [""],
        "clear_appended_audio": [],
        "create_item": [{}],
        "create_response": [],
        "cancel_response": [],
        "send_raw": [""],
    }
    for name, arguments in calls.items():
        with pytest.raises(face.error.UnsupportedTask, match=rf"{name}\(\) is not available"):
            getattr(made, name)(*arguments)


def test_malformed_audio_and_options_are_refused(face: Package, emulator: Emulator) -> None:
    made, callback = conversation(face, emulator)
    made.connect()
    with pytest.raises(face.error.InvalidParameter, match="audio as base64 text"):
        made.append_audio("no base64!")
    config = face.omni.AudioFormatConfig(face.omni.AudioFormatType.PCM, face.omni.AudioSampleRate.SAMPLE_RATE_8K)
    assert config.to_dict() == {"type": "pcm", "sample_rate": 8000}
    with pytest.raises(face.error.InvalidParameter, match="sample_rate"):
        config.sample_rate = "fast"
        config.to_dict = lambda: {"type": "pcm", "sample_rate": "fast"}
        made.update_session([face.omni.MultiModality.TEXT], input_audio_config=config)
    made.close()
    assert callback.closed.wait(WAIT_S)
    assert str(face.omni.AudioFormatType.WAV) == "wav"
    assert str(face.omni.MultiModality.TEXT) == "TEXT"
    assert str(face.omni.AudioFormat.PCM_16000HZ_MONO_16BIT).startswith("PCM with 16000Hz")


# --- event loops -----------------------------------------------------------------------------------------------------


async def test_a_program_with_an_event_loop_is_not_blocked_by_start(face: Package) -> None:
    loop = asyncio.get_running_loop()
    texts: asyncio.Queue[str] = asyncio.Queue()
    callback = callback_class(face)

    def put(result: Any) -> None:
        sentence = result.get_sentence()
        if face.asr.RecognitionResult.is_sentence_end(sentence):
            loop.call_soon_threadsafe(texts.put_nowait, sentence["text"])

    callback.on_event = put
    made = recognition(face, callback)
    made.start()
    made.send_audio_frame(FRAME * 22)
    async with asyncio.timeout(WAIT_S):
        assert await texts.get() == CHINESE[0]
        await asyncio.to_thread(made.stop)
    assert callback.calls == ["open", "complete", "close"]


def test_the_modules_of_the_sdk_have_their_names() -> None:
    from asr_async.compat import dashscope

    assert dashscope.audio.asr.Recognition.__module__.startswith(FACE)
    namespace: dict[str, Any] = {}
    exec("from asr_async.compat.dashscope.audio.asr import *", namespace)
    assert {"Recognition", "Transcription", "VocabularyService"} <= {*namespace}
