"""Through a proxy that the environment names: as without one, and an error says whether it was the proxy's."""

from __future__ import annotations

import asyncio
import socket
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

from ..support.certificates import server_ssl_context, trust_by_environment
from ..support.connect_proxy import ConnectProxy
from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    import pathlib

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


def far_away(scheme: str) -> DashScope:
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
    [("https_proxy", "wss"), ("wss_proxy", "wss"), ("http_proxy", "ws"), ("ws_proxy", "ws"), ("https_proxy", "ws")],
)
async def test_a_session_goes_through_the_proxy_of_its_scheme(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    async with (
        scripted_server(recognise, **tls_of(scheme, trusted)) as service,
        ConnectProxy({HOSTS[scheme]: await port_of(service)}).serving() as proxy,
    ):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert await stream(far_away(scheme)) == (["64000 bytes"], None)
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
        assert await stream(far_away("wss")) == (["64000 bytes"], None)
    assert "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in proxy.requests[0]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_session_goes_through_a_proxy_that_speaks_tls_itself(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    async with scripted_server(recognise, **tls_of(scheme, trusted)) as service:
        proxy = ConnectProxy({HOSTS[scheme]: await port_of(service)})
        async with proxy.serving(ssl=server_ssl_context(trusted)):
            monkeypatch.setenv("https_proxy", f"https://127.0.0.1:{proxy.port}")
            assert await stream(far_away(scheme)) == (["64000 bytes"], None)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_this_machine_is_never_reached_through_a_proxy(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    options = {"ssl": server_ssl_context(trusted)} if scheme == "wss" else {}
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    async with scripted_server(recognise, **options) as service:
        assert await stream(service) == (["64000 bytes"], None)


async def test_what_the_environment_excepts_is_not_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ConnectProxy({}).serving() as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "other.example,.invalid")
        _, error = await stream(DashScope(KEY, endpoint="wss://no-such-host.invalid/"))
    assert isinstance(error, ConnectionLostError)
    assert "cannot find the host no-such-host.invalid:" in str(error)
    assert proxy.requests == []


# --- what goes wrong -------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


REFUSED = "refused to connect to asr.example with HTTP"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            (ConnectionLostError, f"{REFUSED} 407: it requires credentials, http://user:password@host:port", False),
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", (ConnectionLostError, f"{REFUSED} 403", False)),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", (ConnectionLostError, f"{REFUSED} 502", True)),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            (RemoteProtocolError, "cannot be used: its response is not HTTP", False),
        ),
        (b"", (ConnectionLostError, "closed the connection to asr.example", True)),
    ],
    ids=["unknown", "forbidden", "unreachable", "no-proxy", "hangs-up"],
)
async def test_a_proxy_that_does_not_let_through_is_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, answer: bytes, expected: tuple[type[ASRError], str, bool]
) -> None:
    async with ConnectProxy({}, answer=answer).serving() as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:{PASSWORD.replace('@', '%40')}@127.0.0.1:{proxy.port}")
        _, error = await stream(far_away(scheme))
    error_class, text, retryable = expected
    assert type(error) is error_class
    assert str(error) == f"the proxy 127.0.0.1:{proxy.port} {text}"
    assert error.retryable is retryable
    assert not proxy.received


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    port = free_port()
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    _, error = await stream(far_away(scheme))
    assert isinstance(error, ConnectionLostError)
    assert str(error) == f"cannot reach 127.0.0.1:{port} (the proxy to asr.example): Connection refused"
    assert error.retryable


async def test_a_proxy_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://no-such-proxy.invalid:3128")
    _, error = await stream(far_away("wss"))
    assert isinstance(error, ConnectionLostError)
    assert "cannot find the host no-such-proxy.invalid:3128 (the proxy to asr.example):" in str(error)


async def test_a_proxy_that_cannot_prove_who_it_is_gets_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ConnectProxy({}).serving(ssl=server_ssl_context(trustme.CA())) as proxy:
        monkeypatch.setenv("https_proxy", f"https://me:secret@127.0.0.1:{proxy.port}")
        _, error = await stream(far_away("wss"))
    assert isinstance(error, ConnectionLostError)
    assert str(error).startswith(
        f"the certificate of 127.0.0.1:{proxy.port} (the proxy to asr.example) is not trusted: "
    )
    assert proxy.requests == []


async def test_a_proxy_changes_nothing_about_who_has_to_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        scripted_server(recognise, ssl=server_ssl_context(trustme.CA(), "asr.example")) as service,
        ConnectProxy({HOSTS["wss"]: await port_of(service)}).serving() as proxy,
    ):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        _, error = await stream(far_away("wss"))
    assert isinstance(error, ConnectionLostError)
    assert str(error) == (
        "the certificate of asr.example is not trusted: unable to get local issuer certificate; name the file of its "
        "certificate authority in SSL_CERT_FILE or ssl_context=; a proxy that inspects TLS has an authority of its own"
    )


def test_a_proxy_that_never_answers_ends_at_the_connect_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> tuple[float, Any]:
        async def be_mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(be_mute, "127.0.0.1", 0) as server:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            _, error = await stream(far_away("wss"), timeouts=Timeouts(connect=3))
            elapsed_s = asyncio.get_running_loop().time()
            await asyncio.sleep(1)  # the other side takes note of the end
        return elapsed_s, error

    elapsed_s, error = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert str(error) == "no connection to asr.example within 3 s (Timeouts.connect)"
    assert elapsed_s == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4"])
async def test_a_socks_proxy_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("https_proxy", f"{scheme}://me:{PASSWORD.replace('@', '%40')}@127.0.0.1:1080")
    _, error = await stream(far_away("wss"))
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
async def test_a_proxy_that_cannot_be_one_is_told_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    monkeypatch.setenv("https_proxy", url)
    _, error = await stream(far_away("wss"))
    assert isinstance(error, ConfigurationError)
    assert str(error) == (
        f"the proxy in the environment (https_proxy) must be http://host:port or http://user:password@host:port: {why}"
    )
