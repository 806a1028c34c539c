"""Sessions whose vendor refuses or fails: limits that pass are waited for, quotas that are used up end at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    ASRError,
    AuthenticationError,
    DashScope,
    Huawei,
    Paraformer,
    Rasr,
    RateLimitedError,
    Reconnected,
    Retry,
    Timeouts,
    VendorError,
    connect,
)

from ..support.numbered_audio import (
    HuaweiNumberedServer,
    NumberedServer,
    NumberedSource,
    finals_of,
    finals_of_seconds,
)
from ..support.scripted_server import send_event
from ..support.streaming import SILENT_SECOND
from ..support.tcp_server import tcp_server
from ..support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection

    from asr_async import Event
    from asr_async.vendors.options import Options
    from asr_async.vendors.service import Service

    from ..support.numbered_audio import Fault

GRANT = "requested grant not found in SaaS storage: service not activated"
KEY = "sk-0123456789abcdef"


def fails_with(code: str, message: str) -> Fault:
    """Return a fault that ends the task with an error of DashScope."""

    async def fail(connection: ServerConnection, task_id: str) -> None:
        await send_event(connection, "task-failed", task_id, error_code=code, error_message=message)

    return fail


def huawei_fails_with(code: str, message: str) -> Fault:
    async def fail(connection: ServerConnection, task_id: str) -> None:
        error = {"resp_type": "ERROR", "trace_id": task_id, "error_code": code, "error_msg": message}
        await connection.send(json.dumps(error))

    return fail


async def stream(server: NumberedServer, seconds: int = 6) -> tuple[list[Event], ASRError | None]:
    """Stream numbered audio to a server; return the events and the error."""
    events: list[Event] = []
    async with server.serving() as port:
        service = server.protocol.service(port)
        try:
            async with connect(server.protocol.options, service) as session:
                async for event in session.events(NumberedSource(seconds)):
                    events.append(event)
        except ASRError as error:
            return events, error
    return events, None


@pytest.mark.parametrize(
    "server",
    [
        NumberedServer(
            fails_with("limit_burst_rate", "Request rate increased too quickly."),
            fails_with("Throttling.BurstRate", "Request rate increased too quickly."),
            after_ms=1_700,
        ),
        NumberedServer(fails_with("insufficient_quota", "Allocated quota exceeded."), after_ms=1_700),
        NumberedServer(fails_with("SystemError", ""), fails_with("MODEL_ERROR", "oops"), after_ms=1_700),
        NumberedServer(fails_with("CLIENT_ERROR", "Requests rate limit exceeded."), after_ms=1_700),
        HuaweiNumberedServer(huawei_fails_with("SIS.0312", "too many"), after_ms=1_700),
        HuaweiNumberedServer(huawei_fails_with("SIS.9999", "internal error, try again later"), after_ms=1_700),
    ],
    ids=["burst rate", "quota per minute", "server", "by words", "huawei", "huawei by words"],
)
def test_a_failure_that_passes_in_mid_session_is_retried_and_the_transcript_is_whole(server: NumberedServer) -> None:
    async def scenario() -> None:
        faults = len(server.faults)
        events, error = await stream(server)
        assert error is None
        assert finals_of(events) == finals_of_seconds(6)
        assert sum(isinstance(event, Reconnected) for event in events) == faults

    run_virtual(scenario)


@pytest.mark.parametrize(
    ("server", "error_class", "advice"),
    [
        (
            NumberedServer(fails_with("Throttling.AllocationQuota", "Free allocated quota exceeded."), after_ms=1_700),
            VendorError,
            "Free allocated quota exceeded: the free quota is used up: switch 'use free tier only' off",
        ),
        (
            NumberedServer(fails_with("insufficient_quota", "Free allocated quota exceeded."), after_ms=1_700),
            VendorError,
            "the free quota is used up",
        ),
        (
            NumberedServer(fails_with("arrearage", "Access denied."), after_ms=1_700),
            VendorError,
            "settle the account's billing",
        ),
        (
            NumberedServer(fails_with("access_denied", "Access denied."), after_ms=1_700),
            AuthenticationError,
            "no right to this model or workspace",
        ),
        (
            HuaweiNumberedServer(huawei_fails_with("SIS.0312", "the account is in arrears"), after_ms=1_700),
            VendorError,
            "settle the account's billing",
        ),
    ],
    ids=["free quota", "free quota, other spelling", "arrears", "right", "huawei arrears"],
)
def test_a_failure_that_does_not_pass_ends_the_session_at_once(
    server: NumberedServer, error_class: type[ASRError], advice: str
) -> None:
    async def scenario() -> None:
        events, error = await stream(server)
        assert type(error) is error_class
        assert not error.retryable
        assert advice in str(error)
        assert finals_of(events) == finals_of_seconds(1)
        assert len(server.started_at_ms) == 1
        assert now() < 5
        assert error.raw is not None
        assert json.loads(error.raw)  # the vendor's whole message

    run_virtual(scenario)


# --- handshakes ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def gateway(*responses: bytes) -> AsyncIterator[tuple[str, list[float]]]:
    """Answer each connection with the next of the responses; yield the URL and the times of the requests."""
    left = list(responses)
    times: list[float] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        times.append(now())
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    async with tcp_server(answer) as port:
        yield f"ws://127.0.0.1:{port}", times


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} No", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def dashscope_at(url: str) -> tuple[Options, Service]:
    return Paraformer(), DashScope(KEY, endpoint=f"{url}/")


def huawei_at(url: str) -> tuple[Options, Service]:
    return Rasr(), Huawei(ak="AK", sk="SK", project_id="p", region="cn-north-4", endpoint=url)


BOTH = pytest.mark.parametrize("vendor_at", [dashscope_at, huawei_at], ids=["dashscope", "huawei"])


async def refusal(vendor_at: Any, *responses: bytes, retry: Retry | None = None) -> tuple[ASRError, list[float]]:
    """Return the error of a session that no handshake opens, and the times of the handshakes."""
    async with gateway(*responses) as (url, times):
        options, service = vendor_at(url)
        with pytest.raises(ASRError) as caught:
            async with connect(options, service, retry=retry) as session:
                async for _ in session.stream([SILENT_SECOND]):
                    pass
    return caught.value, times


@BOTH
@pytest.mark.parametrize(
    ("answer", "error_class", "texts"),
    [
        (response(401, GRANT.encode()), AuthenticationError, ["HTTP 401", f"{GRANT}: activate the service"]),
        (
            response(403, b"<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>"),
            AuthenticationError,
            ["HTTP 403: 403 Forbidden: the ", " has no right to "],
        ),
        (response(401), AuthenticationError, ["HTTP 401", ": check the key"]),
        (response(403), AuthenticationError, ["HTTP 403", " has no right to "]),
        (response(401, b"\xff\xfe\x00\x01\x02"), AuthenticationError, ["HTTP 401", ": check the key"]),
        (
            response(403, "账户未开通".encode("gbk")),
            AuthenticationError,
            ["HTTP 403: 账户未开通: activate the service"],
        ),
        (
            response(403, b"one\r\ntwo\x1b[31m\x00 " + b"x" * 9_000),
            AuthenticationError,
            ["one two [31m xxx", "xxx…: the "],
        ),
        (response(404, b"no Route matched"), VendorError, ["HTTP 404: no Route matched", "region", "endpoint", "path"]),
        (response(404), VendorError, ["HTTP 404", "region", "endpoint", "path"]),
        (response(400, b'{"detail":[{"msg":"not so"}]}'), VendorError, ["HTTP 400: not so"]),
        (response(302, b"", "Location: https://portal.example/"), VendorError, ["HTTP 302", "check the endpoint"]),
        (response(200, b"<html>Welcome to the hotel</html>"), VendorError, ["HTTP 200: Welcome to the hotel: this is"]),
        (
            b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nblocked\r\n0\r\n\r\n",
            AuthenticationError,
            ["HTTP 403: blocked: the "],
        ),
        (
            b"HTTP/1.0 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html><h1>blocked by an old proxy</h1></html>",
            AuthenticationError,
            ["HTTP 403: blocked by an old proxy: the "],
        ),
        (b"HTTP/1.1 403\r\nContent-Length: 7\r\n\r\nblocked", AuthenticationError, ["HTTP 403: blocked: the "]),
        (b"HTTP/1.1 401 No\r\nContent-Length: 999\r\n\r\ncut", AuthenticationError, ["HTTP 401: cut: check the key"]),
        (
            b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ncut \r\n99\r\noff",
            AuthenticationError,
            ["HTTP 401: cut off: check the key"],
        ),
        (response(403, b"too long " * 300_000), AuthenticationError, ["HTTP 403: too long too long"]),
        (
            b"HTTP/1.1 403 No\r\n\r\nblocked until the end",
            AuthenticationError,
            ["HTTP 403: blocked until the end: the "],
        ),
    ],
    ids=[
        "text",
        "HTML",
        "nothing, 401",
        "nothing, 403",
        "binary",
        "GBK",
        "long and unprintable",
        "404 with text",
        "404",
        "JSON of a third party",
        "redirect",
        "200",
        "chunked",
        "HTTP 1.0",
        "without a reason",
        "cut off",
        "chunked and cut off",
        "too long for the library",
        "without a length",
    ],
)
def test_the_text_of_a_refused_handshake_is_in_the_error_in_any_form(
    vendor_at: Any, answer: bytes, error_class: type[ASRError], texts: list[str]
) -> None:
    async def scenario() -> None:
        error, times = await refusal(vendor_at, answer)
        assert type(error) is error_class
        assert not error.retryable
        assert len(times) == 1
        for text in texts:
            assert text in str(error)
        assert str(error).isprintable()
        assert len(error.message) < 450
        assert len(error.raw or "") <= 4_096
        body = answer.partition(b"\r\n\r\n")[2]
        assert (error.raw is None) is (not body)
        assert pickle.loads(pickle.dumps(error)).raw == error.raw

    run_virtual(scenario)


def test_a_refusal_whose_body_never_ends_is_reported_with_the_text_that_arrived() -> None:
    async def scenario() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 999\r\n\r\nblocked")
            await reader.read()

        async with tcp_server(answer) as port:
            with pytest.raises(AuthenticationError, match="HTTP 403: blocked: the key has no right"):
                async with connect(*dashscope_at(f"ws://127.0.0.1:{port}"), timeouts=Timeouts(connect=3)):
                    pass
        assert now() == pytest.approx(3, abs=0.1)

    run_virtual(scenario)


@BOTH
def test_an_exhausted_quota_is_not_tried_again(vendor_at: Any) -> None:
    async def scenario() -> None:
        body = b'{"code":"Throttling.AllocationQuota","message":"Free allocated quota exceeded.","request_id":"r-1"}'
        error, times = await refusal(vendor_at, response(429, body), retry=Retry(attempts=6))
        assert (type(error), error.retryable, error.request_id) == (VendorError, False, "r-1")
        assert "quota is used up" in str(error)
        assert len(times) == 1

    run_virtual(scenario)


@pytest.mark.parametrize("header", ["retry-after: 2.5", "Retry-After: Sun, 29 Nov 2026 12:00:02 GMT"])
@BOTH
def test_a_rate_limit_at_the_handshake_says_how_long_to_wait(vendor_at: Any, header: str) -> None:
    async def scenario() -> None:
        answer = response(429, b"Too Many Requests", header, "date: Sun, 29 Nov 2026 12:00:00 GMT")
        error, _ = await refusal(vendor_at, answer, retry=Retry(attempts=0))
        assert isinstance(error, RateLimitedError)
        assert error.retry_after == (2.5 if "2.5" in header else 2.0)

    run_virtual(scenario)


def test_a_gateway_that_sends_the_request_back_does_not_put_the_key_into_the_error() -> None:
    async def scenario() -> None:
        answer = response(403, f"denied: GET / Authorization: Bearer {KEY}".encode())
        error, _ = await refusal(dashscope_at, answer)
        assert "denied: GET / Authorization: ***" in str(error)
        assert KEY not in repr(error.__dict__)
        assert KEY.encode() not in pickle.dumps(error)

    run_virtual(scenario)
