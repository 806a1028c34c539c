"""Temporary keys of OpenAI, with the emulator's REST interface."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asr_async import (
    AuthenticationError,
    Client,
    ConfigurationError,
    OpenAI,
    OpenAIRealtime,
    VendorError,
    transcribe,
)
from asr_async.emulator import Emulator, Scripted, serve
from asr_async.errors import RemoteProtocolError
from asr_async.vendors.openai.rest_wire import ClientSecret
from asr_async.vendors.service import TemporaryKey

from ...support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEY = "sk-own"
SCRIPT = [("hello there", 100, 900)]
AUDIO = bytes(48_000)


def calling(emulator: Emulator, key: str = KEY) -> OpenAI:
    return OpenAI(key, endpoint=emulator.openai_url)


async def recognise(service: OpenAI) -> str:
    return (await transcribe([AUDIO], OpenAIRealtime(), service)).text


def test_a_temporary_key_is_used_exactly_like_a_key_until_it_expires() -> None:
    async def scenario() -> None:
        async with serve(Scripted(SCRIPT), api_keys={KEY}) as emulator:
            async with Client(calling(emulator)) as client:
                temporary = await client.temporary_key(expires_in=20)
            assert temporary.value.startswith("ek_")
            assert await recognise(calling(emulator, temporary.value)) == "hello there"
            await asyncio.sleep(20)
            with pytest.raises(AuthenticationError) as caught:
                await recognise(calling(emulator, temporary.value))
        assert str(caught.value) == (
            "HTTP 401: Incorrect API key provided: this temporary key may have expired: make another with "
            "temporary_key(), or pass a function that does so as api_key= (code invalid_api_key)"
        )

    run_virtual(scenario)


@pytest.mark.parametrize("expires_in", [9, 7_201])
async def test_a_life_out_of_range_is_refused(expires_in: int) -> None:
    with pytest.raises(ConfigurationError, match=f"expires_in={expires_in}: must be between 10 and 7200 s"):
        await OpenAI(KEY).temporary_key(expires_in=expires_in)


async def test_a_wrong_key_makes_none() -> None:
    async with serve(Scripted(SCRIPT), api_keys={KEY}) as emulator:
        with pytest.raises(AuthenticationError, match="Incorrect API key provided: check the key"):
            await calling(emulator, "sk-other").temporary_key()


async def key_from(respond: Callable[[web.Request], Awaitable[web.Response]], query: str = "") -> TemporaryKey:
    """Request a key from a server that responds in this way."""
    application = web.Application()
    application.router.add_post("/v1/realtime/client_secrets", respond)
    async with TestServer(application) as server:
        url = f"ws://{server.host}:{server.port}/v1/realtime{query}"
        return await OpenAI(KEY, endpoint=url, project="p").temporary_key()


@pytest.mark.parametrize("query", ["", "?api-version=1"])
async def test_the_request_is_that_of_the_official_sdk(query: str) -> None:
    received: list[Any] = []

    async def respond(request: web.Request) -> web.Response:
        received.append((request.headers["OpenAI-Project"], request.path_qs, await request.json()))
        return web.json_response({"value": "ek_1", "expires_at": 5, "session": {"type": "transcription"}})

    assert await key_from(respond, query) == TemporaryKey(value="ek_1", expires_at=5)
    body = {"expires_after": {"anchor": "created_at", "seconds": 60}, "session": {"type": "transcription"}}
    assert received == [("p", f"/v1/realtime/client_secrets{query}", body)]


async def test_a_response_of_another_form_is_an_error_without_its_text() -> None:
    async def respond(_request: web.Request) -> web.Response:
        return web.json_response({"value": 5, "secret": "ek_hidden"})

    with pytest.raises(RemoteProtocolError, match=r"OpenAI's response to POST .* cannot be decoded") as caught:
        await key_from(respond)
    assert "hidden" not in str(caught.value)


async def test_a_server_without_temporary_keys_is_named_by_its_status() -> None:
    async def respond(_request: web.Request) -> web.Response:
        return web.Response(status=404)

    with pytest.raises(VendorError, match="the request was refused with HTTP 404: check the endpoint and its path"):
        await key_from(respond)


def test_a_key_shows_in_no_repr() -> None:
    assert repr(ClientSecret(value="ek_secret", expires_at=5)) == "<ClientSecret expires_at=5>"


async def test_temporary_keys_count_as_one_account() -> None:
    endpoints = [await OpenAI(key).resolve(OpenAIRealtime()) for key in ("ek_1", "ek_2", KEY)]
    assert endpoints[0].account == endpoints[1].account != endpoints[2].account


# --- the emulator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "Input data was truncated"),
        (b"{}", "missing required field `session`"),
        (b'{"session": {"type": "realtime"}}', "Invalid enum value 'realtime'"),
        (b'{"session": {"type": "transcription", "audio": {}}}', "unknown field `audio`"),
        (b'{"session": {"type": "transcription"}, "expires_after": {"anchor": "created_at", "seconds": 5}}', ">= 10"),
        (b'{"session": {"type": "transcription"}, "expires_after": {"seconds": 50}}', "required field `anchor`"),
    ],
)
async def test_the_emulator_refuses_requests_with_the_reason(body: bytes, text: str) -> None:
    async with serve(Scripted(SCRIPT)) as emulator, aiohttp.ClientSession() as http:
        url, headers = f"{emulator.url}/v1/realtime/client_secrets", {"Authorization": "Bearer any"}
        async with http.post(url, data=body, headers=headers) as response:
            error: dict[str, Any] = (await response.json())["error"]
    assert (response.status, error["code"]) == (400, "invalid_value")
    assert text in error["message"]
