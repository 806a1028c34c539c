"""Sessions over a TCP path that breaks: whatever it does, no final result is lost, none is doubled, times are true.

The sockets are real and a proxy stands between the session and its vendor; the clock is virtual, so waits cost nothing.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from asr_async import DashScope, Gap, Huawei, Paraformer, Rasr, Reconnected, Timeouts, connect, transcribe
from asr_async.emulator import Scripted, serve

from ..support.numbered_audio import HuaweiNumberedServer, NumberedServer, NumberedSource, finals_of
from ..support.tcp_proxy import Direction, NetworkPath, TcpProxy
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from asr_async.vendors.options import Options
    from asr_async.vendors.service import Service

pytestmark = pytest.mark.both_loops

FRAME_MS = 100
AUDIO_S = 8
TIMEOUTS = Timeouts(connect=3, start=3, idle=4, finish=8, close=1)

OPENING_BYTES = {"up": 4_000, "down": 1_200}
"""More than the handshake and the opening of a task take: a session's first connection is not made twice."""
WHOLE_BYTES = {"up": AUDIO_S * 32_000, "down": 8_000}
"""About what a whole session sends and gets."""

DIRECTIONS: list[Direction] = ["up", "down"]
LISTENERS = [NumberedServer, HuaweiNumberedServer]


async def stream(
    listener: NumberedServer, paths: list[NetworkPath], *, pace: float | None
) -> tuple[list[Any], TcpProxy]:
    """All events of a session through these paths, one for each connection."""
    async with listener.serving() as port, TcpProxy(port, paths).serving() as proxy:
        service = listener.protocol.service(proxy.port)
        async with connect(listener.protocol.options, service, timeouts=TIMEOUTS) as session:
            events = [event async for event in session.events(NumberedSource(AUDIO_S), pace=pace)]
    return events, proxy


def check_whole(events: list[Any], listener: NumberedServer) -> None:
    """Hold a session's finals against the truth: their texts say up to where in the source they were heard."""
    finals = sorted(finals_of(events), key=lambda final: final[2])
    assert not any(isinstance(event, Gap) for event in events)
    assert len({segment_id for segment_id, _, _, _ in finals}) == len(finals)
    heard_to_ms = 0
    for _, text, start_ms, end_ms in finals:
        true_end_ms = int(text.removeprefix("to "))
        assert abs(start_ms - heard_to_ms) <= FRAME_MS, "neither a piece that is missing nor one that is told twice"
        assert abs(end_ms - true_end_ms) <= FRAME_MS
        assert true_end_ms > heard_to_ms
        heard_to_ms = true_end_ms
    assert heard_to_ms == AUDIO_S * 1_000
    assert listener.missing_at_ms == []


def random_paths(dice: random.Random) -> list[NetworkPath]:
    """One to three connections that break, the first one behind its opening, the others anywhere."""
    return [random_path(dice, is_first=number == 0) for number in range(dice.randint(1, 3))]


def random_path(dice: random.Random, *, is_first: bool) -> NetworkPath:
    direction = dice.choice(DIRECTIONS)
    piece_bytes, delay_s = dice.choice([(65_536, 0.0), (150, 0.0), (65_536, 0.02)])
    return NetworkPath(
        fault=dice.choice(["abort", "stall", "half-close"]),
        direction=direction,
        after_bytes=dice.randint(OPENING_BYTES[direction] if is_first else 0, WHOLE_BYTES[direction]),
        piece_bytes=piece_bytes,
        delay_s=delay_s,
    )


# --- broken at random ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pace", [1.0, None], ids=["in-real-time", "unpaced"])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", LISTENERS)
def test_over_a_path_that_breaks_anywhere_every_final_comes_once(
    kind: type[NumberedServer], seed: int, pace: float | None
) -> None:
    async def scenario() -> None:
        listener = kind()
        events, proxy = await stream(listener, random_paths(random.Random(seed)), pace=pace)
        check_whole(events, listener)
        assert proxy.faults_at

    random.seed(seed)  # the waits before the next connections
    run_virtual(scenario)


