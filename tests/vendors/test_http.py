"""Requests of third parties' services before a connection, and the tokens that come of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asr_async import ASRError, AuthenticationError, RateLimitedError, RemoteProtocolError, VendorError
from asr_async.vendors.error_rules import ErrorRule
from asr_async.vendors.http import NetworkOptions, request_json
from asr_async.vendors.tokens import Token, TokenSource
from asr_async.vendors.vendor_errors import VendorErrors

from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ERRORS = VendorErrors("plain", {"E7": ErrorRule(VendorError, True, "try again")})
SECRET = "key-2f7a91c4d0"


class Answer(msgspec.Struct):
    """The response of the server."""

    name: str
    size: int = 0


async def ask(respond: Callable[[web.Request], Awaitable[web.Response]], **options: Any) -> Answer:
    application = web.Application()
    application.router.add_route("*", "/session", respond)
    async with TestServer(application) as server:
        url = str(server.make_url("/session"))
        headers = {"Authorization": f"Key {SECRET}"}
        return await request_json(url, Answer, errors=ERRORS, network=NetworkOptions(), headers=headers, **options)


def responding(status: int, text: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def respond(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text.replace("KEY", request.headers["Authorization"]))

    return respond


async def test_a_request_sends_and_returns_json() -> None:
    received: list[Any] = []

    async def respond(request: web.Request) -> web.Response:
        received.append((request.method, request.headers["Content-Type"], await request.json()))
        return web.json_response({"name": "session-1", "size": 3, "other": None})

    assert await ask(respond, content={"model": "m"}) == Answer("session-1", 3)
    assert received == [("POST", "application/json", {"model": "m"})]


@pytest.mark.parametrize(
    ("status", "body", "error_class", "message", "retryable"),
    [
        (
            401,
            '{"message": "who is KEY"}',
            AuthenticationError,
            "HTTP 401: who is ***: check the key or the token",
            False,
        ),
        (
            429,
            "",
            RateLimitedError,
            "HTTP 429: the request was refused: too many sessions or starts; try again later",
            True,
        ),
        (500, '{"code": "E7", "message": "odd"}', VendorError, "HTTP 500: odd: try again", True),
        (400, '{"code": "E8", "message": "odd"}', VendorError, "HTTP 400: odd", False),
    ],
)
async def test_a_refusal_is_an_error_of_the_vendor(
    status: int, body: str, error_class: type[ASRError], message: str, retryable: bool
) -> None:
    with pytest.raises(error_class) as caught:
        await ask(responding(status, body))
    error = caught.value
    assert (error.message, error.retryable, error.vendor, error.status) == (message, retryable, "plain", status)
    assert SECRET not in f"{error!r} {error.raw}"


@pytest.mark.parametrize("body", ["<html>", '{"name": 1}', "[]", ""])
async def test_a_response_of_another_form_is_an_error(body: str) -> None:
    with pytest.raises(RemoteProtocolError, match="/session: the response is not as expected: "):
        await ask(responding(200, body))


def test_one_token_is_requested_for_many_sessions_and_a_new_one_when_it_ends() -> None:
    async def scenario() -> None:
        requested: list[str] = []

        async def fetch() -> Token:
            await asyncio.sleep(1)
            requested.append(f"token-{len(requested)}")
            return Token(requested[-1], valid_s=60)

        def source() -> TokenSource:
            return TokenSource(("wss://host", "user", "password"), fetch)

        tokens = await asyncio.gather(*(source().get() for _ in range(10)))
        assert {token.value for token in tokens} == {"token-0"}
        assert [token.is_cached for token in tokens] == [False, *[True] * 9]
        assert (await TokenSource(("wss://host", "user", "wrong"), fetch).get()).value == "token-1"
        await asyncio.sleep(60)
        assert (await source().get()).value == "token-2"
        refused = await source().get()
        assert source().discard(refused)
        renewed = await source().get()
        assert (renewed.value, renewed.is_cached) == ("token-3", False)
        assert not source().discard(renewed)
        assert "token" not in repr(renewed).lower().replace("<token", "")

    run_virtual(scenario)


def test_messages_of_a_task_have_errors_by_code_and_by_words() -> None:
    assert ERRORS.of_message("E7", "odd", request_id="r").request_id == "r"
    assert ERRORS.of_message("E7", "odd").retryable
    assert isinstance(ERRORS.of_message("", "invalid api key"), AuthenticationError)
    assert ERRORS.of_message("", "").message == "the vendor ended the task with an error"
