"""The examples of web services as processes: FastAPI in uvicorn, and the bridge of phone calls."""

from __future__ import annotations

import asyncio
import base64
import bisect
import json
import re
import sys
from array import array
from asyncio.subprocess import PIPE, Process
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jiwer
from aiohttp import ClientSession, FormData, WSMsgType

from asr_async.audio.samples import decode_g711

from ..support.child_processes import child_environment
from ..support.paths import EXAMPLES, ROOT
from ..support.speech import example, example_text, plain_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WORDS = plain_words(example_text("demo"))


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Process]:
    """Run a Python program without a key; end it as a terminal does."""
    environment = {name: value for name, value in child_environment().items() if name != "DASHSCOPE_API_KEY"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def fastapi_service() -> AsyncIterator[str]:
    command = ("-m", "uvicorn", "--app-dir", "examples", "fastapi_service:app", "--port", "0")
    async with running(*command) as process:
        assert process.stderr is not None
        log = b""
        while (address := re.search(rb"running on http://(\S+)", log)) is None:
            log += await process.stderr.readline()
        yield address[1].decode()


async def test_an_upload_becomes_a_transcript_and_a_websocket_becomes_captions() -> None:
    async with fastapi_service() as address, ClientSession() as session:
        assert (
            plain_words((await uploaded(session, address, (EXAMPLES / "audio/demo.wav").read_bytes()))["text"]) == WORDS
        )
        assert "detail" in await uploaded(session, address, b"this is not a recording", status=422)
        texts, last = await captioned(session, address)
        assert (plain_words(texts), last) == (WORDS, {"type": "end"})
        async with session.ws_connect(f"http://{address}/captions") as leaving:  # in mid-word
            await leaving.send_bytes(example("demo")[:32_000])
            await leaving.receive()
        texts, _ = await captioned(session, address)
        assert plain_words(texts) == WORDS


async def uploaded(session: ClientSession, address: str, recording: bytes, *, status: int = 200) -> dict[str, Any]:
    form = FormData()
    form.add_field("file", recording, filename="demo.wav")
    async with session.post(f"http://{address}/transcripts", data=form) as response:
        assert response.status == status
        body: dict[str, Any] = await response.json()
        return body


async def captioned(session: ClientSession, address: str) -> tuple[str, dict[str, Any]]:
    """Return the finals that a browser gets for the recording, and the last message."""
    async with session.ws_connect(f"http://{address}/captions") as websocket:
        for begin in range(0, len(example("demo")), 3_200):
            await websocket.send_bytes(example("demo")[begin : begin + 3_200])
        await websocket.send_str('{"type":"stop"}')
        messages: list[dict[str, Any]] = []
        while (message := await websocket.receive(timeout=60)).type is WSMsgType.TEXT:
            messages.append(json.loads(message.data))
    return " ".join(message["text"] for message in messages if message.get("is_final")), messages[-1]


# --- telephony -------------------------------------------------------------------------------------------------------


def telephone_audio() -> list[bytes]:
    """Return the recording as Twilio sends it: 20 ms each of u-law at 8 kHz."""
    samples = array("h", example("demo"))
    values = array("h", decode_g711(bytes(range(256)), "ulaw"))
    ordered = sorted(range(256), key=lambda code: values[code])
    levels = [values[code] for code in ordered]
    codes = bytes(
        ordered[min(255, bisect.bisect_left(levels, (left + right) // 2))]
        for left, right in zip(samples[0::2], samples[1::2], strict=False)
    )
    return [codes[begin : begin + 160] for begin in range(0, len(codes), 160)]


async def test_the_phone_bridge_prints_what_a_caller_says_and_survives_wrong_streams() -> None:
    async with (
        running("examples/phone_bridge.py", "0") as bridge,
        ClientSession() as session,
    ):
        assert bridge.stdout is not None
        assert bridge.stderr is not None
        url = (await bridge.stdout.readline()).decode().strip()
        async with session.ws_connect(url) as wrong:
            await wrong.send_json({"event": "media", "media": {"payload": ""}})
            assert b'the stream sends "media" before "start"' in await bridge.stderr.readline()
        async with session.ws_connect(url) as call:
            await call.send_json({"event": "connected", "protocol": "Call", "version": "1.0.0"})
            await call.send_json(
                {"event": "start", "start": {"streamSid": "MZ1", "callSid": "CA1"}, "streamSid": "MZ1"}
            )
            await call.send_json({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": "7"}})
            for codes in telephone_audio():
                payload = base64.b64encode(codes).decode()
                await call.send_json({"event": "media", "media": {"track": "inbound", "payload": payload}})
            await call.send_json({"event": "stop", "streamSid": "MZ1"})
            lines = [(await bridge.stdout.readline()).decode() for _ in range(3)]
        bridge.terminate()
        assert await bridge.stderr.read() == b""
    assert lines[0] == "pressed 7\n"
    assert all(line.startswith("CA1 ") for line in lines[1:])
    heard = plain_words(" ".join(line.partition(" s: ")[2] for line in lines[1:]))
    assert jiwer.wer(WORDS, heard) <= 0.15
