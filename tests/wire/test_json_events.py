"""Events as JSON: one event, a stream of lines, `json.dumps`, and FastAPI with its real Pydantic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from asr_async import (
    ConfigurationError,
    Event,
    Gap,
    Reconnected,
    Result,
    SessionStats,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    Transcript,
    Translation,
    TranslationArrived,
    TranslationLost,
    Word,
    asdict,
    from_json,
    from_json_lines,
    to_json,
    to_json_lines,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Caption(BaseModel):
    """A model of an application with an event in it."""

    speaker: str
    event: Event


WORD = Word(text="早上", start_ms=200, end_ms=600, punctuation=",", confidence=0.5, is_fixed=True)
TRANSLATION = Translation(text="good morning", is_final=True, start_ms=200, end_ms=1_100, words=(WORD,))
RESULT = Result(
    text="早上好\u2028all",
    is_final=True,
    segment_id=3,
    start_ms=200,
    end_ms=1_100,
    words=(WORD,),
    translations={"en": TRANSLATION},
    raw='{"text":"早上好"}\n',
)
GAP = Gap(start_ms=1_100, end_ms=2_400, reason="the connection was lost")
EVENTS: dict[str, Event] = {
    "result": RESULT,
    "speech_started": SpeechStarted(segment_id=0, start_ms=200),
    "speech_ending": SpeechEnding(segment_id=0, end_ms=None, is_withdrawn=True),
    "speech_ended": SpeechEnded(segment_id=0, end_ms=1_100, is_withdrawn=True, withdrawn_text="uh"),
    "translation_arrived": TranslationArrived(segment_id=0, language="en", translation=TRANSLATION),
    "translation_lost": TranslationLost(segment_id=0, language="en", reason="the connection was lost"),
    "reconnected": Reconnected(at_ms=1_100, reason="the connection was lost"),
    "gap": GAP,
}
"""An event of each class, by its tag."""
STATS = SessionStats(
    request_id="r-1",
    first_result_ms=120.5,
    last_result_ms=None,
    audio_sent_ms=2_400,
    usage_seconds=3.0,
    pacer_lateness_max_ms=0.5,
    interims_conflated=0,
    results_received=5,
    finals_received=1,
    reconnects=1,
    lost_ms=1_300,
)
TRANSCRIPT = Transcript(
    text="早上好", results=(RESULT,), duration_ms=2_400, gaps=(GAP,), usage_seconds=3.0, request_id="r-1", stats=STATS
)


async def chunked(text: str, size: int) -> AsyncIterator[bytes]:
    data = text.encode()
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def all_events() -> AsyncIterator[Event]:
    for event in EVENTS.values():
        yield event


async def lines_of_all_events() -> str:
    return "".join([line async for line in to_json_lines(all_events())])


# --- one event --------------------------------------------------------------------------------------------------------


def test_there_is_an_event_of_each_class() -> None:
    assert {type(event) for event in EVENTS.values()} == set(get_args(Event))


@pytest.mark.parametrize(("tag", "event"), EVENTS.items(), ids=EVENTS)
def test_an_event_is_the_same_behind_the_wire(tag: str, event: Event) -> None:
    text = to_json(event)
    assert from_json(text) == from_json(text.encode()) == event
    assert json.loads(text)["type"] == tag
    assert "\n" not in text


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_json_dumps_accepts_the_dict_of_an_event(event: Event) -> None:
    assert from_json(json.dumps(asdict(event))) == event


def test_json_dumps_accepts_the_dict_of_a_transcript_and_of_statistics() -> None:
    transcript = json.loads(json.dumps(asdict(TRANSCRIPT)))
    assert transcript["results"][0]["words"][0]["text"] == "早上"
    assert msgspec.convert(transcript, Transcript) == TRANSCRIPT
    assert msgspec.convert(json.loads(json.dumps(asdict(STATS))), SessionStats) == STATS


def test_a_member_of_a_newer_version_is_ignored() -> None:
    assert from_json('{"type":"gap","start_ms":1,"end_ms":2,"reason":"r","severity":3}') == Gap(
        start_ms=1, end_ms=2, reason="r"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Input data was truncated"),
        ("{", "Input data was truncated"),
        ('{"text":"go"}', "missing required field `type`"),
        ('{"type":"mood"}', "Invalid value 'mood'"),
        ('{"type":"gap","start_ms":"1"}', "Expected `int`, got `str`"),
        (b"\xff\xfe", "invalid character"),
        (b'{"type":"gap","reason":"\xff"}', "UTF-8"),
        ('{"type":"gap","more":' + "[" * 100_000, "recursion"),
    ],
)
def test_a_text_that_is_not_an_event_is_refused_with_the_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(ConfigurationError, match="not the JSON of an event: ") as caught:
        from_json(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [None, {"type": "gap"}, WORD, "text"])
def test_only_an_event_is_written(value: Any) -> None:
    for write in (to_json, asdict):
        with pytest.raises(ConfigurationError, match=f"^{type(value).__name__} is not an event of a session"):
            write(value)


# --- a stream of lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
async def test_a_stream_of_lines_is_the_same_in_chunks_of_any_size(size: int) -> None:
    text = await lines_of_all_events()
    assert text.count("\n") == len(EVENTS)
    assert [event async for event in from_json_lines(chunked(text, size))] == list(EVENTS.values())


async def test_a_stream_of_lines_may_be_text_with_empty_lines_and_without_a_last_line_end() -> None:
    async def chunks() -> AsyncIterator[str]:
        yield f"\n{to_json(RESULT)}\r\n\n"
        yield to_json(GAP)

    assert [event async for event in from_json_lines(chunks())] == [RESULT, GAP]


async def test_a_file_of_lines_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(await lines_of_all_events(), encoding="utf-8")
    with path.open(encoding="utf-8") as file:
        assert list(map(from_json, file)) == list(EVENTS.values())


async def test_a_stream_that_is_cut_off_is_an_error_behind_the_whole_events() -> None:
    received = []
    with pytest.raises(ConfigurationError, match="truncated"):
        async for event in from_json_lines(chunked(f"{to_json(GAP)}\n{to_json(RESULT)[:40]}", 10)):
            received.append(event)
    assert received == [GAP]


async def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    with pytest.raises(ConfigurationError, match="longer than 16 MiB"):
        async for _ in from_json_lines(chunks()):
            pass


async def test_the_error_of_a_session_reaches_the_reader_of_the_lines_behind_the_events() -> None:
    async def failing() -> AsyncIterator[Event]:
        yield GAP
        raise TimeoutError

    lines = []
    with pytest.raises(TimeoutError):
        async for line in to_json_lines(failing()):
            lines.append(line)
    assert [from_json(line) for line in lines] == [GAP]


# --- FastAPI ----------------------------------------------------------------------------------------------------------


def application() -> FastAPI:
    """Return an application that returns, streams and takes events and transcripts."""
    app = FastAPI()

    @app.get("/transcript", response_model=Transcript)
    async def transcript() -> Transcript:
        return TRANSCRIPT

    @app.get("/events")
    async def events() -> list[Event]:
        return list(EVENTS.values())

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(to_json_lines(all_events()), media_type="application/x-ndjson")

    @app.post("/caption", response_model=Event)
    async def caption(caption: Caption) -> Event:
        return caption.event

    return app


@pytest.fixture
async def web() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=application())
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client


async def test_fastapi_returns_a_transcript_as_response_model(web: httpx.AsyncClient) -> None:
    response = await web.get("/transcript")
    assert msgspec.json.decode(response.content, type=Transcript) == TRANSCRIPT


async def test_fastapi_returns_a_list_of_events(web: httpx.AsyncClient) -> None:
    response = await web.get("/events")
    assert [from_json(json.dumps(each)) for each in response.json()] == list(EVENTS.values())


async def test_fastapi_streams_events_as_lines(web: httpx.AsyncClient) -> None:
    async with web.stream("GET", "/stream") as response:
        events = [event async for event in from_json_lines(response.aiter_bytes())]
    assert events == list(EVENTS.values())


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
async def test_fastapi_takes_an_event_inside_of_a_model(web: httpx.AsyncClient, event: Event) -> None:
    response = await web.post("/caption", json={"speaker": "a", "event": asdict(event)})
    assert from_json(response.content) == event


async def test_fastapi_refuses_a_malformed_event_with_the_reason(web: httpx.AsyncClient) -> None:
    gap = {"type": "gap", "start_ms": "soon", "end_ms": 3, "reason": "r"}
    response = await web.post("/caption", json={"speaker": "a", "event": gap})
    assert response.status_code == 422
    assert "Expected `int`, got `str` - at `$.start_ms`" in response.text


async def test_the_schema_of_fastapi_describes_the_fields(web: httpx.AsyncClient) -> None:
    schema = (await web.get("/openapi.json")).json()
    content = schema["paths"]["/transcript"]["get"]["responses"]["200"]["content"]
    properties = content["application/json"]["schema"]["properties"]
    result = properties["results"]["items"]
    assert result["properties"]["type"] == {"enum": ["result"]}
    assert result["properties"]["words"]["items"]["properties"]["start_ms"] == {"type": "integer"}
    assert "$ref" not in json.dumps(content)
