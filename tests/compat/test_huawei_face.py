"""The classes of Huawei's official SDK on this library: the printed program, misuse, errors, and what is better."""

from __future__ import annotations

import inspect
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asr_async.compat.huaweicloud_sis.bean.callback import RasrCallBack
from asr_async.compat.huaweicloud_sis.bean.hot_word_request import HotWordRequest
from asr_async.compat.huaweicloud_sis.bean.rasr_request import RasrRequest
from asr_async.compat.huaweicloud_sis.bean.sis_config import SisConfig
from asr_async.compat.huaweicloud_sis.client.hot_word_client import HotWordClient
from asr_async.compat.huaweicloud_sis.client.rasr_client import RasrClient
from asr_async.compat.huaweicloud_sis.exception.exceptions import ClientException, ServerException
from asr_async.emulator import Emulator, Scripted, serve
from asr_async.emulator.faults import Cut, Fault
from asr_async.emulator.positions import position_audio, position_of

from ..support.threaded_server import in_a_thread

PROGRAM = Path(__file__).parent.parent / "witnesses" / "programs" / "huawei_sdk.txt"
SEGMENTS = [("你好世界。", 100, 1_000), ("再见。", 1_400, 2_000)]
TEXTS = [text for text, _, _ in SEGMENTS]
SPEECH = bytes(8 * 4_400 + 2)
"""2.2 s at 8 kHz, and one sample more: a last message that is smaller than the documents allow."""

KEYS = {"ak": "any", "sk": "key", "use_aksk": True, "region": "cn-north-4", "project_id": "p1"}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with in_a_thread(serve(Scripted(SEGMENTS))) as running:
        yield running


