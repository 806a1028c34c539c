"""Connections through the proxy of the environment, the variables that name it, and the errors that it causes."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from asr_async import (
    ASRError,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    DeadlineError,
    Paraformer,
    RemoteProtocolError,
    Retry,
    Timeouts,
    connect,
)
from asr_async._net.proxy import environment_proxy

from ..support.certificates import server_ssl_context, trust_by_environment
from ..support.connect_proxy import ConnectProxy
from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.tcp_server import forward, tcp_server
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection

pytestmark = pytest.mark.both_loops

KEY = "sk-0123456789abcdef"
PASSWORD = "p@ss-of-the-proxy"
SCHEMES = ["wss", "ws"]
HOSTS = {"wss": "asr.example:443", "ws": "asr.example:80"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> trustme.CA:
    trust_by_environment(authority, monkeypatch, tmp_path)
    for scheme in ("http", "https", "ws", "wss", "socks", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)
    return authority


def distant_service(scheme: str) -> DashScope:
    return DashScope(KEY, endpoint=f"{scheme}://asr.example/", insecure=True)


async def stream(service: DashScope, *, timeouts: Timeouts | None = None) -> tuple[list[str], Any]:
    texts: list[str] = []
    try:
        async with connect(Paraformer(), service, timeouts=timeouts, retry=Retry(attempts=0)) as session:
            async for result in session.stream([bytes(64_000)], pace=None):
                texts.append(result.text)
    except ASRError as error:
        assert "\n" not in str(error)
        assert PASSWORD not in str(error)
        return texts, error
    return texts, None


async def recognise(connection: ServerConnection) -> None:
    task_id = await start_task(connection)
    size = await read_until_finish(connection)
    await send_final(connection, task_id, f"{size} bytes")
    await send_event(connection, "task-finished", task_id, {"output": {}})


async def port_of(service: DashScope) -> int:
    return int((await service.resolve(Paraformer())).host.rpartition(":")[2])


def tls_of(scheme: str, authority: trustme.CA) -> dict[str, Any]:
    return {"ssl": server_ssl_context(authority, "asr.example")} if scheme == "wss" else {}


# --- a session -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "scheme"),
    [
        ("https_proxy", "wss"),
        ("wss_proxy", "wss"),
        ("http_proxy", "ws"),
        ("ws_proxy", "ws"),
        ("https_proxy", "ws"),
        ("all_proxy", "ws"),
        ("ALL_PROXY", "wss"),
    ],
)
async def test_a_session_goes_through_the_proxy_of_its_scheme(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    async with (
        scripted_server(recognise, **tls_of(scheme, trusted)) as service,
        ConnectProxy({HOSTS[scheme]: await port_of(service)}).serving() as proxy,
    ):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert await stream(distant_service(scheme)) == (["64000 bytes"], None)
    (request,) = proxy.requests
    assert request.startswith(f"CONNECT {HOSTS[scheme]} HTTP/1.1\r\n")
    assert "User-Agent: asr-async/" in request
    assert KEY not in request
    assert (KEY.encode() in proxy.received) == (scheme == "ws")


async def test_a_proxy_gets_the_credentials_of_its_own_url(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        scripted_server(recognise, **tls_of("wss", trusted)) as service,
        ConnectProxy({HOSTS["wss"]: await port_of(service)}).serving() as proxy,
    ):
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")
        assert await stream(distant_service("wss")) == (["64000 bytes"], None)
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in proxy.requests[0]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_session_goes_through_a_proxy_that_speaks_tls_itself(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    async with scripted_server(recognise, **tls_of(scheme, trusted)) as service:
        proxy = ConnectProxy({HOSTS[scheme]: await port_of(service)})
        async with proxy.serving(ssl=server_ssl_context(trusted)):
            monkeypatch.setenv("https_proxy", f"https://127.0.0.1:{proxy.port}")
            assert await stream(distant_service(scheme)) == (["64000 bytes"], None)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_this_machine_is_never_reached_through_a_proxy(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    options = {"ssl": server_ssl_context(trusted)} if scheme == "wss" else {}
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    async with scripted_server(recognise, **options) as service:
        assert await stream(service) == (["64000 bytes"], None)


async def test_a_host_in_no_proxy_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ConnectProxy({}).serving() as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "other.example,.invalid")
        _, error = await stream(DashScope(KEY, endpoint="wss://no-such-host.invalid/"))
    assert isinstance(error, ConnectionLostError)
    assert "cannot find the host no-such-host.invalid:" in str(error)
    assert proxy.requests == []


# --- errors ----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


REFUSED = "refused to connect to asr.example with HTTP"
ALLOW = "allow this host there, or choose another way: proxy=False connects directly"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            (ConnectionLostError, f"{REFUSED} 407: it requires credentials, http://user:password@host:port", False),
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            (ConnectionLostError, f"{REFUSED} 403: {ALLOW}", False),
        ),
        (
            b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
            (ConnectionLostError, f"{REFUSED} 502: {ALLOW}", True),
        ),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            (RemoteProtocolError, "cannot be used: its response is not HTTP", False),
        ),
        (b"", (ConnectionLostError, "closed the connection to asr.example", True)),
        (b"HTTP/1.1 202 OK\r\nVia: x\r\n", (ConnectionLostError, "closed the connection to asr.example", True)),
        (
            b"HTTP/1.1 204 OK\r\n\r\nwelcome",
            (RemoteProtocolError, "cannot be used: it sent data of its own behind its response", False),
        ),
        (
            b"HTTP/1.1 201 OK\r\nX: " + bytes(70_000),
            (RemoteProtocolError, "cannot be used: its response is too long", False),
        ),
        (b"HTTP/1.1 OK\r\n\r\n", (RemoteProtocolError, "cannot be used: its response is not HTTP", False)),
    ],
    ids=["unknown", "forbidden", "unreachable", "no-proxy", "hangs-up", "breaks-off", "talks", "endless", "no-status"],
)
async def test_a_proxy_that_refuses_or_does_not_speak_http_is_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, answer: bytes, expected: tuple[type[ASRError], str, bool]
) -> None:
    async with ConnectProxy({}, answer=answer).serving() as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:{PASSWORD.replace('@', '%40')}@127.0.0.1:{proxy.port}")
        _, error = await stream(distant_service(scheme))
    error_class, text, retryable = expected
    assert type(error) is error_class
    assert str(error) == f"the proxy 127.0.0.1:{proxy.port} {text}"
    assert error.retryable is retryable
    assert not proxy.received


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_proxy_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    port = free_port()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    _, error = await stream(distant_service(scheme))
    assert isinstance(error, ConnectionLostError)
    assert str(error) == f"cannot reach 127.0.0.1:{port} (the proxy to asr.example): Connection refused"
    assert error.retryable


async def test_a_proxy_with_an_unknown_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://no-such-proxy.invalid:3128")
    _, error = await stream(distant_service("wss"))
    assert isinstance(error, ConnectionLostError)
    assert "cannot find the host no-such-proxy.invalid:3128 (the proxy to asr.example):" in str(error)


async def test_an_untrusted_proxy_receives_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ConnectProxy({}).serving(ssl=server_ssl_context(trustme.CA())) as proxy:
        monkeypatch.setenv("https_proxy", f"https://me:secret@127.0.0.1:{proxy.port}")
        _, error = await stream(distant_service("wss"))
    assert isinstance(error, ConnectionLostError)
    assert str(error).startswith(
        f"the certificate of 127.0.0.1:{proxy.port} (the proxy to asr.example) is not trusted: "
    )
    assert proxy.requests == []


async def test_the_server_behind_a_proxy_must_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        scripted_server(recognise, ssl=server_ssl_context(trustme.CA(), "asr.example")) as service,
        ConnectProxy({HOSTS["wss"]: await port_of(service)}).serving() as proxy,
    ):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        _, error = await stream(distant_service("wss"))
    assert isinstance(error, ConnectionLostError)
    assert str(error) == (
        "the certificate of asr.example is not trusted: unable to get local issuer certificate; name the file of its "
        "certificate authority in SSL_CERT_FILE or ssl_context=; a proxy that inspects TLS has an authority of its own"
    )


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_proxy_that_closes_at_once_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with tcp_server(close) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        _, error = await stream(distant_service(scheme), timeouts=Timeouts(connect=60))
    assert isinstance(error, ConnectionLostError)
    assert str(error) == f"the proxy 127.0.0.1:{port} closed the connection to asr.example"


def test_a_proxy_that_never_answers_ends_at_the_connect_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> tuple[float, Any]:
        async def never_answer(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with tcp_server(never_answer) as port:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            _, error = await stream(distant_service("wss"), timeouts=Timeouts(connect=3))
            return asyncio.get_running_loop().time(), error

    elapsed_s, error = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert str(error) == "no connection to asr.example within 3 s (Timeouts.connect)"
    assert elapsed_s == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4"])
async def test_a_socks_proxy_says_which_package_it_needs(
    monkeypatch: pytest.MonkeyPatch, scheme: str, variable: str
) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)  # as if it were not installed
    monkeypatch.setenv(variable, f"{scheme}://me:{PASSWORD.replace('@', '%40')}@127.0.0.1:1080")
    _, error = await stream(distant_service("wss"))
    assert isinstance(error, ConfigurationError)
    assert str(error) == (
        "the proxy 127.0.0.1:1080 speaks SOCKS, which needs python-socks: pip install python-socks[asyncio]"
    )


MALFORMED = "its host or port is malformed (in a password, write / as %2F, ? as %3F, # as %23)"
FOLLOWED = "nothing may follow the port (in a password, write / as %2F, ? as %3F, # as %23)"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("proxy.example:3128", "it has no scheme, such as http://"),
        ("ftp://proxy.example:3128", "its scheme must be one of http, https, socks5, socks5h, socks4, socks4a"),
        ("http://:3128", "it has no host"),
        (f"http://{PASSWORD}@proxy.example:3128", "it has a user without a password"),
        ("http://proxy.example:3128/path", FOLLOWED),
        ("http://proxy.example:port", MALFORMED),
        (f"http://me:a/{PASSWORD}@proxy.example", MALFORMED),
        ("http://[::1:3128", MALFORMED),
    ],
)
async def test_a_malformed_proxy_url_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    monkeypatch.setenv("https_proxy", url)
    _, error = await stream(distant_service("wss"))
    assert isinstance(error, ConfigurationError)
    assert str(error) == (
        f"the proxy in the environment (https_proxy) must be http://host:port or http://user:password@host:port: {why}"
    )


# --- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "variables", "expected"),
    [
        ("wss", {}, None),
        ("wss", {"wss_proxy": "http://a:1", "https_proxy": "http://b:2", "all_proxy": "http://c:3"}, "a:1"),
        ("wss", {"https_proxy": "http://b:2", "all_proxy": "http://c:3"}, "b:2"),
        ("wss", {"all_proxy": "http://c:3", "http_proxy": "http://d:4"}, "c:3"),
        ("wss", {"http_proxy": "http://d:4"}, None),
        ("ws", {"https_proxy": "http://b:2", "http_proxy": "http://d:4", "all_proxy": "http://c:3"}, "b:2"),
        ("ws", {"http_proxy": "http://d:4", "all_proxy": "http://c:3"}, "d:4"),
        ("ws", {"all_proxy": "http://c:3"}, "c:3"),
        ("https", {"https_proxy": "http://b:2", "all_proxy": "http://c:3"}, "b:2"),
        ("https", {"http_proxy": "http://d:4", "all_proxy": "http://c:3"}, "c:3"),
        ("https", {"wss_proxy": "http://a:1"}, None),
        ("http", {"https_proxy": "http://b:2", "all_proxy": "http://c:3"}, "c:3"),
        ("http", {"http_proxy": "http://d:4", "all_proxy": "http://c:3"}, "d:4"),
        ("https", {"ALL_PROXY": "http://c:3"}, "c:3"),
        ("https", {"ALL_PROXY": "http://c:3", "all_proxy": "http://e:5"}, "e:5"),
        ("https", {"HTTPS_PROXY": "http://b:2", "https_proxy": ""}, None),
        ("https", {"ALL_PROXY": ""}, None),
        ("https", {"all_proxy": "http://c:3", "no_proxy": "asr.example"}, None),
        ("https", {"all_proxy": "http://c:3", "no_proxy": ".example"}, None),
        ("https", {"all_proxy": "http://c:3", "NO_PROXY": "*"}, None),
        ("https", {"all_proxy": "http://c:3", "no_proxy": "r.example,other.example"}, "c:3"),
        ("wss", {"socks_proxy": "http://f:6", "https_proxy": "http://b:2"}, "f:6"),
        ("wss", {"all_proxy": "socks5://c"}, "c:1080"),
        ("wss", {"all_proxy": "https://c"}, "c:443"),
        ("wss", {"all_proxy": "http://C"}, "c:80"),
        ("wss", {"all_proxy": "http://[::1]:3128"}, "[::1]:3128"),
    ],
)
def test_the_variables_of_the_scheme_count_before_all_proxy(
    monkeypatch: pytest.MonkeyPatch, scheme: str, variables: dict[str, str], expected: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = environment_proxy(scheme, "asr.example", 443)
    assert (None if proxy is None else proxy.address) == expected


def test_a_socks_proxy_of_the_systems_settings_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """They return it with the scheme of HTTP (urllib.request.getproxies, macOS)."""
    monkeypatch.setenv("socks_proxy", "http://127.0.0.1:1080")
    proxy = environment_proxy("wss", "asr.example", 443)
    assert proxy is not None
    assert proxy.is_socks
    assert repr(proxy) == "<Proxy socks5h://127.0.0.1:1080>"


# --- SOCKS -----------------------------------------------------------------------------------------------------------


class SocksProxy:
    """A SOCKS5 proxy (RFC 1928) without authentication, whose table maps host names to ports of this machine."""

    def __init__(self, ports: dict[str, int], *, reply: int = 0) -> None:
        self._ports = ports
        self._reply = reply
        self.hosts: list[str] = []
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[SocksProxy]:
        async with tcp_server(self._serve) as self.port:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x00")
        assert (await reader.readexactly(4))[3] == 3, "a host name"
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        self.hosts.append(f"{host}:{int.from_bytes(await reader.readexactly(2), 'big')}")
        writer.write(bytes([5, self._reply, 0, 1, 127, 0, 0, 1, 0, 0]))
        if self._reply == 0:
            await forward(reader, writer, self._ports[host])


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_session_goes_through_a_socks_proxy(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    pytest.importorskip("python_socks")
    async with (
        scripted_server(recognise, **tls_of(scheme, trusted)) as service,
        SocksProxy({"asr.example": await port_of(service)}).serving() as proxy,
    ):
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.port}")
        assert await stream(distant_service(scheme)) == (["64000 bytes"], None)
    assert proxy.hosts == [HOSTS[scheme]]


async def test_a_socks_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("python_socks")
    async with SocksProxy({}, reply=5).serving() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.port}")
        _, error = await stream(distant_service("wss"))
    assert isinstance(error, ConnectionLostError)
    assert str(error).startswith(f"the proxy 127.0.0.1:{proxy.port} refused to connect to asr.example: ")


async def test_a_socks_proxy_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("python_socks")
    port = free_port()
    monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{port}")
    _, error = await stream(distant_service("wss"))
    assert isinstance(error, ConnectionLostError)
    assert str(error) == f"cannot reach 127.0.0.1:{port} (the proxy to asr.example): Connection refused"
