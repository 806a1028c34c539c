"""HTTP requests: whole responses, and every failure as an error of this library."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from asr_async import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, RemoteProtocolError
from asr_async._net import http
from asr_async._net.http import HttpResponse, request

from ..support.tcp_server import tcp_server
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.both_loops

KEY = "sk-0123456789abcdef"


@asynccontextmanager
async def server(response: bytes, *, requests: list[bytes] | None = None, closes: bool = True) -> AsyncIterator[str]:
    """A server that answers a request with these bytes; yields its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(head)
        writer.write(response)
        await writer.drain()
        if not closes:
            await reader.read()

    async with tcp_server(answer) as port:
        yield f"127.0.0.1:{port}"


async def test_a_request_is_sent_as_written_and_its_response_is_read_whole() -> None:
    requests: list[bytes] = []
    answer = b"HTTP/1.1 418 Teapot\r\nX-Subject-Token: t\r\nContent-Length: 4\r\n\r\nbody"
    async with server(answer, requests=requests) as address:
        url = f"http://{address}/a%2Fb?c=%7e&d=x+y"
        response = await request("GET", url, headers={"Authorization": f"Bearer {KEY}"})
    assert (response.status, response.body, response.headers["x-subject-token"]) == (418, b"body", "t")
    assert requests[0].startswith(b"GET /a%2Fb?c=%7e&d=x+y HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}".encode() in requests[0]
    assert repr(response) == "<HttpResponse 418>"


async def test_a_redirect_is_not_followed() -> None:
    elsewhere: list[bytes] = []
    async with server(b"", requests=elsewhere) as other:
        answer = f"HTTP/1.1 302 Found\r\nLocation: http://{other}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with server(answer) as address:
            assert (await request("GET", f"http://{address}/", headers={"X-Key": KEY})).status == 302
    assert elsewhere == []


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"http://host:{KEY}/", "not a URL: its host or port is malformed"),
        (f"http://[::1/{KEY}", "not a URL: its host or port is malformed"),
        (f"ftp://host/{KEY}", "not a URL of HTTP: it must be https://host/path"),
        (f"/v3/{KEY}", "not a URL of HTTP: it must be https://host/path"),
        (f"https:///{KEY}", "not a URL of HTTP: it must be https://host/path"),
    ],
)
async def test_a_malformed_url_is_refused_and_not_shown(url: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await request("GET", url, headers={})
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("answer", "error_class", "text"),
    [
        (b"", ConnectionLostError, "closed the connection before the response was complete"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody",
            ConnectionLostError,
            "closed the connection before the response was complete",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", RemoteProtocolError, "does not speak HTTP: "),
    ],
    ids=["nothing", "half", "no HTTP"],
)
async def test_a_response_that_is_not_complete_or_not_http_is_an_error(
    answer: bytes, error_class: type[ASRError], text: str
) -> None:
    async with server(answer) as address:
        with pytest.raises(error_class) as caught:
            await request("GET", f"http://{address}/", headers={})
    assert str(caught.value).startswith(f"{address} {text}")
    assert caught.value.retryable is (error_class is ConnectionLostError)


async def test_a_response_that_is_too_large_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_RESPONSE_BYTES", 1_000)
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + bytes(5_000), closes=False) as address:
        with pytest.raises(RemoteProtocolError) as caught:
            await request("GET", f"http://{address}/", headers={})
    assert str(caught.value) == f"{address} sent a response of more than 1000 bytes"


async def test_a_server_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(ConnectionLostError) as caught:
        await request("GET", "http://127.0.0.1:1/", headers={})
    assert str(caught.value) == "cannot reach 127.0.0.1:1: Connection refused"


def test_a_server_that_does_not_answer_ends_at_the_deadline() -> None:
    async def scenario() -> float:
        async with server(b"", closes=False) as address:
            with pytest.raises(DeadlineError) as caught:
                await request("GET", f"http://{address}/", headers={}, timeout_s=3)
            assert str(caught.value) == f"no response from {address} within 3 s"
            return asyncio.get_running_loop().time()

    assert run_virtual(scenario) == pytest.approx(3, abs=0.5)


def test_the_repr_of_a_response_shows_no_secret() -> None:
    response = HttpResponse(status=200, headers={"X-Subject-Token": KEY}, body=KEY.encode())
    assert KEY not in repr(response)
