"""Codecs of other projects that break their contract: a typed error that names codec and vendor, and no hang."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import ASRError, LocalProtocolError, RemoteProtocolError, Result, Retry, Timeouts, connect
from asr_async.vendors.codec import Failed, FinalPending

from ..support.plain_vendor import PlainCodec, PlainOptions, plain_server, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.asyncio.server import ServerConnection

SECOND = bytes(32_000)
NAME = "codec BrokenCodec of vendor 'plain'"


async def answer(connection: ServerConnection) -> None:
    """Open a task, send a final, and confirm the end."""
    await connection.send('{"started": "r"}')
    async for message in connection:
        if message == "end":
            break
    await say(connection, "hello", 0, 900, final=True)
    await connection.send('{"done": 1}')
    await connection.wait_closed()


def broken(method: str, behaviour: Callable[..., object]) -> type[PlainCodec]:
    def call(_codec: PlainCodec, *arguments: Any) -> object:
        return behaviour(*arguments)

    return type("BrokenCodec", (PlainCodec,), {method: call})


def fail(*_arguments: Any) -> None:
    raise KeyError("a\nkey")


async def error_of(codec: type[PlainCodec], **description: Any) -> ASRError:
    async with plain_server(answer, codec=codec, **description) as service, asyncio.timeout(20):
        with pytest.raises(ASRError) as caught:
            async with connect(
                PlainOptions(), service, timeouts=Timeouts(finish=4), retry=Retry(attempts=0)
            ) as session:
                async for _ in session.stream([SECOND] * 2, pace=None):
                    pass
    return caught.value


@pytest.mark.parametrize(
    ("method", "behaviour", "text"),
    [
        ("start", fail, f"start() of the {NAME} raised KeyError: 'a\\nkey'"),
        ("start", lambda: None, f"start() of the {NAME} returned NoneType, not a list of messages"),
        ("start", lambda: "start", f"start() of the {NAME} returned str, not a list of messages"),
        ("start", lambda: [1], f"start() of the {NAME} returned a list with int, which is no str or bytes"),
        ("audio", fail, f"audio() of the {NAME} raised KeyError: 'a\\nkey', or returned no message"),
        ("finish", fail, f"finish() of the {NAME} raised KeyError: 'a\\nkey'"),
        ("finish", dict, f"finish() of the {NAME} returned dict, not a list of messages"),
    ],
)
async def test_messages_that_are_none_are_one_error(method: str, behaviour: Callable[..., object], text: str) -> None:
    error = await error_of(broken(method, behaviour))
    assert isinstance(error, LocalProtocolError)
    assert (error.message, error.vendor) == (text, "plain")


async def test_audio_that_is_no_message_is_one_error() -> None:
    error = await error_of(broken("audio", lambda _frame: None))
    assert isinstance(error, LocalProtocolError)
    assert error.message.startswith(f"audio() of the {NAME} raised TypeError: ")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (fail, "KeyError: 'a\\nkey'"),
        (lambda _message: None, "TypeError: a value of type NoneType, not a list of events"),
        (lambda _message: "Started", "TypeError: a value of type str, not a list of events"),
        (lambda _message: [1], "TypeError: a list with a value of type int, which is no event of a codec"),
    ],
)
async def test_events_that_are_none_are_one_error_at_the_start(behaviour: Callable[..., object], reason: str) -> None:
    error = await error_of(broken("receive", behaviour))
    assert isinstance(error, RemoteProtocolError)
    assert error.message == f"a message could not be handled by the {NAME}: {reason}"
    assert error.vendor == "plain"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (fail, "KeyError: 'a\\nkey'"),
        (lambda _message: None, "TypeError: 'NoneType' object is not iterable"),
        (lambda _message: "Started", "TypeError: a value of type str, which is no event of a codec"),
        (lambda _message: {"text": "hello"}, "TypeError: a value of type str, which is no event of a codec"),
        (lambda _message: [object()], "TypeError: a value of type object, which is no event of a codec"),
        (lambda _message: [Failed("no error")], "AttributeError: 'str' object has no attribute 'change_texts'"),  # type: ignore[arg-type]
    ],
)
async def test_events_that_are_none_are_one_error_in_the_stream(behaviour: Callable[..., object], reason: str) -> None:
    error = await error_of(broken("receive", behaviour), answers_start=False)
    assert isinstance(error, RemoteProtocolError)
    assert error.message == f"a message could not be handled by the {NAME}: {reason}"


@pytest.mark.parametrize(
    "members",
    [{"start_ms": "soon"}, {"end_ms": None}, {"text": None}, {"segment_id": [1]}, {"words": None}, {"is_final": "no"}],
)
async def test_a_result_with_members_of_other_types_is_an_error_and_no_hang(members: dict[str, Any]) -> None:
    result = {"text": "hello", "is_final": True, "segment_id": 0, "start_ms": 0, "end_ms": 500, **members}
    error = await error_of(broken("receive", lambda _message: [Result(**result)]), answers_start=False)
    assert isinstance(error, ASRError)


@pytest.mark.parametrize("behaviour", [fail, lambda: None, lambda: [1]])
@pytest.mark.parametrize("description", [{"ends_by_close": True}, {"quiet_end_s": 0.2}])
async def test_an_end_that_is_none_is_one_error(behaviour: Callable[..., object], description: dict[str, Any]) -> None:
    async def script(connection: ServerConnection) -> None:
        async for message in connection:
            if message == "end":
                break
        await (connection.close() if "ends_by_close" in description else connection.wait_closed())

    codec = broken("end", behaviour)
    async with plain_server(script, codec=codec, answers_start=False, **description) as service, asyncio.timeout(20):
        with pytest.raises(LocalProtocolError) as caught:
            async with connect(PlainOptions(), service, retry=Retry(attempts=0)) as session:
                async for _ in session.stream([SECOND], pace=None):
                    pass
    assert caught.value.message.startswith(f"end() of the {NAME} failed: ")


async def test_a_keepalive_that_is_none_is_one_error() -> None:
    codec = broken("keepalive", fail)
    async with (
        plain_server(answer, codec=codec, answers_start=False, keepalive_s=0.05) as service,
        asyncio.timeout(20),
        connect(PlainOptions(), service, retry=Retry(attempts=0)) as session,
    ):
        await session.send(SECOND)
        with pytest.raises(LocalProtocolError) as caught:
            async for _ in session:
                pass
    assert caught.value.message == f"keepalive() of the {NAME} raised KeyError: 'a\\nkey'"


@pytest.mark.parametrize("method", ["release_pending", "lost_translations"])
async def test_a_pending_final_that_cannot_be_released_is_one_error(method: str) -> None:
    class BrokenCodec(PlainCodec):
        def receive(self, message: str | bytes) -> Any:
            return [FinalPending(0)] if "text" in str(message) else super().receive(message)

        def release_pending(self, _segment_id: int) -> Any:
            return fail() if method == "release_pending" else []

        def lost_translations(self, _reason: str) -> Any:
            return fail() if method == "lost_translations" else []

    error = await error_of(BrokenCodec)
    assert isinstance(error, LocalProtocolError)
    assert error.message == f"{method}() of the {NAME} failed: KeyError: 'a\\nkey'"


async def test_a_service_that_makes_no_codec_is_one_error() -> None:
    async with plain_server(answer, codec=fail) as service, asyncio.timeout(20):
        with pytest.raises(LocalProtocolError) as caught:
            async with connect(PlainOptions(), service):
                pass
    assert caught.value.message == "codec() of <PlainService> raised KeyError: 'a\\nkey'"
