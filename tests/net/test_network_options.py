"""`ssl_context=` and `proxy=` of clients and services: sessions, HTTP requests, precedence, refused values."""

from __future__ import annotations

import contextlib
import ssl
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web

from asr_async import (
    ASRError,
    Client,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    Fallback,
    Huawei,
    Local,
    Paraformer,
    Rasr,
    Retry,
    connect,
    transcribe,
)
from asr_async._net.http import request
from asr_async._net.network_options import NetworkOptions
from asr_async.emulator import Scripted, serve
from asr_async.vendors.service import with_network

from ..support.certificates import server_ssl_context, trust_by_environment
from ..support.connect_proxy import ConnectProxy
from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection

pytestmark = pytest.mark.both_loops

KEY = "sk-0123456789abcdef"
PASSWORD = "p%40ss-of-the-proxy"
SECOND = bytes(32_000)
EVERYTHING = ["32000 bytes"]
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def no_proxy_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https", "ws", "wss", "socks", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)


async def recognise(connection: ServerConnection) -> None:
    task_id = await start_task(connection)
    size = await read_until_finish(connection)
    await send_final(connection, task_id, f"{size} bytes")
    await send_event(connection, "task-finished", task_id, {"output": {}})


async def port_of(service: DashScope) -> int:
    return int((await service.resolve(Paraformer())).host.rpartition(":")[2])


def far_away(**arguments: Any) -> DashScope:
    return DashScope(KEY, endpoint="ws://asr.example/", insecure=True, **arguments)


@contextlib.asynccontextmanager
async def proxied_server(**options: Any) -> AsyncIterator[ConnectProxy]:
    """A proxy that leads to a server under the name asr.example."""
    async with scripted_server(recognise, **options) as service:
        port = await port_of(service)
        ports = {"asr.example:80": port, "asr.example:443": port}
        async with ConnectProxy(ports).serving() as proxy:
            yield proxy


async def texts(service: Any, **arguments: Any) -> list[str]:
    async with Client(service, retry=Retry(attempts=0), **arguments) as client:
        return [result.text for result in (await client.transcribe([SECOND], Paraformer())).results]


