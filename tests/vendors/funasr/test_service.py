"""`FunASRServer`: its addresses, what it refuses, and what a refused handshake means."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    ASRError,
    AuthenticationError,
    ConfigurationError,
    FunASRNano,
    FunASRServer,
    Paraformer,
    RateLimitedError,
    Retry,
    VendorError,
    connect,
)
from asr_async.vendors import vendors
from asr_async.vendors.funasr.errors import error_from_handshake

from ...support.scripted_server import scripted_server

NANO = FunASRNano()
FORM = "must be the URL of a server, wss://host:port or ws://host:port"
UNENCRYPTED = (
    "ws:// sends audio and text unencrypted; use wss://, or if the network is yours, pass insecure=True or set "
    "FUNASR_SERVER_INSECURE=1"
)


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUNASR_SERVER", raising=False)
    monkeypatch.delenv("FUNASR_SERVER_INSECURE", raising=False)


# --- addresses -------------------------------------------------------------------------------------------------------


async def test_an_endpoint_is_the_address() -> None:
    endpoint = await FunASRServer("wss://asr.example.org:10095").resolve(NANO)
    assert (endpoint.url, endpoint.reuse_s, endpoint.account) == ("wss://asr.example.org:10095", None, "")
    assert list(endpoint.headers) == ["User-Agent"]


async def test_a_key_and_headers_are_those_of_a_gateway() -> None:
    service = FunASRServer("wss://asr.example.org", api_key="sk-1", headers={"X-Room": "5"})
    endpoint = await service.resolve(NANO)
    assert endpoint.headers["Authorization"] == "Bearer sk-1"
    assert endpoint.headers["X-Room"] == "5"
    assert "sk-1" not in f"{service!r} {endpoint!r} {endpoint.headers!r} {vars(service)!r}"


async def test_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    service = FunASRServer()
    assert repr(service) == "<FunASRServer of the environment>"
    with pytest.raises(ConfigurationError) as caught:
        await service.resolve(NANO)
    assert str(caught.value) == (
        "no address of a FunASR server: set FUNASR_SERVER, or pass it, FunASRServer('ws://127.0.0.1:10095')"
    )
    monkeypatch.setenv("FUNASR_SERVER", "ws://127.0.0.1:1, wss://b:2")
    assert list(service.replicas) == ["ws://127.0.0.1:1", "wss://b:2"]
    assert (await service.resolve(NANO)).url == "ws://127.0.0.1:1"


async def test_an_address_of_the_environment_may_be_allowed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNASR_SERVER", "ws://10.0.0.5:10095")
    with pytest.raises(ConfigurationError) as caught:
        await FunASRServer().resolve(NANO)
    assert str(caught.value) == f"FUNASR_SERVER='ws://10.0.0.5:10095': {UNENCRYPTED}"
    monkeypatch.setenv("FUNASR_SERVER_INSECURE", "1")
    assert (await FunASRServer().resolve(NANO)).url == "ws://10.0.0.5:10095"


async def test_plain_websocket_needs_a_word_except_on_this_machine() -> None:
    assert (await FunASRServer("ws://localhost:10095").resolve(NANO)).url == "ws://localhost:10095"
    assert (await FunASRServer("ws://10.0.0.5", insecure=True).resolve(NANO)).url == "ws://10.0.0.5"


@pytest.mark.parametrize(
    ("addresses", "text"),
    [
        (
            ["ws://10.0.0.5:10095"],
            f"address='ws://10.0.0.5:10095': {UNENCRYPTED}",
        ),
        (
            ["10.0.0.5:10095"],
            f"address='10.0.0.5:10095': {FORM}",
        ),
        (
            ["http://10.0.0.5"],
            f"address='http://10.0.0.5': {FORM}",
        ),
        (
            ["wss://host:port"],
            f"address=...: its host or port is malformed; it {FORM}",
        ),
        (["wss://a", "wss://a"], "address: an address is given twice"),
        ([5], "address: an address is a text, not int"),
        ([["wss://a"]], "address: an address is a text, not list"),
    ],
)
def test_an_address_that_is_malformed_is_refused(addresses: list[Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FunASRServer(*addresses)
    assert str(caught.value) == text


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        FunASRServer("wss://a", api_key="sk\n1")
    assert str(caught.value) == "FunASRServer(api_key=...): must be printable ASCII text"


def test_a_certificate_of_your_own_is_trusted_by_its_context() -> None:
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    FunASRServer("wss://10.0.0.5:10095", ssl_context=unverified, insecure=True)


def test_options_of_other_vendors_and_tables_are_refused() -> None:
    service = FunASRServer("wss://a")
    with pytest.raises(ConfigurationError, match=r"^Paraformer does not belong to FunASRServer: change the options"):
        service.describe(Paraformer())
    with pytest.raises(ConfigurationError, match=r"FunASRServer stores no hot-word tables: pass the words"):
        _ = service.vocabularies


def test_the_vendor_is_in_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = vendors()["funasr"]
    assert (vendor.missing_variables(), vendor.missing_variables(has_endpoint=True)) == (["FUNASR_SERVER"], [])
    assert repr(vendor.service(endpoint="ws://127.0.0.1:5")) == "<FunASRServer ws://127.0.0.1:5>"
    assert repr(vendor.service()) == "<FunASRServer of the environment>"


# --- refused handshakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "error_class", "text"),
    [
        (
            400,
            b"Failed to open a WebSocket connection: missing subprotocol.\n",
            VendorError,
            "HTTP 400: Failed to open a WebSocket connection: missing subprotocol: this is a server of the older",
        ),
        (404, b"", VendorError, "HTTP 404: the handshake was refused: this is no FunASR server"),
        (401, b"", AuthenticationError, "HTTP 401: the handshake was refused: check api_key= of FunASRServer"),
        (429, b"", RateLimitedError, "HTTP 429: the handshake was refused: the server has no room for another"),
        (503, b"no backend", VendorError, "HTTP 503: no backend: an error of the vendor; try again"),
    ],
)
def test_a_refused_handshake_says_what_to_do(status: int, body: bytes, error_class: type[ASRError], text: str) -> None:
    error = error_from_handshake(status, {}, body)
    assert type(error) is error_class
    assert str(error).startswith(text)
    assert error.vendor == "funasr"


async def test_a_server_that_asks_for_a_subprotocol_is_named() -> None:
    """The older server, as its own library refuses a client without its subprotocol."""

    async def never(_: ServerConnection) -> None:
        raise AssertionError

    async with scripted_server(never, subprotocols=["binary"]) as dashscope:
        endpoint = await dashscope.resolve(Paraformer())
        with pytest.raises(VendorError) as caught:
            async with connect(NANO, FunASRServer(endpoint.url), retry=Retry(attempts=0)):
                pass
    assert caught.value.status == HTTPStatus.BAD_REQUEST
    assert str(caught.value) == (
        "HTTP 400: Failed to open a WebSocket connection: missing subprotocol: this is a server of the older 2pass "
        "protocol, funasr_wss_server.py: pass FunASR2Pass(...) (code 400)"
    )
