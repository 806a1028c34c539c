"""A service of several equal servers: each connection goes to one of them, not to one that is down."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from asr_async import (
    ASRError,
    Client,
    DashScope,
    Fallback,
    FunASRNano,
    FunASRServer,
    Paraformer,
    Reconnected,
    Retry,
    Timeouts,
    connect,
)
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut, Refuse

if TYPE_CHECKING:
    from asr_async.emulator import Emulator, Fault
    from asr_async.vendors.service import Service

OPTIONS = FunASRNano()
AUDIO = [bytes(96_000)]
SCRIPT = [("good morning", 200, 1_000), ("how are you", 1_500, 2_400)]
UNUSED = "ws://127.0.0.1:1"
"""Nothing listens there."""


async def emulators(stack: AsyncExitStack, *faults: list[Fault]) -> list[Emulator]:
    return [await stack.enter_async_context(serve(engine=Scripted(SCRIPT), faults=each)) for each in faults]


async def texts_and_member(service: Service, retry: Retry | None = None) -> tuple[list[str], str | None]:
    async with connect(OPTIONS, service, retry=retry) as session:
        results = [result async for result in session.stream(AUDIO, pace=None)]
    return [result.text for result in results if result.is_final], session.stats.member


async def test_connections_are_spread_over_the_addresses() -> None:
    async with AsyncExitStack() as stack:
        first, second = await emulators(stack, [], [])
        service = FunASRServer(first.funasr_url, second.funasr_url)
        members = {(await texts_and_member(service))[1] for _ in range(20)}
        assert members == {first.funasr_url, second.funasr_url}


async def test_an_address_that_is_down_is_tried_once_and_then_passed_over() -> None:
    async with AsyncExitStack() as stack:
        (running,) = await emulators(stack, [])
        service = FunASRServer(UNUSED, running.funasr_url)
        for _ in range(10):
            assert await texts_and_member(service) == (["good morning", "how are you"], running.funasr_url)
        breaker = service.health[UNUSED]
        assert repr(breaker) == "<CircuitBreaker open for 1 s>"


async def test_what_is_known_is_shared_by_all_clients_of_a_service() -> None:
    async with AsyncExitStack() as stack:
        (refusing, running) = await emulators(stack, [Refuse(status=503)], [])
        service = FunASRServer(refusing.funasr_url, running.funasr_url)
        for _ in range(8):
            async with Client(service, options=OPTIONS) as client:
                await client.transcribe(AUDIO, pace=None)
        assert refusing.faults_struck["refuse"] <= 1


async def test_a_lost_connection_goes_on_at_any_address() -> None:
    async with AsyncExitStack() as stack:
        (cutting, running) = await emulators(stack, [Cut(after_audio_ms=500)], [])
        service = FunASRServer(cutting.funasr_url, running.funasr_url)
        retry = Retry(attempts=20, max_delay_s=0.01)
        async with connect(OPTIONS, service, retry=retry) as session:
            events = [event async for event in session.events(AUDIO, pace=None)]
        assert session.stats.member == running.funasr_url
    assert sum(isinstance(event, Reconnected) for event in events) == session.stats.reconnects


async def test_if_all_addresses_are_down_one_error_names_each() -> None:
    async with AsyncExitStack() as stack:
        (refusing,) = await emulators(stack, [Refuse(status=503)])
        service = FunASRServer(UNUSED, refusing.funasr_url)
        with pytest.raises(ASRError) as caught:
            await texts_and_member(service, Retry(attempts=0))
        text = str(caught.value)
        assert f"{UNUSED}: " in text
        assert f"{refusing.funasr_url}: HTTP 503: the handshake was refused: an error of the vendor; try again" in text


async def test_one_address_has_no_circuit_breaker_and_no_name() -> None:
    async with AsyncExitStack() as stack:
        (running,) = await emulators(stack, [])
        service = FunASRServer(running.funasr_url)
        assert await texts_and_member(service) == (["good morning", "how are you"], None)
        assert service.health == {}


async def test_the_addresses_are_members_of_a_fallback() -> None:
    async with AsyncExitStack() as stack:
        refused: list[Fault] = [Refuse(status=503)]
        cloud, first, second = await emulators(stack, refused, refused, [])
        own = FunASRServer(first.funasr_url, second.funasr_url)
        fallback = Fallback([(DashScope("key", endpoint=cloud.dashscope_url), Paraformer()), (own, OPTIONS)])
        async with connect(fallback.options, fallback) as session:
            results = [result async for result in session.stream(AUDIO, pace=None)]
        assert [result.text for result in results if result.is_final] == ["good morning", "how are you"]
        assert session.stats.member == f"<FunASRServer {second.funasr_url}> funasr/nano"


async def test_a_server_that_never_answers_start_is_passed_over() -> None:
    async with AsyncExitStack() as stack:
        (running,) = await emulators(stack, [])

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        silent = await stack.enter_async_context(await asyncio.start_server(accept, "127.0.0.1", 0))
        address = f"ws://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        service = FunASRServer(address, running.funasr_url)
        timeouts = Timeouts(connect=0.2)
        for _ in range(4):
            async with connect(OPTIONS, service, timeouts=timeouts) as session:
                assert session.stats.member == running.funasr_url
                await session.cancel()
