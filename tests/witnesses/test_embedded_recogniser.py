"""The official SDKs, unmodified, with the embedded recogniser: the same words through each of them.

Huawei's SDK (3.1.219) has no streaming client: its tables of hot words and its signature are what a client of the
streaming interface uses of it.
"""

from __future__ import annotations

import base64
import json
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dashscope
import pytest
import pytest_asyncio
import websockets
from dashscope.audio.asr import Recognition
from dashscope.audio.qwen_omni import MultiModality, OmniRealtimeCallback, OmniRealtimeConversation
from dashscope.audio.qwen_omni.omni_realtime import TranscriptionParams
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from huaweicloudsdksis.v1 import CreateVocabularyRequest, PostCreateVocabReq, SisClient

from asr_async.emulator import Moonshine, serve
from asr_async.emulator.dashscope.realtime import PATH

from ..support.paths import RECORDINGS
from ..support.speech import example, example_text, plain_words
from ..support.threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from asr_async.emulator import Emulator

TEXT = plain_words(example_text("train"))
CREDENTIALS = BasicCredentials("AK", "secret", "p1")

pytestmark = [pytest.mark.usefixtures("no_proxy_for_loopback"), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emulator() -> AsyncIterator[Emulator]:
    """One worker for all SDKs; the keys make the emulator check signatures."""
    async with serve(Moonshine(workers=1), api_keys={"AK": "secret"}) as emulator:
        yield emulator


def chunks(samples: bytes) -> Iterator[bytes]:
    samples += bytes(-len(samples) % 3_200)  # Huawei refuses less than 10 ms
    return (samples[start : start + 3_200] for start in range(0, len(samples), 3_200))


async def test_dashscope_recognises_a_file(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashscope, "api_key", "AK")
    monkeypatch.setattr(dashscope, "base_websocket_api_url", emulator.dashscope_url)
    callback: Any = None  # a call that waits has none; its declared type says otherwise
    sdk = Recognition(model="paraformer-realtime-v2", callback=callback, format="wav", sample_rate=16_000)
    result: Any = await run_in_thread(sdk.call, str(RECORDINGS / "train.wav"))
    assert result.status_code == 200
    assert plain_words(" ".join(sentence["text"] for sentence in result.get_sentence())) == TEXT


class Transcripts(OmniRealtimeCallback):
    """The final texts of a conversation."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_event(self, message: Any) -> None:
        if message["type"] == "conversation.item.input_audio_transcription.completed":
            self.texts.append(message["transcript"])


async def test_dashscope_recognises_a_conversation_with_qwen(emulator: Emulator) -> None:
    transcripts = Transcripts()

    def converse() -> None:
        url = f"ws://{emulator.address}{PATH}"
        sdk: Any = OmniRealtimeConversation("qwen3-asr-flash-realtime", transcripts, url=url, api_key="AK")
        sdk.connect()
        parameters = TranscriptionParams(language="en")
        sdk.update_session(output_modalities=[MultiModality.TEXT], transcription_params=parameters)
        for chunk in chunks(example("train")):
            sdk.append_audio(base64.b64encode(chunk).decode())
        sdk.end_session()
        sdk.ws.sock.sock.shutdown(socket.SHUT_RDWR)  # the SDK's `close()` waits for its reader for 10 s
        sdk.thread.join(10)

    await run_in_thread(converse)
    assert plain_words(" ".join(transcripts.texts)) == TEXT


async def test_huawei_accepts_the_table_and_the_signature_of_the_sdk(emulator: Emulator) -> None:
    sdk: Any = SisClient.new_builder().with_credentials(CREDENTIALS).with_endpoint(emulator.url).build()
    table = PostCreateVocabReq(name="places", language="english", contents=["EXPRESS"])
    created = await run_in_thread(sdk.create_vocabulary, CreateVocabularyRequest(body=table))
    path = "/v1/p1/rasr/continue-stream"
    headers = {"X-Sdk-Date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")}
    request = SdkRequest("GET", "http", emulator.address, path, None, [], headers)
    signed = Signer(CREDENTIALS).sign(request).header_params
    del signed["Host"]  # the client adds its own
    config = {"audio_format": "pcm16k16bit", "property": "english_16k_general"}
    texts = []
    async with websockets.connect(emulator.huawei_url + path, additional_headers=signed, proxy=None) as ws:
        await ws.send(json.dumps({"command": "START", "config": {**config, "vocabulary_id": created.vocabulary_id}}))
        assert json.loads(await ws.recv())["resp_type"] == "START"
        for chunk in chunks(example("train")):
            await ws.send(chunk)
        await ws.send(json.dumps({"command": "END"}))
        while (message := json.loads(await ws.recv()))["resp_type"] != "END":
            texts += [segment["result"]["text"] for segment in message.get("segments", ()) if segment["is_final"]]
    assert plain_words(" ".join(texts)) == TEXT