# --- broken where it hurts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", LISTENERS)
def test_a_path_that_stalls_is_noticed_within_the_idle_deadline_and_a_second(
    kind: type[NumberedServer], direction: Direction
) -> None:
    async def scenario() -> None:
        listener = kind()
        path = NetworkPath(fault="stall", direction=direction, after_bytes=2 * OPENING_BYTES[direction])
        loop = asyncio.get_running_loop()
        async with listener.serving() as port, TcpProxy(port, [path]).serving() as proxy:
            service = listener.protocol.service(proxy.port)
            async with connect(listener.protocol.options, service, timeouts=TIMEOUTS) as session:
                events: list[Any] = []
                async for event in session.events(NumberedSource(AUDIO_S)):
                    events.append(event)
                    if isinstance(event, Reconnected):
                        (stalled_at,) = proxy.faults_at
                        assert loop.time() - stalled_at < TIMEOUTS.idle + 1
        check_whole(events, listener)
        assert session.stats.reconnects == 1

    random.seed(1)
    run_virtual(scenario)


@pytest.mark.parametrize("fault", ["abort", "half-close"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_end_of_the_path_is_noticed_at_once(fault: Any, direction: Direction) -> None:
    async def scenario() -> None:
        listener = NumberedServer()
        path = NetworkPath(fault=fault, direction=direction, after_bytes=2 * OPENING_BYTES[direction])
        loop = asyncio.get_running_loop()
        async with listener.serving() as port, TcpProxy(port, [path]).serving() as proxy:
            service = listener.protocol.service(proxy.port)
            async with connect(listener.protocol.options, service, timeouts=TIMEOUTS) as session:
                async for event in session.events(NumberedSource(AUDIO_S)):
                    if isinstance(event, Reconnected):
                        break
                assert loop.time() - proxy.faults_at[0] < 0.5

    random.seed(1)
    run_virtual(scenario)


@pytest.mark.parametrize("fault", ["abort", "half-close", "stall"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_next_connection_that_breaks_in_its_handshake_is_tried_again(fault: Any, direction: Direction) -> None:
    async def scenario() -> None:
        listener = NumberedServer()
        paths = [NetworkPath(fault="abort", after_bytes=50_000)]
        paths += [
            NetworkPath(fault=fault, direction=direction, after_bytes=after_bytes) for after_bytes in (0, 20, 100, 400)
        ]
        events, proxy = await stream(listener, paths, pace=None)
        check_whole(events, listener)
        assert proxy.connections == 6

    random.seed(1)
    run_virtual(scenario)


# --- the emulator at the other end -----------------------------------------------------------------------------------

SCRIPT = [("good morning", 200, 1_100), ("how are you", 1_500, 2_400)]
ROOMS = ["dashscope", "huawei"]


async def recognise(room: str, paths: list[NetworkPath]) -> tuple[list[tuple[str, int, int]], int]:
    """The script's segments as they come through these paths, and how many connections it took."""
    async with serve(engine=Scripted(SCRIPT)) as emulator:
        port = urlsplit(emulator.url).port
        assert port is not None
        async with TcpProxy(port, paths).serving() as proxy:
            service: Service = Huawei(
                ak="AK", sk="SK", project_id="p", region="r", endpoint=through(proxy, emulator.huawei_url)
            )
            options: Options = Rasr()
            if room == "dashscope":
                service, options = DashScope("key", endpoint=through(proxy, emulator.dashscope_url)), Paraformer()
            transcript = await transcribe([bytes(3_200)] * 30, options, service, timeouts=TIMEOUTS)
            return [(final.text, final.start_ms, final.end_ms) for final in transcript.results], proxy.connections


def through(proxy: TcpProxy, url: str) -> str:
    return urlsplit(url)._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize(
    "path", [NetworkPath(piece_bytes=149), NetworkPath(piece_bytes=8_000, delay_s=0.5)], ids=["in-pieces", "in-lumps"]
)
def test_bytes_that_come_slowly_in_pieces_or_in_lumps_mean_the_same(room: str, path: NetworkPath) -> None:
    async def scenario() -> None:
        assert await recognise(room, [path]) == (SCRIPT, 1)

    run_virtual(scenario)


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("fault", ["abort", "stall", "half-close"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_path_that_breaks_before_the_first_final_gives_the_whole_script(
    room: str, fault: Any, direction: Direction
) -> None:
    """Before it, since a script begins anew with each connection."""

    async def scenario() -> None:
        path = NetworkPath(fault=fault, direction=direction, after_bytes={"up": 20_000, "down": 900}[direction])
        assert await recognise(room, [path]) == (SCRIPT, 2)

    random.seed(1)
    run_virtual(scenario)