class Log(RasrCallBack):
    """A record of the callbacks."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.texts: list[str] = []
        self.errors: list[Any] = []

    def on_open(self) -> None:
        self.calls.append("open")

    def on_start(self, message: str) -> None:
        assert re.fullmatch(r"trace id is [0-9a-f-]{36}", message)
        self.calls.append("start")

    def on_response(self, message: dict[str, Any]) -> None:
        (segment,) = message["segments"]
        assert message["resp_type"] == "RESULT"
        if segment["is_final"]:
            self.texts.append(segment["result"]["text"])

    def on_event(self, event: str) -> None:
        self.calls.append(event)

    def on_end(self, message: str) -> None:
        assert message.startswith("trace id is ")
        self.calls.append("end")

    def on_close(self) -> None:
        self.calls.append("close")

    def on_error(self, error: object) -> None:
        self.calls.append("error")
        self.errors.append(error)


def client(emulator: Emulator, callback: RasrCallBack, **arguments: Any) -> RasrClient:
    return RasrClient(**{**KEYS, "service_endpoint": emulator.huawei_url, "callback": callback, **arguments})


def request(**options: Any) -> RasrRequest:
    made = RasrRequest("pcm8k16bit", "chinese_8k_general")
    made.set_add_punc("yes")
    for name, value in options.items():
        getattr(made, f"set_{name}")(value)
    return made


def recognise(made: RasrClient, audio: bytes = SPEECH) -> None:
    made.send_start()
    made.send_audio(audio, 4_000, 0)
    made.send_end()


# --- programs ---------------------------------------------------------------------------------------------------------


def test_the_printed_program_runs_with_another_prefix(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speech.pcm").write_bytes(SPEECH)
    program = PROGRAM.read_text(encoding="utf-8").replace(
        "from huaweicloud_sis", "from asr_async.compat.huaweicloud_sis"
    )
    values = {
        "ak": "any",
        "sk": "key",
        "region": "cn-north-4",
        "project_id": "any",
        "path": str(tmp_path / "speech.pcm"),
        "audio_format": "pcm8k16bit",
        "property": "chinese_8k_common",
    }
    for name, value in values.items():
        program = re.sub(rf"^{name} = ''", f"{name} = {value!r}", program, count=1, flags=re.MULTILINE)
    program = program.replace("config=config", f"service_endpoint={emulator.huawei_url!r}, config=config")
    program = program.replace("send_audio(data)", "send_audio(data, sleep_time=0.001)")
    exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    places = [
        printed.index(words)
        for words in (
            "websocket connect success",
            "webscoket start to recognize, trace id is ",
            TEXTS[0],
            TEXTS[1],
            "websocket is ended, trace id is ",
            "websocket is closed",
        )
    ]
    assert places == sorted(places)
    assert "error" not in printed


@pytest.mark.parametrize("mode", ["continue", "sentence", "short"])
def test_each_mode_and_several_tasks_on_one_client(emulator: Emulator, mode: str) -> None:
    log = Log()
    made = client(emulator, log)
    getattr(made, f"{mode}_stream_connect")(request())
    for _ in range(2):
        recognise(made)
    made.close()
    made.close()
    events = ["VOICE_START", "VOICE_END"] if mode == "sentence" else []
    assert log.calls == ["open", *(["start", *events, "end"] * 2), "close"]
    texts = {"continue": TEXTS, "sentence": TEXTS[:1], "short": ["".join(TEXTS)]}[mode]
    assert log.texts == texts * 2


def test_a_user_and_a_password_request_a_token(emulator: Emulator) -> None:
    log = Log()
    made = RasrClient(
        "user",
        "password",
        "domain",
        "cn-north-4",
        "p1",
        log,
        SisConfig(),
        emulator.huawei_url,
        f"{emulator.url}/v3/auth/tokens",
    )
    made.continue_stream_connect(request())
    recognise(made)
    made.close()
    assert log.texts == TEXTS


async def test_a_program_with_an_event_loop_may_block_it_as_with_the_original(emulator: Emulator) -> None:
    log = Log()
    made = client(emulator, log)
    made.continue_stream_connect(request())
    recognise(made)
    made.close()
    assert (log.calls, log.texts) == (["open", "start", "end", "close"], TEXTS)


def test_a_request_that_changes_behind_the_connection_is_the_one_that_is_sent(emulator: Emulator) -> None:
    log = Log()
    made, changing = client(emulator, log), request()
    made.continue_stream_connect(changing)
    changing.set_add_punc("no")
    recognise(made)
    made.close()
    assert log.texts == ["你好世界", "再见"]
    assert log.calls == ["open", "start", "end", "close"]


def test_a_cut_in_the_middle_loses_no_word() -> None:
    log = Log()
    faults: list[Fault] = [Cut(connection=1, after_audio_ms=1_200)]
    with in_a_thread(serve(Scripted(SEGMENTS, position=position_of), faults=faults)) as cutting:
        made, wide = client(cutting, log), RasrRequest("pcm16k16bit", "chinese_16k_general")
        wide.set_add_punc("yes")
        made.continue_stream_connect(wide)
        recognise(made, position_audio(0, 2_200))
        made.close()
        assert cutting.faults_struck == {"cut": 1}
    assert log.texts == TEXTS
    assert log.errors == []


# --- errors -----------------------------------------------------------------------------------------------------------


def test_an_error_of_the_vendor_is_the_text_of_its_message_and_send_start_returns(emulator: Emulator) -> None:
    log = Log()
    made = client(emulator, log)
    with pytest.raises(ClientException, match=r"websocket connect failed， url is ws.*continue-stream, status is"):
        made.continue_stream_connect(request(vocabulary_id="missing"))
    assert json.loads(log.errors[0])["error_code"] == "SIS.0201"


def test_a_refused_connection_is_an_exception_for_on_error_and_for_the_caller() -> None:
    log = Log()
    with in_a_thread(serve(Scripted(SEGMENTS), api_keys={"other": "key"})) as refusing:
        made = client(refusing, log)
        with pytest.raises(ClientException) as caught:
            made.continue_stream_connect(request())
    assert str(caught.value.get_error_msg()).endswith("status is WebsocketStatus.STATE_ERROR")
    assert "401" in str(log.errors[0])
    made.close()
    assert log.calls == ["error"]


def test_silence_in_the_mode_of_one_sentence_is_an_event(emulator: Emulator) -> None:
    log = Log()
    with in_a_thread(serve(Scripted([]))) as silent:
        made = client(silent, log)
        made.sentence_stream_connect(request(vad_head=1_000))
        recognise(made)
        made.close()
    assert log.calls == ["open", "start", "EXCEEDED_SILENCE", "end", "close"]


def test_a_callback_that_raises_ends_its_session_only(emulator: Emulator) -> None:
    class Raising(Log):
        """A program whose callback has an error."""

        def on_response(self, message: dict[str, Any]) -> None:
            raise ValueError("mine")

        def on_error(self, error: object) -> None:
            super().on_error(error)
            reported.set()

    reported = threading.Event()
    log = Raising()
    made = client(emulator, log)
    made.continue_stream_connect(request())
    made.send_start()
    made.send_audio(SPEECH, 20_000, 0)
    assert reported.wait(10)
    with pytest.raises(ClientException, match=r"^status WebsocketStatus.STATE_ERROR can't send end$"):
        made.send_end()
    made.close()
    assert [str(error) for error in log.errors] == ["mine"]
    assert log.calls == ["open", "start", "error", "close"]


def test_close_in_a_callback_returns(emulator: Emulator) -> None:
    closed = threading.Event()

    class Closing(Log):
        """A program that leaves at the first result."""

        def on_response(self, message: dict[str, Any]) -> None:
            made.close()
            closed.set()

    log = Closing()
    made = client(emulator, log)
    made.continue_stream_connect(request())
    made.send_start()
    made.send_audio(SPEECH, 4_000, 0)
    assert closed.wait(10)
    assert log.calls == ["open", "start", "close"]


# --- misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"callback": None}, "The parameter callback must be RasrCallBack class"),
        ({"config": 3}, "The parameter config must by SisConfig class"),
        ({"ak": None}, "ak or sk is empty, please fill in it"),
        ({"use_aksk": False}, "username or password or domain name is empty, please fill in it"),
        ({"region": None}, "region is empty, please fill in it, or service_endpoint"),
        ({"service_endpoint": "https://host"}, "endpoint='https://host': must be scheme and host, wss://host"),
    ],
)
def test_a_wrong_argument_is_refused_with_the_words_of_the_original(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ClientException) as caught:
        RasrClient(**{**KEYS, "callback": Log(), **arguments})
    assert str(caught.value).startswith(text)
    assert "key" not in str(caught.value)


def test_calls_out_of_order_are_refused_with_the_words_of_the_original(emulator: Emulator) -> None:
    made = client(emulator, Log())
    with pytest.raises(ClientException, match=r"^The parameter of request in RasrClient should be RasrRequest class$"):
        made.continue_stream_connect(None)  # type: ignore[arg-type]
    for call, words in (
        (made.send_start, "send start"),
        (made.send_end, "send end"),
        (lambda: made.send_audio(b"1"), "send binary data"),
    ):
        with pytest.raises(ClientException, match=f"^status WebsocketStatus.STATE_INIT can't {words}$"):
            call()
    made.continue_stream_connect(request())
    with pytest.raises(ClientException, match=r"^status WebsocketStatus.STATE_CONNECTED can't send binary data$"):
        made.send_audio(b"1")
    made.continue_stream_connect(request())  # a warning
    made.send_start()
    with pytest.raises(ClientException, match=r"^status WebsocketStatus.STATE_START can't send start$"):
        made.send_start()
    made.send_audio(b"")
    made.send_end()
    made.send_end()  # a warning
    made.send_audio(SPEECH)
    made.close()
    assert repr(made).endswith("STATE_CLOSE>")


def test_the_signatures_accept_what_those_of_the_official_sdk_accept() -> None:
    """The names are those of its documents and its versions 1.7 and 1.8."""
    expected: dict[Callable[..., Any], str] = {
        RasrClient: "user_name password domain_name region project_id callback config service_endpoint token_url "
        "retry_sleep_time ak sk use_aksk",
        RasrClient.send_audio: "self data byte_len sleep_time",
        RasrRequest: "audio_format model_property",
        HotWordClient: "ak sk region project_id service_endpoint sis_config",
        HotWordRequest: "name word_list",
    }
    for function, names in expected.items():
        assert " ".join(inspect.signature(function).parameters) == names
    setters = (
        "add_punc digit_norm vad_head vad_tail max_seconds interim_results vocabulary_id need_word_info vad_threshold"
    )
    assert all(hasattr(RasrRequest, f"set_{name}") for name in [*setters.split(), "user_words"])
    config = SisConfig()
    for name in ("connect_timeout", "read_timeout", "connect_lost_timeout", "proxy", "websocket_wait_time"):
        getattr(config, f"set_{name}")(7)
        assert getattr(config, f"get_{name}")() == 7
    config.set_certificate_check(False)
    assert config.get_certificate_check()


# --- hot words --------------------------------------------------------------------------------------------------------


def test_a_table_of_hot_words_is_made_read_changed_and_removed(emulator: Emulator) -> None:
    made = HotWordClient("any", "key", "cn-north-4", "p1", service_endpoint=emulator.url)
    table = HotWordRequest("terms", ["华为"])
    table.set_description("of a test")
    table_id = made.create(table)["vocabulary_id"]
    assert made.query_list()["count"] == 1
    assert made.query_by_vocabulary_id(table_id)["contents"] == ["华为"]
    assert made.update(HotWordRequest("terms", ["鸿蒙"]), table_id)["vocabulary_id"] == table_id
    made.delete(table_id)
    with pytest.raises(ServerException) as caught:
        made.query_by_vocabulary_id(table_id)
    assert (
        str(caught.value) == f"error_code: {caught.value.get_error_code()}\terror_msg: {caught.value.get_error_msg()}"
    )
    with pytest.raises(ClientException, match="should be HotWordRequest class"):
        made.create("terms")  # type: ignore[arg-type]
    with pytest.raises(ClientException, match="ak or sk is empty"):
        HotWordClient(None, "key", "cn-north-4", "p1")
