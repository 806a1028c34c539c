"""A canary as key, password and token: it is in no log, `repr`, traceback with locals, pickle or tape.

The canary has characters that JSON, URLs and HTML escape. Servers send it back in every place and in every form.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import inspect
import json
import logging
import pickle
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import asr_async
from asr_async import (
    ASRError,
    Client,
    ConfigurationError,
    DashScope,
    Fallback,
    FunASR2Pass,
    FunASRServer,
    Huawei,
    Limits,
    OpenAI,
    OpenAIRealtime,
    Paraformer,
    Rasr,
    Session,
    TemporaryKey,
    connect,
    sync,
    transcribe,
)
from asr_async._net.http import HttpResponse, request
from asr_async._net.network_options import NetworkOptions
from asr_async._net.proxy import parse_proxy
from asr_async._text.secret import SecretBytes, SecretHeaders, SecretText
from asr_async.vendors.codec import CodecEvent
from asr_async.vendors.dashscope.codec import TaskCodec
from asr_async.vendors.dashscope.rest_wire import Token
from asr_async.vendors.huawei.credentials import AccessKeys, GivenToken, IamUser
from asr_async.vendors.service import Endpoint
from asr_async.vendors.tokens import Token as CachedToken

from ..support.renderings import error_texts, object_texts
from ..support.scripted_server import scripted_server, send_event, start_task
from ..support.tcp_server import tcp_server
from ..test_pickling import EXAMPLES

CORE = "7fCANARYx9"
CANARY = f"sk-\"\\/&<>'{CORE}+%="
"""The core is the part that is looked for: what escapes the other characters leaves it as it is."""

HIDDEN = (
    CORE,
    CORE[2:],
    # in base64 behind 0, 1 and 2 other bytes, without the characters that these change
    *(base64.b64encode(bytes(before) + CORE.encode()).decode()[4:14] for before in range(3)),
)


def assert_hidden(texts: Iterator[tuple[str, str]], what: str) -> None:
    shown = [way for way, text in texts if any(part in text for part in HIDDEN)]
    assert not shown, f"{what} shows the canary in {', '.join(dict.fromkeys(shown))}"


@pytest.fixture(autouse=True)
def no_log_shows_it(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    for record in caplog.get_records("call"):
        text = logging.Formatter().format(record)
        if record.name.startswith("websockets.server"):  # of the test's own server
            continue
        assert not any(part in text for part in HIDDEN), text
        assert record.name != "asr_async" or text.split("\nTraceback")[0].isprintable(), repr(text)


# --- objects ---------------------------------------------------------------------------------------------------------

URL = f"//me:{quote(CANARY, safe='')}@127.0.0.1:1/"
PROXY = f"http:{URL}"


def refuse(*_: Any) -> ASRError:
    return ASRError("refused")


def objects() -> dict[str, Any]:
    user: dict[str, Any] = {"username": "me", "password": CANARY, "domain": "account"}
    huawei: dict[str, Any] = {"project_id": "p", "region": "cn-north-4"}
    limits = Limits(shared=f"redis:{URL}0")
    dashscope = DashScope(CANARY, proxy=PROXY)
    return {
        "DashScope": dashscope,
        "DashScope at an endpoint": DashScope(CANARY, endpoint=f"wss:{URL}?token={quote(CANARY)}", insecure=True),
        "DashScope at an HTTP endpoint": DashScope(http_endpoint=f"https:{URL}?token={quote(CANARY)}"),
        "Huawei with keys": Huawei(ak="AK", sk=CANARY, **huawei),
        "Huawei with temporary keys": Huawei(ak="AK", sk="SK", security_token=CANARY.replace("'", ""), **huawei),
        "Huawei with a token": Huawei(token=CANARY, **huawei),
        "Huawei with a user": Huawei(**user, **huawei),
        "OpenAI": OpenAI(CANARY, headers={"X-Gateway": CANARY}, proxy=PROXY),
        "OpenAI at an endpoint": OpenAI(CANARY, endpoint=f"wss:{URL}?token={quote(CANARY)}", insecure=True),
        "OpenAI with headers": OpenAI(headers={"X-Gateway": CANARY}),
        "FunASRServer": FunASRServer("ws://127.0.0.1:1", api_key=CANARY, headers={"X-Gateway": CANARY}, proxy=PROXY),
        "FunASRServer at an address": FunASRServer(f"wss:{URL}?token={quote(CANARY)}", f"ws:{URL}", insecure=True),
        "FunASRServer, one replica": next(iter(FunASRServer(f"wss:{URL}", api_key=CANARY).replicas.values())),
        "Fallback": Fallback([(dashscope, Paraformer()), (Huawei(ak="AK", sk=CANARY, **huawei), Rasr())]),
        "Client": Client(dashscope, limits=limits, proxy=PROXY),
        "sync.Client": sync.Client(dashscope, limits=limits, proxy=PROXY),
        "connect": connect(Paraformer(), dashscope, limits=limits, proxy=PROXY),
        "sync.connect": sync.connect(Paraformer(), dashscope, limits=limits, proxy=PROXY),
        "Limits": limits,
        "NetworkOptions": NetworkOptions(proxy=PROXY),
        "Proxy": parse_proxy(PROXY, "proxy="),
        "Endpoint": Endpoint(
            url=f"wss:{URL}?token={quote(CANARY)}",
            headers={"Authorization": f"Bearer {CANARY}"},
            handshake_error=refuse,
        ),
        "AccessKeys": AccessKeys("AK", SecretText(CANARY)),
        "GivenToken": GivenToken(SecretText(CANARY)),
        "IamUser": IamUser("me", SecretText(CANARY), "account"),
        "a cached token": CachedToken(CANARY, valid_s=0.0),
        "a list of secrets": [SecretText(CANARY), SecretText(CANARY * 3)[3:-3]],
        "a list of bytes": [SecretBytes(CANARY.encode()), SecretBytes(CANARY.encode() * 3)[3:-3]],
        "SecretHeaders": SecretHeaders({"Authorization": CANARY}),
    }


@pytest.mark.parametrize("name", objects())
def test_no_object_shows_its_secret(name: str) -> None:
    assert_hidden(object_texts(objects()[name]), name)


HANDED_ON = [
    TemporaryKey(value=CANARY, expires_at=1),
    Token(token=CANARY, expires_at=1),
    HttpResponse(status=200, headers={"X-Subject-Token": CANARY}, body=CANARY.encode()),
]
"""Values whose purpose is to be passed on: they hold the secret as it is, also in a pickle, and do not show it."""


@pytest.mark.parametrize("value", HANDED_ON, ids=lambda value: type(value).__name__)
def test_a_value_that_is_passed_on_does_not_show_its_secret(value: Any) -> None:
    by_purpose = ("pickle", "inspect", "fields")
    shown = ((way, text) for way, text in object_texts(value) if not any(word in way for word in by_purpose))
    assert_hidden(shown, repr(value))


def test_every_public_class_whose_name_speaks_of_a_secret_is_tried() -> None:
    tried = {type(value).__name__ for value in [*objects().values(), *HANDED_ON]}
    services = {name for name in asr_async.__all__ if hasattr(getattr(asr_async, name), "resolve")}
    assert services - {"Local"} <= tried
    named = {cls.__name__ for cls in EXAMPLES if any(word in cls.__name__ for word in ("Key", "Token", "Secret"))}
    assert named <= tried


@pytest.mark.parametrize(
    "cls",
    [
        *(
            getattr(asr_async, name)
            for name in asr_async.__all__
            if inspect.isclass(getattr(asr_async, name)) and not hasattr(getattr(asr_async, name), "__struct_fields__")
        ),
        sync.Client,
        sync.connect,
    ],
    ids=lambda cls: f"{cls.__module__}.{cls.__name__}",
)
def test_an_object_that_is_only_half_made_has_a_repr(cls: Any) -> None:
    assert repr(cls.__new__(cls))


# --- pickles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (DashScope(CANARY), r"set DASHSCOPE_API_KEY where it is unpickled, and pickle DashScope\(\) without a key"),
        (Huawei(ak="AK", sk=CANARY), "set HUAWEICLOUD_SIS_AK and HUAWEICLOUD_SIS_SK where it is unpickled"),
        (Limits(shared=f"redis:{URL}0"), r"make Limits\(shared=...\) in the process that uses it"),
        (DashScope(proxy=PROXY), "name the proxy in HTTPS_PROXY where it is unpickled"),
        (OpenAI(CANARY), r"set OPENAI_API_KEY where it is unpickled, and pickle OpenAI\(\) without a key"),
        (FunASRServer(api_key=CANARY), "make the service in the process that uses it"),
        (FunASRServer(f"wss:{URL}"), "make it in the process that uses it"),
    ],
)
def test_what_holds_a_secret_refuses_to_be_pickled_and_says_where_the_secret_belongs(value: Any, text: str) -> None:

    with pytest.raises(TypeError, match=f"cannot be pickled, since it holds a secret: {text}"):
        pickle.dumps(value)


def find_key() -> str:
    return CANARY


@pytest.mark.parametrize(
    "service",
    [
        *(DashScope(), DashScope(find_key), Huawei(), OpenAI(), OpenAI(find_key)),
        *(FunASRServer(), FunASRServer("ws://127.0.0.1:1", "wss://asr.example")),
        Limits(shared="redis://127.0.0.1/0"),
    ],
    ids=repr,
)
def test_what_knows_only_where_its_secret_is_can_be_pickled(service: Any) -> None:

    assert repr(pickle.loads(pickle.dumps(service))) == repr(service)


# --- constructors ----------------------------------------------------------------------------------------------------

BAD = f"ftp:{URL}"
CONSTRUCTORS: dict[str, Callable[[], Any]] = {
    "region": lambda: DashScope(CANARY, region="nowhere"),
    "workspace": lambda: DashScope(CANARY, workspace="?", proxy=PROXY),
    "scheme": lambda: DashScope(CANARY, endpoint=BAD),
    "bracket": lambda: DashScope(CANARY, endpoint=f"wss://[{CANARY}"),
    "port": lambda: DashScope(CANARY, endpoint=f"wss://host:{CORE}/"),
    "query": lambda: DashScope(endpoint=f"ws://example.com/?token={CANARY}"),
    "unencrypted": lambda: DashScope(CANARY, endpoint=f"ws://me:{CORE}@example.com/"),
    "http": lambda: DashScope(CANARY, http_endpoint=BAD),
    "proxy": lambda: DashScope(CANARY, proxy=BAD),
    "proxy, malformed": lambda: Client(DashScope(CANARY), proxy=f"http://me:{CANARY}@[/"),
    "project": lambda: Huawei(ak="AK", sk=CANARY, project_id="?"),
    "half": lambda: Huawei(sk=CANARY),
    "two kinds": lambda: Huawei(sk=CANARY, ak="AK", token=CANARY),
    "user": lambda: Huawei(username="me", password=CANARY),
    "characters": lambda: Huawei(ak="AK", sk=f"{CANARY}\n{CANARY}"),
    "iam": lambda: Huawei(username="me", password=CANARY, domain="d", iam_endpoint=BAD),
    "path": lambda: Huawei(token=CANARY, endpoint=f"wss://host/{quote(CANARY)}?{CORE}", region="?"),
    "header": lambda: DashScope(CANARY, headers={"X-Gateway": f"{CANARY}\n"}, proxy=PROXY, endpoint=f"wss:{URL}"),
    "header, Huawei": lambda: Huawei(token=CANARY, headers={"X-Gateway": f"{CANARY}\n"}),
    "OpenAI, scheme": lambda: OpenAI(CANARY, endpoint=BAD),
    "OpenAI, unencrypted": lambda: OpenAI(CANARY, endpoint=f"ws://me:{CORE}@example.com/"),
    "OpenAI, proxy": lambda: OpenAI(CANARY, proxy=BAD),
    "OpenAI, header": lambda: OpenAI(headers={"X-Gateway": f"{CANARY}\n"}, proxy=PROXY, endpoint=f"wss:{URL}"),
    "OpenAI, name of a header": lambda: OpenAI(CANARY, headers={"X Gateway": CANARY}),
    "OpenAI, organization": lambda: OpenAI(CANARY, organization="org\n"),
    "FunASR, scheme": lambda: FunASRServer(BAD, api_key=CANARY),
    "FunASR, unencrypted": lambda: FunASRServer(f"ws://me:{CORE}@example.com/?token={CORE}"),
    "FunASR, twice": lambda: FunASRServer(f"wss:{URL}", f"wss:{URL}"),
    "FunASR, key": lambda: FunASRServer(api_key=f"{CANARY}\n{CANARY}"),
    "FunASR, header": lambda: FunASRServer(headers={"X-Gateway": f"{CANARY}\n"}),
    "FunASR, proxy": lambda: FunASRServer(api_key=CANARY, proxy=BAD),
    "redis": lambda: Limits(shared=BAD),
    "redis, port": lambda: Limits(shared=f"redis://me:{CANARY}@host:port"),
    "redis, other value": lambda: Limits(shared=f"redis:{URL}", max_sessions=0),
    "observers": lambda: Client(DashScope(CANARY), observers=7, proxy=PROXY),  # type: ignore[arg-type]
    "context": lambda: Client(DashScope(CANARY), proxy=PROXY, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)),
    "members": lambda: Fallback([(DashScope(CANARY), Paraformer()), (DashScope(CANARY), Rasr())]),
    "not open": lambda: Client(DashScope(CANARY)).session(Paraformer()),
    "not open, sync": lambda: sync.Client(DashScope(CANARY)).session(Paraformer()),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_no_error_of_a_constructor_shows_a_secret(name: str) -> None:
    with pytest.raises(ASRError) as caught:
        CONSTRUCTORS[name]()
    if name == "path":
        return  # a path is no place for a secret: the error shows it
    assert_hidden(error_texts(caught.value), name)


# --- sessions and requests -------------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[], str]] = {
    "as it is": lambda: CANARY,
    "in JSON": lambda: json.dumps(CANARY)[1:-1],
    "in JSON in JSON": lambda: json.dumps(json.dumps(CANARY))[1:-1],
    "in JSON, all escaped": lambda: "".join(f"\\u{ord(character):04x}" for character in CANARY),
    "in a URL": lambda: quote(CANARY),
    "in base64": lambda: base64.b64encode(CANARY.encode()).decode(),
    "in base64 with a user": lambda: base64.urlsafe_b64encode(f"user:{CANARY}!".encode()).decode(),
    "in a vendor's sentence": lambda: f"the key{quote(CANARY)}is wrong",
    "in HTML": lambda: json.dumps(html.escape(CANARY))[1:-1],
}


def message_with(event: str, task_id: str, echo: str) -> str:
    """Return an event of the task protocol that holds JSON text as it is."""
    header = f'"task_id": "{task_id}", "event": "{event}", "error_code": "X-{echo}", "error_message": "key {echo}"'
    return f'{{"header": {{{header}}}, "payload": {{}}}}'


async def fail(connection: Any, task_id: str, echo: str) -> None:
    await connection.send(message_with("task-failed", task_id, echo))


async def fail_in_a_binary_message(connection: Any, task_id: str, echo: str) -> None:
    await connection.send(message_with("task-failed", task_id, echo).encode())


async def break_the_protocol(connection: Any, _task_id: str, echo: str) -> None:
    await connection.send(f"{{\x1b[31m\n{echo}")


async def send_the_unknown(connection: Any, task_id: str, echo: str) -> None:
    await connection.send(message_with(f"event-\\u001b{echo}", task_id, echo))
    await send_event(connection, "task-finished", task_id, {"output": {}})


async def close(connection: Any, _task_id: str, echo: str) -> None:
    await connection.close(1011, f"\x1b[31m bad key {echo}"[:120])


Echo = Callable[[Any, str, str], Awaitable[None]]


def answering(echo: Echo, text: str, *, when: str) -> Callable[[Any], Awaitable[None]]:
    async def script(connection: Any) -> None:
        if when == "at the start":
            task_id = json.loads(await connection.recv())["header"]["task_id"]
        else:
            task_id = await start_task(connection)
            await connection.recv()
        await echo(connection, task_id, text)
        await connection.wait_closed()

    return script


async def collect(session: Session) -> None:
    async for _ in session.stream([bytes(3_200)] * 3, pace=None):
        pass


OPTIONS: dict[type, Any] = {Huawei: Rasr(), OpenAI: OpenAIRealtime(), FunASRServer: FunASR2Pass()}
"""The class of a service → the options of its sessions; Paraformer where there are none."""


async def run(service: Any, tape: Path | None = None, **settings: Any) -> ASRError | None:
    """Run a session, and return the error that ended it."""
    options = next((options for cls, options in OPTIONS.items() if isinstance(service, cls)), Paraformer())
    retry = asr_async.Retry(attempts=0)
    try:
        async with connect(options, service, tape=tape, retry=retry, **settings) as session:
            await collect(session)
    except ASRError as error:
        return error
    return None


def tape_texts(path: Path) -> Iterator[tuple[str, str]]:
    yield "the tape", path.read_text()
    for line in path.read_text().splitlines():
        record = json.loads(line)
        yield "a line of the tape", str(record)
        if isinstance(record.get("text"), str):
            with contextlib.suppress(ValueError):
                yield "a message on the tape", str(json.loads(record["text"]))


@pytest.mark.parametrize("when", ["at the start", "in the stream"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "echo",
    [fail, fail_in_a_binary_message, break_the_protocol, send_the_unknown, close],
    ids=lambda echo: echo.__name__,
)
async def test_a_server_that_sends_the_key_back_brings_it_into_no_text(
    echo: Echo, form: str, when: str, tmp_path: Path
) -> None:
    tape = tmp_path / "tape.jsonl"
    async with scripted_server(answering(echo, FORMS[form](), when=when)) as scripted:
        error = await run(DashScope(CANARY, endpoint=scripted._endpoint), tape)
    if error is not None:
        assert str(error).isprintable()
        assert_hidden(error_texts(error), repr(error))
    assert_hidden(tape_texts(tape), "the tape")
    assert CORE not in tape.read_text()


@pytest.mark.parametrize("is_binary", [False, True])
async def test_a_codec_that_fails_at_a_message_with_the_key_brings_it_into_no_text(
    monkeypatch: pytest.MonkeyPatch, *, is_binary: bool
) -> None:
    receive = TaskCodec.receive

    def fail_at_the_key(codec: TaskCodec, message: str | bytes) -> list[CodecEvent]:
        if "CANARY" in str(message):
            raise ValueError("no reason")
        return receive(codec, message)

    async def send(connection: Any, task_id: str, echo: str) -> None:
        message = message_with("result-generated", task_id, echo)
        await connection.send(message.encode() if is_binary else message)

    monkeypatch.setattr(TaskCodec, "receive", fail_at_the_key)
    async with scripted_server(answering(send, FORMS["in JSON"](), when="in the stream")) as scripted:
        error = await run(DashScope(CANARY, endpoint=scripted._endpoint))
    assert error is not None
    assert "could not be handled" in str(error)
    assert_hidden(error_texts(error), repr(error))


def response(body: str, status: str = "401 Unauthorized", header: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body.encode())}\r\n{header}\r\n"
    return (head + body).encode()


@asynccontextmanager
async def http_server(answer: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with tcp_server(serve) as port:
        yield port


BODIES = {
    **{
        form: f'{{"code": "{text()}", "message": "bad {text()}", "request_id": "{text()}"}}'
        for form, text in FORMS.items()
    },
    "text": f"bad {CANARY}",
    "page": f"<html><title>{html.escape(CANARY)}</title><body>{CANARY}</body></html>",
    "not HTTP": "",
}


def url_with_secrets(port: int) -> str:
    return f"ws:{URL[:-2]}{port}/?token={quote(CANARY)}".replace(":1:", ":")


def services(port: int) -> dict[str, Any]:
    endpoint = f"ws://127.0.0.1:{port}"
    huawei: dict[str, Any] = {"project_id": "p", "region": "cn-north-4", "endpoint": endpoint}
    return {
        "DashScope": DashScope(CANARY, endpoint=f"{endpoint}/"),
        "DashScope, the URL": DashScope("sk-1", endpoint=url_with_secrets(port)),
        "Huawei with a token": Huawei(token=CANARY, **huawei),
        "Huawei with keys": Huawei(ak="AK", sk="SK", security_token=CANARY, **huawei),
        "Huawei with a user": Huawei(
            username="me", password=CANARY, domain="d", iam_endpoint=f"http://127.0.0.1:{port}", **huawei
        ),
        "OpenAI": OpenAI(CANARY, endpoint=f"{endpoint}/", headers={"X-Gateway": CANARY}),
        "OpenAI, the URL": OpenAI("sk-1", endpoint=url_with_secrets(port)),
        "FunASR": FunASRServer(endpoint, api_key=CANARY),
        "FunASR, the URL": FunASRServer(url_with_secrets(port)),
    }


@pytest.mark.parametrize("name", services(1))
@pytest.mark.parametrize("body", BODIES)
async def test_a_refusal_that_sends_the_key_back_brings_it_into_no_text(name: str, body: str, tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    answer = response(BODIES[body], header=f"Retry-After: {CANARY}\r\nX-Request-Id: {CANARY}\r\n")
    if body == "not HTTP":
        answer = CANARY.encode() + b"\r\n\r\n"
    async with http_server(answer) as port:
        error = await run(services(port)[name], tape)
    assert error is not None
    assert str(error).isprintable()
    assert_hidden(error_texts(error), repr(error))
    assert_hidden(tape_texts(tape), "the tape")


@pytest.mark.parametrize("body", BODIES)
async def test_a_request_that_fails_shows_no_secret(body: str) -> None:
    async with http_server(response(BODIES[body])) as port:
        service = DashScope(CANARY, http_endpoint=f"http://127.0.0.1:{port}/api/v1")
        openai = OpenAI(CANARY, endpoint=url_with_secrets(port))
        for call in (service.vocabularies.list, service.temporary_key, openai.temporary_key):
            with pytest.raises(ASRError) as caught:
                await call()
            assert_hidden(error_texts(caught.value), repr(caught.value))


UNREACHABLE: dict[str, Callable[[], Awaitable[ASRError | None]]] = {
    "DashScope": lambda: run(services(1)["DashScope"]),
    "DashScope, the URL": lambda: run(services(1)["DashScope, the URL"]),
    "Huawei with keys": lambda: run(services(1)["Huawei with keys"]),
    "Huawei with a user": lambda: run(services(1)["Huawei with a user"]),
    "OpenAI": lambda: run(services(1)["OpenAI"]),
    "OpenAI, the URL": lambda: run(services(1)["OpenAI, the URL"]),
    "OpenAI through a proxy": lambda: run(OpenAI(CANARY, proxy=PROXY)),
    "OpenAI with a key that cannot be sent": lambda: run(OpenAI(f"{CANARY}\n{CANARY}")),
    "FunASR": lambda: run(services(1)["FunASR"]),
    "FunASR, the URL": lambda: run(services(1)["FunASR, the URL"]),
    "FunASR through a proxy": lambda: run(FunASRServer("wss://asr.example", api_key=CANARY, proxy=PROXY)),
    "FunASR, several": lambda: run(FunASRServer(url_with_secrets(1), url_with_secrets(2), api_key=CANARY)),
    "through a proxy": lambda: run(DashScope(CANARY, proxy=PROXY)),
    "through a SOCKS proxy": lambda: run(DashScope(CANARY, proxy=f"socks5:{URL}")),
    "with limits in Redis": lambda: run(services(1)["DashScope"], limits=Limits(shared=f"redis:{URL}0")),
    "with a key that cannot be sent": lambda: run(DashScope(f"{CANARY}\n{CANARY}")),
    "with a function that returns such a key": lambda: run(DashScope(lambda: f"{CANARY} {CANARY}")),
    "a request": lambda: _error_of(request("GET", f"http:{URL}?token={CANARY}", headers={"Authorization": CANARY})),
    "a request to no URL": lambda: _error_of(request("GET", f"ftp:{URL}", headers={}, body=CANARY.encode())),
}


async def _error_of(calling: Awaitable[Any]) -> ASRError:
    with pytest.raises(ASRError) as caught:
        await calling
    return caught.value


@pytest.mark.parametrize("name", UNREACHABLE)
async def test_what_cannot_be_reached_shows_no_secret(name: str) -> None:
    error = await UNREACHABLE[name]()
    assert error is not None
    assert_hidden(error_texts(error), repr(error))


async def test_a_cancelled_session_shows_no_secret() -> None:
    async def never(connection: Any) -> None:
        await connection.wait_closed()

    async with scripted_server(never) as scripted:
        service = DashScope(CANARY, endpoint=scripted._endpoint)
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await transcribe([bytes(3_200)], Paraformer(), service)
        assert_hidden(error_texts(caught.value), "a session")
        assert caught.value.__cause__ is None or not isinstance(caught.value.__cause__, ASRError)


async def test_the_environments_proxy_and_key_are_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", CANARY)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    error = await run(DashScope())
    assert error is not None
    assert "the proxy" in str(error)
    assert_hidden(error_texts(error), repr(error))
    monkeypatch.setenv("DASHSCOPE_WEBSOCKET_BASE_URL", f"wss://[{CANARY}")
    error = await run(DashScope())
    assert isinstance(error, ConfigurationError)
    assert_hidden(error_texts(error), repr(error))


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [cls for cls in EXAMPLES if issubclass(cls, ASRError)], ids=lambda cls: cls.__name__)
def test_the_text_of_every_error_is_one_line_without_control_characters(cls: type) -> None:
    details: dict[str, Any] = {"start_ms": 0, "end_ms": 1} if "start_ms" in inspect.signature(cls).parameters else {}
    details |= {"kind": "unsupported"} if "kind" in inspect.signature(cls).parameters else {}
    error = cls("a\r\nb \x1b[2J c\u2028d", **details)
    assert str(error).isprintable()
