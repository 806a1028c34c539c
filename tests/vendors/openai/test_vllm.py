"""The codec of vLLM's realtime endpoint with values, and sessions with the emulator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asr_async import (
    ConfigurationError,
    Local,
    OpenAI,
    Reconnected,
    Result,
    Retry,
    VendorError,
    VLLMRealtime,
    connect,
    transcribe,
)
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut
from asr_async.emulator.positions import position_audio, position_of
from asr_async.errors import RemoteProtocolError
from asr_async.vendors.codec import CodecEvent, Failed, Finished, Started
from asr_async.vendors.openai.vllm_codec import MAX_TEXT_CHARS, VLLMCodec

from ...support.virtual_time import run_virtual

SCRIPT = [("hello there my friend", 100, 900), ("and good bye", 1_200, 1_900)]
WORDS = "hello there my friend and good bye"
AUDIO = position_audio(0, 2_500)


def message(kind: str, **members: Any) -> str:
    return json.dumps({"type": kind, **members})


def streaming() -> VLLMCodec:
    """Return the codec of a task that has sent a second of audio."""
    codec = VLLMCodec(VLLMRealtime(), task_id="T")
    codec.start()
    assert codec.receive(message("session.created", id="sess-1", created=1)) == [Started("sess-1")]
    codec.audio(bytes(32_000))
    return codec


def texts(events: list[CodecEvent]) -> list[tuple[str, bool, int, int]]:
    return [(each.text, each.is_final, each.start_ms, each.end_ms) for each in events if isinstance(each, Result)]


def test_the_messages_are_those_of_the_server() -> None:
    codec = VLLMCodec(VLLMRealtime(model="m"), task_id="T")
    update, commit = (json.loads(str(each)) for each in codec.start())
    assert update == {"type": "session.update", "event_id": "T_1", "model": "m"}
    assert commit == {"type": "input_audio_buffer.commit", "event_id": "T_2", "final": False}
    (end,) = (json.loads(str(each)) for each in streaming().finish())
    assert end == {"type": "input_audio_buffer.commit", "event_id": "T_4", "final": True}


def test_deltas_grow_into_one_text_that_done_confirms() -> None:
    codec = streaming()
    events = [*codec.receive(message("transcription.delta", delta="good"))]
    events += codec.receive(message("transcription.delta", delta=" day"))
    codec.finish()
    events += codec.receive(message("transcription.done", text="good day", usage={"total_tokens": 3}))
    assert texts(events) == [("good", False, 0, 0), ("good day", False, 0, 0), ("good day", True, 0, 1_000)]
    assert events[-1] == Finished()


def test_silence_ends_without_a_result() -> None:
    codec = streaming()
    codec.finish()
    assert codec.receive(message("transcription.done", text="")) == [Finished()]


def test_a_transcription_that_ends_before_the_audio_is_an_error() -> None:
    codec = streaming()
    (event,) = codec.receive(message("transcription.done", text="good"))
    assert isinstance(event, Failed)
    assert "vLLM ended the transcription before the audio: divide it with finalize()" in str(event.error)


def test_an_error_is_a_text_with_a_code() -> None:
    (event,) = streaming().receive(message("error", error="The model `m` does not exist.", code="model_not_found"))
    assert isinstance(event, Failed)
    assert str(event.error) == (
        "The model `m` does not exist: check the model's name, and that the endpoint has it "
        "(code model_not_found, request sess-1)"
    )


def test_a_text_without_end_is_refused() -> None:
    codec = streaming()
    with pytest.raises(RemoteProtocolError, match="a text of more than 1000000 characters"):
        codec.receive(message("transcription.delta", delta="a" * (MAX_TEXT_CHARS + 1)))


def test_a_model_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be the name of the model that the server serves"):
        VLLMRealtime(model=" ")


@pytest.mark.parametrize("faults", [[], [Cut(connection=1, after_audio_ms=1_100)], [Cut(connection=1, at="finish")]])
def test_a_session_has_one_text_with_every_word(faults: list[Any]) -> None:
    async def scenario() -> list[Any]:
        async with serve(Scripted(SCRIPT, position=position_of), faults=faults) as emulator:
            service = OpenAI("key", endpoint=emulator.openai_url)
            async with connect(VLLMRealtime(), service, retry=Retry(max_delay_s=0.01)) as session:
                return [event async for event in session.events([AUDIO])]

    events = run_virtual(scenario)
    assert [event.text for event in events if isinstance(event, Result) and event.is_final] == [WORDS]
    assert any(isinstance(event, Reconnected) for event in events) == bool(faults)


def test_a_model_that_the_server_does_not_have_is_refused() -> None:
    with pytest.raises(VendorError, match="The model `another` does not exist: check the model's name"):
        run_virtual(lambda: transcribe([AUDIO], VLLMRealtime(model="another"), Local(Scripted(SCRIPT))))
