"""The addresses and credentials of Huawei: access keys, tokens, users; secrets are in no text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from asr_async import (
    ASRError,
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    Huawei,
    Paraformer,
    Rasr,
    RateLimitedError,
    RemoteProtocolError,
    VendorError,
    connect,
)
from asr_async.vendors.huawei import service as huawei_service
from asr_async.vendors.huawei.signing import canonical_request, signature

from ...support.virtual_time import run_virtual

AK, SK = "FAKEAK0123456789ABCD", "FakeSecretKey0123456789abcdefghijklmnopQ"
PROJECT = "0123456789abcdef0123456789abcdef"
USER = {"username": "user", "password": "pass word", "domain": "account"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AK", "SK", "PROJECT_ID", "REGION", "ENDPOINT"):
        monkeypatch.delenv(f"HUAWEICLOUD_SIS_{name}", raising=False)


def huawei(**arguments: Any) -> Huawei:
    """Return a service with keys, a project and a region by default; `...` leaves an argument out."""
    given = {"ak": AK, "sk": SK, "project_id": PROJECT, "region": "cn-north-4", **arguments}
    return Huawei(**{name: value for name, value in given.items() if value is not ...})


def huawei_by_token(**arguments: Any) -> Huawei:
    return huawei(ak=..., sk=..., **arguments)


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "mode", "url"),
    [
        ({}, "continue", f"wss://sis-ext.cn-north-4.myhuaweicloud.com/v1/{PROJECT}/rasr/continue-stream"),
        ({}, "sentence", f"wss://sis-ext.cn-north-4.myhuaweicloud.com/v1/{PROJECT}/rasr/sentence-stream"),
        ({"region": "xx-new-1"}, "short", f"wss://sis-ext.xx-new-1.myhuaweicloud.com/v1/{PROJECT}/rasr/short-stream"),
        (
            {"endpoint": "wss://sis-ext.cn-north-4.myhuaweicloud.cn/", "region": ...},
            "short",
            f"wss://sis-ext.cn-north-4.myhuaweicloud.cn/v1/{PROJECT}/rasr/short-stream",
        ),
        (
            {"endpoint": "ws://10.0.0.1:8080", "insecure": True},
            "short",
            f"ws://10.0.0.1:8080/v1/{PROJECT}/rasr/short-stream",
        ),
    ],
)
async def test_where_it_connects(arguments: dict[str, Any], mode: str, url: str) -> None:
    assert (await huawei(**arguments).resolve(Rasr(mode=mode))).url == url


async def test_the_environment_is_read_when_a_session_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Huawei()
    for name, value in {"AK": AK, "SK": SK, "PROJECT_ID": "p1", "REGION": "cn-east-3"}.items():
        monkeypatch.setenv(f"HUAWEICLOUD_SIS_{name}", f" {value}\n")
    endpoint = await service.resolve(Rasr())
    assert endpoint.url == "wss://sis-ext.cn-east-3.myhuaweicloud.com/v1/p1/rasr/continue-stream"
    assert f"Access={AK}," in endpoint.headers["Authorization"]
    monkeypatch.setenv("HUAWEICLOUD_SIS_ENDPOINT", "wss://proxy.example")
    assert (await service.resolve(Rasr())).url == "wss://proxy.example/v1/p1/rasr/continue-stream"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"endpoint": "wss://host/v1/x"},
            "must be scheme and host, wss://host, without a path, which the options add",
        ),
        (
            {"endpoint": "wss://host?x=1"},
            "endpoint='wss://host': must be scheme and host, wss://host, without a path",
        ),
        ({"endpoint": "sis-ext.cn-north-4.myhuaweicloud.com"}, "must be scheme and host, wss://host"),
        ({"endpoint": "https://host"}, "endpoint='https://host': must be scheme and host, wss://host"),
        ({"endpoint": "ws://10.0.0.1"}, "ws:// sends the key unencrypted; use wss://, or pass insecure=True"),
        ({"iam_endpoint": "wss://host"}, "iam_endpoint='wss://host': must be scheme and host, https://host"),
        ({"iam_endpoint": "http://10.0.0.1"}, "http:// sends the key unencrypted; use https://"),
        ({"region": "cn north"}, "region='cn north': must be 1 to 64 letters, digits, '_' and '-'"),
        ({"project_id": "a/b"}, "project_id='a/b': must be 1 to 64 letters, digits, '_' and '-'"),
        ({"project_id": ""}, "project_id='': must be 1 to 64 letters, digits"),
    ],
)
def test_a_malformed_address_is_refused_when_the_service_is_made(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        huawei(**arguments)


async def test_a_malformed_endpoint_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUAWEICLOUD_SIS_ENDPOINT", "host")
    with pytest.raises(ConfigurationError, match="HUAWEICLOUD_SIS_ENDPOINT='host': must be scheme and host"):
        await huawei().resolve(Rasr())


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ("project_id", "no Huawei project_id: set HUAWEICLOUD_SIS_PROJECT_ID or pass Huawei(project_id=...)"),
        ("region", "no Huawei region: set HUAWEICLOUD_SIS_REGION or pass Huawei(region=...)"),
    ],
)
async def test_a_missing_project_or_region_is_named(missing: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await huawei(**{missing: ...}).resolve(Rasr())
    assert str(caught.value) == text


async def test_options_of_another_vendor_are_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="Paraformer does not belong to Huawei: change the options or the serv"
    ):
        await huawei().resolve(Paraformer())
    async with Client(huawei()) as client:
        with pytest.raises(ConfigurationError, match="Paraformer does not belong to Huawei"):
            client.session(Paraformer())
    async with Client(DashScope("key")) as client:
        with pytest.raises(ConfigurationError, match="Rasr does not belong to DashScope"):
            client.session(Rasr())


# --- credentials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"ak": AK}, "Huawei: ak without sk"),
        ({"sk": SK}, "Huawei: sk without ak"),
        ({"ak": AK, "sk": " "}, "Huawei: ak without sk"),
        ({"token": ""}, "Huawei: token is empty"),
        ({"username": "u", "domain": "d"}, "Huawei: username and domain without password"),
        ({"password": "p"}, "Huawei: password without username and domain"),
        (
            {"ak": AK, "sk": SK, "token": "t"},
            "Huawei(ak, sk, token): pass ak and sk or token, not both",
        ),
        (
            {"token": "t", **USER},
            "Huawei(token, username, password, domain): pass token or username and password and domain, not both",
        ),
        ({"security_token": "s"}, "security_token= belongs to temporary keys: pass ak= and sk= with it"),
        ({"security_token": "s", "token": "t"}, "security_token= belongs to temporary keys: pass ak= and sk= with it"),
        ({"ak": "A\nK", "sk": SK}, "Huawei(ak=...): contains characters that no ak has: check it"),
        ({"token": "to ken"}, "Huawei(token=...): contains characters that no token has: check it"),
    ],
)
def test_credentials_must_be_of_one_kind_and_complete(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Huawei(**arguments)
    assert str(caught.value) == text


async def test_no_credentials_is_an_error_that_names_the_ways_to_give_them() -> None:
    with pytest.raises(AuthenticationError) as caught:
        await huawei(ak=..., sk=...).resolve(Rasr())
    assert str(caught.value) == (
        "no Huawei credentials: set HUAWEICLOUD_SIS_AK and HUAWEICLOUD_SIS_SK, or pass Huawei(ak=..., sk=...), "
        "Huawei(token=...) or Huawei(username=..., password=..., domain=...); service=Local() needs none"
    )


@pytest.mark.parametrize(("present", "absent"), [("AK", "SK"), ("SK", "AK")])
async def test_half_of_the_keys_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, present: str, absent: str
) -> None:
    monkeypatch.setenv(f"HUAWEICLOUD_SIS_{present}", "value")
    with pytest.raises(AuthenticationError) as caught:
        await huawei(ak=..., sk=...).resolve(Rasr())
    assert str(caught.value) == (
        f"half of the Huawei keys: HUAWEICLOUD_SIS_{present} is set, HUAWEICLOUD_SIS_{absent} is not"
    )


async def test_key_arguments_are_never_completed_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUAWEICLOUD_SIS_SK", SK)
    with pytest.raises(ConfigurationError, match="ak without sk"):
        Huawei(ak=AK)


async def test_a_line_break_in_a_key_of_the_environment_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HUAWEICLOUD_SIS_AK", "se\ncret")
    monkeypatch.setenv("HUAWEICLOUD_SIS_SK", SK)
    with pytest.raises(AuthenticationError) as caught:
        await huawei(ak=..., sk=...).resolve(Rasr())
    assert str(caught.value) == "HUAWEICLOUD_SIS_AK contains characters that no key has: check it"


def parts_of(authorization: str) -> tuple[str, list[str], str]:
    """Return access key, signed headers and signature of an Authorization header."""
    match = re.fullmatch(r"SDK-HMAC-SHA256 Access=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})", authorization)
    assert match is not None
    return match[1], match[2].split(";"), match[3]


async def test_access_keys_sign_host_and_date_of_the_handshake() -> None:
    endpoint = await huawei(endpoint="wss://EXAMPLE.com:443").resolve(Rasr())
    access, signed, signature_hex = parts_of(endpoint.headers["Authorization"])
    date = endpoint.headers["X-Sdk-Date"]
    canonical = canonical_request("GET", endpoint.url, {"Host": "example.com", "X-Sdk-Date": date}, b"")
    assert (access, signed) == (AK, ["host", "x-sdk-date"])
    assert signature_hex == signature(SK, date, canonical)
    assert abs(datetime.now(UTC) - datetime.strptime(date, "%Y%m%dT%H%M%S%z")) < timedelta(minutes=1)
    assert set(endpoint.headers) == {"Authorization", "X-Sdk-Date", "User-Agent"}


async def test_temporary_keys_send_and_sign_their_security_token() -> None:
    endpoint = await huawei(security_token="temporary").resolve(Rasr())
    assert endpoint.headers["X-Security-Token"] == "temporary"
    assert parts_of(endpoint.headers["Authorization"])[1] == ["host", "x-sdk-date", "x-security-token"]


async def test_headers_of_the_caller_are_sent_and_signed() -> None:
    given = {"Enterprise-Project-Id": "e-1", "X-Language": "en-us"}
    service = Huawei(project_id="p1", region="cn-north-4", ak="A", sk="S", headers=given)
    headers = (await service.resolve(Rasr())).headers
    assert {name: headers[name] for name in given} == given
    assert "SignedHeaders=enterprise-project-id;host;x-language;x-sdk-date" in headers["Authorization"]
    assert "e-1" not in repr(headers)


async def test_a_given_token_is_sent_without_a_signature() -> None:
    endpoint = await huawei_by_token(token="given").resolve(Rasr())
    assert set(endpoint.headers) == {"X-Auth-Token", "User-Agent"}
    assert endpoint.headers["X-Auth-Token"] == "given"


def test_no_secret_in_any_repr() -> None:
    services = [huawei(security_token="temporary"), huawei_by_token(token="given"), huawei_by_token(**USER)]
    texts = "".join(repr(service) + repr(service._credentials) for service in services)
    assert not any(secret in texts for secret in (AK, SK, "temporary", "given", "pass word"))


# --- refused handshakes ----------------------------------------------------------------------------------------------

Handler = Callable[[web.Request], Any]


@contextlib.asynccontextmanager
async def http_server(handler: Handler) -> AsyncIterator[str]:
    """Run a plain HTTP server on a loopback port and yield its address."""
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


async def refusal(status: int, body: Any = None, **headers: str) -> ASRError:
    """Return the error of a session whose handshake a gateway refuses."""

    async def refuse(_request: web.Request) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async with http_server(refuse) as address:
        with pytest.raises(ASRError) as caught:
            async with connect(Rasr(), huawei(endpoint=f"ws://{address}")):
                pass
    return caught.value


def gateway(code: str, message: str) -> dict[str, str]:
    return {"error_code": code, "error_msg": message, "request_id": "r-1"}


async def test_a_wrong_signature_raises_with_status_code_and_the_vendors_text() -> None:
    error = await refusal(401, gateway("APIGW.0301", "Incorrect IAM authentication information: verify aksk signature"))
    assert isinstance(error, AuthenticationError)
    assert not error.retryable
    assert str(error) == (
        "HTTP 401: Incorrect IAM authentication information: verify aksk signature: check the keys or the token, the "
        "region and the project; 5 wrong signatures lock a key for 5 minutes (code APIGW.0301, request r-1)"
    )


@pytest.mark.parametrize(
    ("minutes", "text"), [(23, "23 minutes ahead of the vendor's"), (-40, "40 minutes behind the vendor's")]
)
async def test_a_clock_that_is_off_is_measured_and_named(
    monkeypatch: pytest.MonkeyPatch, minutes: int, text: str
) -> None:
    monkeypatch.setattr(huawei_service, "utc_now", lambda: datetime.now(UTC) + 1.01 * timedelta(minutes=minutes))
    error = await refusal(401, gateway("APIGW.0301", "Incorrect IAM authentication information"))
    assert isinstance(error, AuthenticationError)
    assert f"clock is {text}): the likely cause is this machine's clock, more than 15 minutes off" in str(error)


async def test_an_expired_signature_names_the_clock_although_the_response_has_no_date() -> None:
    error = await refusal(401, gateway("APIGW.0301", "signature expired"), Date="")
    assert "signature expired: the likely cause is this machine's clock, more than 15 minutes off: set it" in str(error)


async def test_a_clock_that_is_right_is_not_blamed() -> None:
    error = await refusal(401, gateway("APIGW.0301", "Incorrect IAM authentication information"))
    assert "clock" not in str(error)


async def test_throttling_raises_with_the_time_to_wait() -> None:
    error = await refusal(429, gateway("APIGW.0308", "The throttling threshold has been reached"), Retry_After="7")
    assert isinstance(error, RateLimitedError)
    assert (error.retryable, error.retry_after, error.code) == (True, 7.0, "APIGW.0308")
    assert "slow down and try again" in str(error)


async def test_an_unknown_project_raises_an_error_with_a_remedy() -> None:
    error = await refusal(404, gateway("APIGW.0101", "The API does not exist or has not been published"))
    assert isinstance(error, VendorError)
    assert str(error).startswith("HTTP 404: The API does not exist or has not been published: check the endpoint")


async def test_the_status_decides_for_a_page_of_html() -> None:
    error = await refusal(503, "<html>busy</html>")
    assert isinstance(error, VendorError)
    assert error.retryable
    assert str(error) == "HTTP 503: busy: an error of the vendor; try again (code 503)"


async def test_no_secret_in_the_traceback_of_a_refusal() -> None:
    error = await refusal(401, gateway("APIGW.0301", "no"))
    text = "".join(traceback.format_exception(error)) + repr(error)
    assert AK not in text
    assert SK not in text


async def test_a_refused_given_token_is_not_sent_again() -> None:
    seen = []

    async def refuse(request: web.Request) -> web.Response:
        seen.append(request.headers["X-Auth-Token"])
        return web.json_response(gateway("APIGW.0307", "token must be renewed"), status=401)

    async with http_server(refuse) as address:
        with pytest.raises(AuthenticationError, match="request a new token, for a project"):
            async with connect(Rasr(), huawei_by_token(token="given", endpoint=f"ws://{address}")):
                pass
    assert seen == ["given"]


# --- tokens of IAM ---------------------------------------------------------------------------------------------------


class Iam:
    """IAM and the gateway in one: IAM returns numbered tokens, and the gateway refuses those in `refused`."""

    def __init__(self, *, body: Any = None, status: int = 201, life: timedelta | None = timedelta(hours=24)) -> None:
        self.asked: list[dict[str, Any]] = []
        self.tried: list[str] = []
        self.refused: set[str] = set()
        self.status = status
        self.body = body
        self.life = life

    async def handle(self, request: web.Request) -> web.Response:
        if request.path != "/v3/auth/tokens":
            return self._at_the_door(request)
        assert request.method == "POST"
        assert request.content_type == "application/json"
        self.asked.append(await request.json())
        if self.status != 201:
            return web.json_response(self.body, status=self.status)
        return web.json_response(
            self.body if self.body is not None else self._times(),
            status=201,
            headers={"x-subject-token": f"token-{len(self.asked)}"},
        )

    def _times(self) -> dict[str, Any]:
        if self.life is None:
            return {}
        # the vendor's clock is a year behind: only the difference matters
        issued = datetime(2025, 1, 1, tzinfo=UTC)
        form = "%Y-%m-%dT%H:%M:%S.%fZ"
        return {"token": {"issued_at": issued.strftime(form), "expires_at": (issued + self.life).strftime(form)}}

    def _at_the_door(self, request: web.Request) -> web.Response:
        token = request.headers["X-Auth-Token"]
        self.tried.append(token)
        if token in self.refused:
            return web.json_response(gateway("APIGW.0301", "decrypt token fail"), status=401)
        return web.json_response(gateway("SIS.0312", "busy"), status=403)


@contextlib.asynccontextmanager
async def iam_server(iam: Iam) -> AsyncIterator[Callable[..., Huawei]]:
    """Run IAM and yield a function that makes services for it."""
    async with http_server(iam.handle) as address:

        def service(**arguments: Any) -> Huawei:
            where = {"endpoint": f"ws://{address}", "iam_endpoint": f"http://{address}"}
            return huawei_by_token(**{**USER, **where, **arguments})

        yield service


async def token_of(service: Huawei) -> str:
    return (await service.resolve(Rasr())).headers["X-Auth-Token"]


async def test_a_user_gets_a_token_for_the_project_that_is_named_as_the_region() -> None:
    iam = Iam()
    async with iam_server(iam) as service:
        assert await token_of(service()) == "token-1"
    user = {"name": "user", "password": "pass word", "domain": {"name": "account"}}
    assert iam.asked == [
        {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": "cn-north-4"}},
            }
        }
    ]


async def test_services_and_sessions_that_begin_at_once_share_one_token() -> None:
    iam = Iam()
    async with iam_server(iam) as service:
        tokens = await asyncio.gather(*(token_of(service()) for _ in range(20)))
    assert set(tokens) == {"token-1"}
    assert len(iam.asked) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"username": "other"},
        {"password": "other"},
        {"domain": "other"},
        {"region": "cn-east-3"},
    ],
    ids=str,
)
async def test_a_token_is_cached_for_exactly_its_user_password_account_and_region(other: dict[str, str]) -> None:
    iam = Iam()
    async with iam_server(iam) as service:
        assert await token_of(service()) == "token-1"
        assert await token_of(service(**other)) == "token-2"
        assert await token_of(service()) == "token-1"


async def test_a_token_is_cached_for_exactly_its_iam_endpoint() -> None:
    first, second = Iam(), Iam()
    async with iam_server(first) as service, http_server(second.handle) as elsewhere:
        await token_of(service())
        await token_of(service(iam_endpoint=f"http://{elsewhere}"))
    assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.parametrize(("life", "hours"), [(timedelta(hours=24), 24), (timedelta(hours=2), 2), (None, 24)], ids=str)
def test_a_token_is_replaced_half_an_hour_before_it_ends_by_the_vendors_own_clock(
    life: timedelta | None, hours: int
) -> None:
    async def scenario() -> None:
        async with iam_server(Iam(life=life)) as service:
            assert await token_of(service()) == "token-1"
            await asyncio.sleep((hours - 0.5) * 3600 - 60)
            assert await token_of(service()) == "token-1"
            await asyncio.sleep(120)
            assert await token_of(service()) == "token-2"

    run_virtual(scenario)


async def test_a_refused_cached_token_is_replaced_once() -> None:
    iam = Iam()
    async with iam_server(iam) as service:
        await token_of(service())
        iam.refused = {"token-1"}
        with pytest.raises(RateLimitedError):  # what this gateway says to a token that it takes
            async with connect(Rasr(), service()):
                pass
        assert await token_of(service()) == "token-2"
    assert iam.tried == ["token-1", "token-2"]


async def test_a_new_token_that_is_refused_is_an_error_at_once() -> None:
    iam = Iam()
    iam.refused = {"token-1", "token-2"}
    async with iam_server(iam) as service:
        with pytest.raises(AuthenticationError, match="decrypt token fail"):
            async with connect(Rasr(), service()):
                pass
        with pytest.raises(AuthenticationError, match="decrypt token fail"):
            async with connect(Rasr(), service()):
                pass
    assert iam.tried == ["token-1", "token-2"]  # one each: neither was kept from before


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (
            401,
            {"error": {"code": 401, "message": "The username or password is wrong.", "title": "Unauthorized"}},
            AuthenticationError,
            "HTTP 401 from IAM: The username or password is wrong: check username, password, domain (code 401)",
        ),
        (
            401,
            {"error_code": "IAM.0101", "error_msg": "wrong"},
            AuthenticationError,
            "HTTP 401 from IAM: wrong: check username, password, domain (code IAM.0101)",
        ),
        (
            503,
            None,
            VendorError,
            "HTTP 503 from IAM: the response holds no token: an error of the vendor; try again (code 503)",
        ),
        (418, None, VendorError, "HTTP 418 from IAM: the response holds no token (code 418)"),
    ],
)
async def test_a_refusal_of_iam_is_a_typed_error(status: int, body: Any, kind: type[ASRError], text: str) -> None:
    async with iam_server(Iam(status=status, body=body)) as service:
        with pytest.raises(kind) as caught:
            await token_of(service())
    assert str(caught.value) == text


async def test_an_answer_without_a_token_is_a_protocol_error() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({}, status=201)

    async with http_server(answer) as address:
        with pytest.raises(RemoteProtocolError, match="IAM's response holds no token"):
            await token_of(huawei_by_token(**USER, iam_endpoint=f"http://{address}"))


async def test_an_unreachable_iam_is_a_lost_connection() -> None:
    async with http_server(Iam().handle) as address:
        pass
    with pytest.raises(ConnectionLostError, match=f"cannot reach {address}: Connection refused"):
        await token_of(huawei_by_token(**USER, iam_endpoint=f"http://{address}"))


async def test_a_password_needs_a_region_even_with_endpoints() -> None:
    service = huawei_by_token(**USER, region=..., endpoint="wss://host", iam_endpoint="https://host")
    with pytest.raises(ConfigurationError, match="no Huawei region"):
        await service.resolve(Rasr())


async def test_no_password_and_no_token_in_the_traceback_of_a_refusal() -> None:
    iam = Iam(status=401)
    async with iam_server(iam) as service:
        with pytest.raises(AuthenticationError) as caught:
            await token_of(service())
    assert "pass word" not in "".join(traceback.format_exception(caught.value))