def is_trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def is_not_verifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# --- the proxy of a session ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["client", "service", "connect", "transcribe", "fallback"])
async def test_a_session_goes_through_the_proxy_of_the_argument(owner: str) -> None:
    async with proxied_server() as proxy:
        url = f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}"
        match owner:
            case "client":
                assert await texts(far_away(), proxy=url) == EVERYTHING
            case "service":
                assert await texts(far_away(proxy=url)) == EVERYTHING
            case "connect":
                async with connect(Paraformer(), far_away(), proxy=url) as session:
                    assert [result.text async for result in session.stream([SECOND], pace=None)] == EVERYTHING
            case "transcribe":
                assert (await transcribe([SECOND], Paraformer(), far_away(), proxy=url)).text == EVERYTHING[0]
            case _:
                assert await texts(Fallback([(far_away(), Paraformer())]), proxy=url) == EVERYTHING
    (connect_request,) = proxy.requests
    assert connect_request.startswith("CONNECT asr.example:80 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6cEBzcy1vZi10aGUtcHJveHk=\r\n" in connect_request


async def test_the_clients_proxy_counts_before_the_services_and_the_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", NOWHERE)
    monkeypatch.setenv("NO_PROXY", "*")
    async with proxied_server() as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        assert await texts(far_away(proxy=NOWHERE), proxy=url) == EVERYTHING
        assert await texts(far_away(proxy=url)) == EVERYTHING
    assert len(proxy.requests) == 2


@pytest.mark.parametrize("owner", ["client", "service"])
async def test_proxy_false_connects_directly_whatever_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    async with proxied_server() as proxy:
        for variable in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        service = DashScope(KEY, endpoint="wss://no-such-host.invalid/", proxy=False if owner == "service" else None)
        with pytest.raises(ConnectionLostError, match=r"^cannot find the host no-such-host\.invalid:"):
            await texts(service, **({"proxy": False} if owner == "client" else {}))
    assert proxy.requests == []


async def test_this_machine_is_never_reached_through_the_proxy_of_the_argument() -> None:
    async with scripted_server(recognise) as service:
        assert await texts(service, proxy=NOWHERE) == EVERYTHING
    hello = Scripted([("Good morning.", 100, 900)])
    async with Client(Local(hello), proxy=NOWHERE) as client:
        assert (await client.transcribe([SECOND], Paraformer())).text == "Good morning."


# --- the TLS context of a session ------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["client", "service"])
async def test_a_context_trusts_a_server_that_the_system_does_not(authority: trustme.CA, owner: str) -> None:
    contexts: dict[str, Any] = {"ssl_context": is_trusting(authority)}
    none: dict[str, Any] = {}
    async with scripted_server(recognise, ssl=server_ssl_context(authority)) as there:
        endpoint = f"wss://{(await there.resolve(Paraformer())).host}/"
        of_service, of_client = (contexts, none) if owner == "service" else (none, contexts)
        assert await texts(DashScope(KEY, endpoint=endpoint, **of_service), **of_client) == EVERYTHING
        with pytest.raises(ConnectionLostError, match=r"is not trusted: .*SSL_CERT_FILE or ssl_context="):
            await texts(DashScope(KEY, endpoint=endpoint))


async def test_a_context_counts_before_the_environments_certificates(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    trust_by_environment(authority, monkeypatch, tmp_path)
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trustme.CA().configure_trust(other)
    async with scripted_server(recognise, ssl=server_ssl_context(authority)) as service:
        assert await texts(service) == EVERYTHING
        with pytest.raises(ConnectionLostError, match="is not trusted"):
            await texts(service, ssl_context=other)


async def test_the_context_is_used_for_a_proxy_with_tls_too(authority: trustme.CA) -> None:
    async with scripted_server(recognise, ssl=server_ssl_context(authority, "asr.example")) as there:
        proxy = ConnectProxy({"asr.example:443": await port_of(there)})
        async with proxy.serving(ssl=server_ssl_context(authority)):
            service = DashScope(KEY, endpoint="wss://asr.example/")
            url = f"https://127.0.0.1:{proxy.port}"
            assert await texts(service, proxy=url, ssl_context=is_trusting(authority)) == EVERYTHING


async def test_a_context_that_does_not_verify_is_allowed_on_this_machine_and_where_the_service_is_insecure(
    authority: trustme.CA,
) -> None:
    async with scripted_server(recognise, ssl=server_ssl_context(trustme.CA(), "asr.example")) as there:
        assert await texts(there, ssl_context=is_not_verifying()) == EVERYTHING
        async with ConnectProxy({"asr.example:443": await port_of(there)}).serving() as proxy:
            network = {"ssl_context": is_not_verifying(), "proxy": f"http://127.0.0.1:{proxy.port}"}
            insecure = DashScope(KEY, endpoint="wss://asr.example/", insecure=True)
            assert await texts(insecure, **network) == EVERYTHING
            before = len(proxy.requests)
            with pytest.raises(ConfigurationError, match="does not verify the server"):
                await texts(DashScope(KEY, endpoint="wss://asr.example/"), **network)
            assert len(proxy.requests) == before


# --- HTTP requests ---------------------------------------------------------------------------------------------------


async def test_a_user_behind_a_proxy_connects_with_the_clients_proxy_alone() -> None:
    """The token is requested from IAM while the session connects."""
    async with serve(Scripted([("Good morning.", 100, 900)]), api_keys={"user": "secret"}) as emulator:
        port = int(emulator.address.rpartition(":")[2])
        async with ConnectProxy({"sis.example:80": port, "iam.example:80": port}).serving() as proxy:
            service = Huawei(
                project_id="p",
                region="cn-north-4",
                username="user",
                password="secret",
                domain="account",
                endpoint="ws://sis.example",
                iam_endpoint="http://iam.example",
                insecure=True,
            )
            async with Client(service, proxy=f"http://127.0.0.1:{proxy.port}") as client:
                assert (await client.transcribe([SECOND], Rasr())).text == "Good morning"
    assert [head.partition(" HTTP")[0] for head in proxy.requests] == [
        "POST http://iam.example/v3/auth/tokens",
        "CONNECT sis.example:80",
    ]


async def test_temporary_keys_and_hot_word_tables_go_through_the_clients_proxy() -> None:
    async with serve(Scripted([]), api_keys={KEY}) as emulator:
        port = int(emulator.address.rpartition(":")[2])
        async with ConnectProxy({"asr.example:80": port}).serving() as proxy:
            service = DashScope(
                KEY, endpoint="ws://asr.example/", http_endpoint="http://asr.example/api/v1", insecure=True
            )
            async with Client(service, proxy=f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}") as client:
                assert (await client.temporary_key()).value.startswith("st-")
                assert await client.vocabularies.list() == []
    assert len(proxy.requests) == 3  # the tables are of two kinds
    assert all("Proxy-Authorization: Basic bWU6cEBzcy1vZi10aGUtcHJveHk=\r\n" in head for head in proxy.requests)


@contextlib.asynccontextmanager
async def https_server(authority: trustme.CA) -> AsyncIterator[int]:
    """An HTTPS server under the name asr.example; yields its port."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="here")

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_ssl_context(authority, "asr.example")).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_a_request_over_tls_goes_through_a_tunnel(authority: trustme.CA) -> None:
    async with https_server(authority) as port, ConnectProxy({"asr.example:443": port}).serving() as proxy:
        network = NetworkOptions(
            ssl_context=is_trusting(authority), proxy=f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}"
        )
        response = await request("GET", "https://asr.example/", headers={"X-Key": KEY}, network=network)
        assert (response.status, response.body) == (200, b"here")
        with pytest.raises(ConnectionLostError, match=r"^the certificate of asr\.example is not trusted: "):
            await request("GET", "https://asr.example/", headers={}, network=NetworkOptions(proxy=network.proxy))
    assert "Proxy-Authorization: Basic bWU6cEBzcy1vZi10aGUtcHJveHk=\r\n" in proxy.requests[0]
    assert KEY not in proxy.requests[0]


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
async def test_a_request_goes_through_the_proxy_of_the_environment(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    async with https_server(authority) as port, ConnectProxy({"asr.example:443": port}).serving() as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        network = NetworkOptions(ssl_context=is_trusting(authority))
        assert (await request("GET", "https://asr.example/", headers={}, network=network)).body == b"here"
        monkeypatch.setenv("no_proxy", ".invalid")
        with pytest.raises(ConnectionLostError, match=r"^cannot find the host no-such-host\.invalid:"):
            await request("GET", "https://no-such-host.invalid/", headers={})
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("407 Proxy Authentication Required", "HTTP 407: it requires credentials, http://user:password@host:port"),
        ("403 Forbidden", "HTTP 403: allow this host there, or choose another way: proxy=False connects directly"),
    ],
)
async def test_a_proxy_that_refuses_a_request_is_named(scheme: str, status: str, text: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    async with ConnectProxy({}, answer=answer).serving() as proxy:
        network = NetworkOptions(proxy=f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}")
        expected = f"the proxy 127.0.0.1:{proxy.port} refused to connect to asr.example with {text}"
        if scheme == "http" and status.startswith("403"):  # it may as well be the server's
            assert (await request("GET", "http://asr.example/", headers={}, network=network)).status == 403
            return
        with pytest.raises(ConnectionLostError) as caught:
            await request("GET", f"{scheme}://asr.example/", headers={}, network=network)
    assert str(caught.value) == expected


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_proxy_that_a_request_cannot_reach_is_named(scheme: str) -> None:
    with pytest.raises(ConnectionLostError) as caught:
        await request("GET", f"{scheme}://asr.example/", headers={}, network=NetworkOptions(proxy=NOWHERE))
    assert str(caught.value) == "cannot reach 127.0.0.1:1 (the proxy to asr.example): Connection refused"
    network = NetworkOptions(proxy="http://no-such-proxy.invalid:3128")
    with pytest.raises(ConnectionLostError) as caught:
        await request("GET", f"{scheme}://asr.example/", headers={}, network=network)
    assert str(caught.value).startswith("cannot find the host no-such-proxy.invalid:3128 (the proxy to asr.example):")


async def test_a_request_cannot_use_a_socks_proxy_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://me:{PASSWORD}@127.0.0.1:1080")
    with pytest.raises(ConfigurationError) as caught:
        await request("GET", "https://asr.example/", headers={})
    assert str(caught.value) == (
        "the proxy 127.0.0.1:1080 speaks SOCKS, which HTTP requests (tokens, hot words) cannot use: give an http:// "
        "proxy for them, in HTTPS_PROXY or proxy= of the service, or name asr.example in NO_PROXY"
    )


# --- values that are refused -----------------------------------------------------------------------------------------

FORM = "proxy= must be http://host:port or http://user:password@host:port: "


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"proxy": "proxy.example:3128"}, f"{FORM}it has no scheme, such as http://"),
        ({"proxy": f"me:{PASSWORD}@proxy.example"}, f"{FORM}it has no scheme, such as http://"),
        (
            {"proxy": f"ftp://me:{PASSWORD}@proxy.example"},
            f"{FORM}its scheme must be one of http, https, socks5, socks5h, socks4, socks4a",
        ),
        ({"proxy": ""}, f"{FORM}it has no scheme, such as http://"),
        ({"proxy": True}, "proxy= must be a URL such as http://host:port, False for none, or None"),
        ({"proxy": {"https": "x"}}, "proxy= must be a URL such as http://host:port, False for none, or None"),
        (
            {"ssl_context": "ca.pem"},
            "ssl_context='ca.pem': must be an ssl.SSLContext, such as ssl.create_default_context(cafile='ca.pem')",
        ),
        (
            {"ssl_context": False},
            "ssl_context=False: must be an ssl.SSLContext, such as ssl.create_default_context(cafile='ca.pem')",
        ),
        (
            {"ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
            (
                "ssl_context= is for servers (PROTOCOL_TLS_SERVER): pass one for clients, such as "
                "ssl.create_default_context(cafile='ca.pem')"
            ),
        ),
    ],
    ids=[
        "no scheme",
        "credentials without a scheme",
        "another scheme",
        "empty",
        "true",
        "a table",
        "the name of a file",
        "false",
        "for servers",
    ],
)
def test_a_value_that_cannot_work_is_refused_where_it_is_given(arguments: dict[str, Any], text: str) -> None:
    makers: list[Any] = [
        lambda: Client(DashScope(KEY), **arguments),
        lambda: DashScope(KEY, **arguments),
        lambda: Huawei(**arguments),
        lambda: connect(Paraformer(), DashScope(KEY), **arguments),
    ]
    for make in makers:
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert str(caught.value) == text


@pytest.mark.parametrize("weakness", ["check_hostname", "verify_mode"])
async def test_a_context_that_does_not_verify_is_refused_before_connecting(weakness: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    if weakness == "verify_mode":
        context.verify_mode = ssl.CERT_NONE
    for service, arguments in [
        (DashScope(KEY), {"ssl_context": context}),
        (DashScope(KEY, ssl_context=context), {}),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            await texts(service, **arguments)
        assert str(caught.value) == (
            "ssl_context= does not verify the server (check_hostname is False, or verify_mode is CERT_NONE): add the "
            "server's certificate authority with load_verify_locations(), or name its file in SSL_CERT_FILE; "
            "insecure=True of the service allows it anyway"
        )
    with pytest.raises(ConfigurationError, match="does not verify the server"):
        await request("GET", "https://asr.example/", headers={}, network=NetworkOptions(ssl_context=context))


def test_a_service_without_network_options_says_so() -> None:
    class TheirOwn:
        def __repr__(self) -> str:
            return "<TheirOwn>"

        async def resolve(self, options: Any) -> Any:
            raise NotImplementedError

    service: Any = TheirOwn()
    assert with_network(service, NetworkOptions()) is service
    with pytest.raises(ConfigurationError) as caught:
        Client(service, proxy=NOWHERE)
    assert str(caught.value) == "<TheirOwn> accepts neither ssl_context= nor proxy=: it has no method with_network"


async def test_the_credentials_of_a_proxy_are_in_no_text() -> None:
    url = f"http://me:{PASSWORD}@127.0.0.1:1"
    service = DashScope(KEY, endpoint="wss://asr.example/", proxy=url)
    client = Client(far_away(), proxy=url)
    endpoint = await service.resolve(Paraformer())
    fallback = Fallback([(service, Paraformer())])
    proxy = endpoint.network.proxy_for("wss", "asr.example", 443)
    shown = [repr(thing) for thing in (service, client, endpoint, endpoint.network, proxy, fallback)]
    with pytest.raises(ASRError) as caught:
        await texts(service)
    shown += [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
    with pytest.raises(ASRError) as caught:
        await request("GET", "https://asr.example/", headers={}, network=endpoint.network)
    shown += [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
    assert not [text for text in shown if "ss-of-the-proxy" in text]
    assert repr(endpoint.network) == "<NetworkOptions ssl_context=None proxy='http://127.0.0.1:1'>"
