"""The emulator as a server: its address, its engine and its start and stop."""

from __future__ import annotations

import asyncio

import pytest

from asr_async.emulator import Moonshine, PocketSphinx, Scripted, serve
from asr_async.errors import ConfigurationError, LocalProtocolError

from ..support.probe_engine import ProbeEngine

HELLO = Scripted([("Hello, world.", 0, 1000)])


async def test_the_engine_runs_as_long_as_the_emulator() -> None:
    engine = ProbeEngine()
    emulator = serve(engine)
    assert repr(emulator) == "<Emulator not running engine=ProbeEngine>"
    with pytest.raises(LocalProtocolError, match="async with"):
        _ = emulator.dashscope_url
    async with emulator:
        assert engine.running == 1
        host, port = emulator.address.split(":")
        assert host == "127.0.0.1"
        assert emulator.url == f"http://127.0.0.1:{port}"
        assert emulator.dashscope_url == f"ws://127.0.0.1:{port}/api-ws/v1/inference"
        assert emulator.dashscope_realtime_url == f"ws://127.0.0.1:{port}/api-ws/v1/realtime"
        assert repr(emulator) == f"<Emulator 127.0.0.1:{port} engine=ProbeEngine>"
    assert engine.running == 0
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", int(port))


async def test_a_port_in_use_is_an_error_and_stops_the_engine() -> None:
    engine = ProbeEngine()
    async with serve(HELLO) as emulator:
        port = int(emulator.address.split(":")[1])
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            await serve(engine, port=port).__aenter__()
    assert engine.running == 0


async def test_an_ipv6_address_is_written_in_brackets() -> None:
    try:
        async with serve(HELLO, host="::1") as emulator:
            assert emulator.address.startswith("[::1]:")
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")


def test_an_engine_may_be_given_by_name() -> None:
    for emulator in (serve(), serve("moonshine")):
        assert repr(emulator) == f"<Emulator not running engine={Moonshine.__name__}>"
    assert repr(serve("pocketsphinx")) == f"<Emulator not running engine={PocketSphinx.__name__}>"
    with pytest.raises(ConfigurationError, match="whisper"):
        serve("whisper")
