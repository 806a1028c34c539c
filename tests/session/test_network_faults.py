"""Sessions over a network path that fails: no final is lost or repeated, and times are those of the source.

The sockets are real, and a proxy between the session and its server injects the faults. The clock is virtual, so waits
take no time.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from asr_async import DashScope, Gap, Huawei, Paraformer, Rasr, Reconnected, Timeouts, connect, transcribe
from asr_async.emulator import Scripted, serve

from ..support.numbered_audio import HuaweiNumberedServer, NumberedServer, NumberedSource, finals_of
from ..support.tcp_proxy import Direction, NetworkPath, TcpProxy
from ..support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from asr_async.vendors.options import Options
    from asr_async.vendors.service import Service

pytestmark = pytest.mark.both_loops

FRAME_MS = 100
AUDIO_S = 8
TIMEOUTS = Timeouts(connect=3, start=3, idle=4, finish=8, close=1)

START_BYTES = {"up": 4_000, "down": 1_200}
"""More bytes than the handshake and the start of a task need: the first connection of a session is not retried."""
WHOLE_BYTES = {"up": AUDIO_S * 32_000, "down": 8_000}
"""About the bytes that a whole session sends and receives."""

DIRECTIONS: list[Direction] = ["up", "down"]
SERVERS = [NumberedServer, HuaweiNumberedServer]


async def stream(server: NumberedServer, paths: list[NetworkPath], *, pace: float | None) -> tuple[list[Any], TcpProxy]:
    """Return all events of a session, and the proxy with these paths, one for each connection."""
    async with server.serving() as port, TcpProxy(port, paths).serving() as proxy:
        service = server.protocol.service(proxy.port)
        async with connect(server.protocol.options, service, timeouts=TIMEOUTS) as session:
            events = [event async for event in session.events(NumberedSource(AUDIO_S), pace=pace)]
    return events, proxy


def assert_complete(events: list[Any], server: NumberedServer) -> None:
    """Assert that the finals cover the source without a gap or an overlap, by the positions in their texts."""
    finals = sorted(finals_of(events), key=lambda final: final[2])
    assert not any(isinstance(event, Gap) for event in events)
    assert len({segment_id for segment_id, _, _, _ in finals}) == len(finals)
    covered_ms = 0
    for _, text, start_ms, end_ms in finals:
        source_end_ms = int(text.removeprefix("to "))
        assert abs(start_ms - covered_ms) <= FRAME_MS, "no audio is missing or recognised twice"
        assert abs(end_ms - source_end_ms) <= FRAME_MS
        assert source_end_ms > covered_ms
        covered_ms = source_end_ms
    assert covered_ms == AUDIO_S * 1_000
    assert server.missing_at_ms == []


def random_paths(rng: random.Random) -> list[NetworkPath]:
    """Return one to three paths that fail: the first after the start of the task, the others anywhere."""
    return [random_path(rng, is_first=number == 0) for number in range(rng.randint(1, 3))]


def random_path(rng: random.Random, *, is_first: bool) -> NetworkPath:
    direction = rng.choice(DIRECTIONS)
    piece_bytes, delay_s = rng.choice([(65_536, 0.0), (150, 0.0), (65_536, 0.02)])
    return NetworkPath(
        fault=rng.choice(["abort", "stall", "half-close"]),
        direction=direction,
        after_bytes=rng.randint(START_BYTES[direction] if is_first else 0, WHOLE_BYTES[direction]),
        piece_bytes=piece_bytes,
        delay_s=delay_s,
    )


# --- random faults ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pace", [1.0, None], ids=["in-real-time", "unpaced"])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", SERVERS)
def test_every_final_is_delivered_once_over_paths_that_fail_anywhere(
    kind: type[NumberedServer], seed: int, pace: float | None
) -> None:
    async def scenario() -> None:
        server = kind()
        events, proxy = await stream(server, random_paths(random.Random(seed)), pace=pace)
        assert_complete(events, server)
        assert proxy.faults_at

    random.seed(seed)  # for the jitter of the backoff
    run_virtual(scenario)


# --- chosen faults ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_path_that_stalls_is_replaced_within_a_second_after_the_idle_timeout(
    kind: type[NumberedServer], direction: Direction
) -> None:
    async def scenario() -> None:
        server = kind()
        path = NetworkPath(fault="stall", direction=direction, after_bytes=2 * START_BYTES[direction])
        async with server.serving() as port, TcpProxy(port, [path]).serving() as proxy:
            service = server.protocol.service(proxy.port)
            async with connect(server.protocol.options, service, timeouts=TIMEOUTS) as session:
                events: list[Any] = []
                async for event in session.events(NumberedSource(AUDIO_S)):
                    events.append(event)
                    if isinstance(event, Reconnected):
                        (stalled_at,) = proxy.faults_at
                        assert now() - stalled_at < TIMEOUTS.idle + 1
        assert_complete(events, server)
        assert session.stats.reconnects == 1

    random.seed(1)
    run_virtual(scenario)


@pytest.mark.parametrize("fault", ["abort", "half-close"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_path_that_ends_is_replaced_at_once(fault: Any, direction: Direction) -> None:
    async def scenario() -> None:
        server = NumberedServer()
        path = NetworkPath(fault=fault, direction=direction, after_bytes=2 * START_BYTES[direction])
        async with server.serving() as port, TcpProxy(port, [path]).serving() as proxy:
            service = server.protocol.service(proxy.port)
            async with connect(server.protocol.options, service, timeouts=TIMEOUTS) as session:
                async for event in session.events(NumberedSource(AUDIO_S)):
                    if isinstance(event, Reconnected):
                        break
                assert now() - proxy.faults_at[0] < 0.5

    random.seed(1)
    run_virtual(scenario)


@pytest.mark.parametrize("fault", ["abort", "half-close", "stall"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_reconnect_that_fails_in_its_handshake_is_tried_again(fault: Any, direction: Direction) -> None:
    async def scenario() -> None:
        server = NumberedServer()
        paths = [NetworkPath(fault="abort", after_bytes=50_000)]
        paths += [
            NetworkPath(fault=fault, direction=direction, after_bytes=after_bytes) for after_bytes in (0, 20, 100, 400)
        ]
        events, proxy = await stream(server, paths, pace=None)
        assert_complete(events, server)
        assert proxy.connections == 6

    random.seed(1)
    run_virtual(scenario)


# --- the emulator as server ------------------------------------------------------------------------------------------

SCRIPT = [("good morning", 200, 1_100), ("how are you", 1_500, 2_400)]
VENDORS = ["dashscope", "huawei"]


async def recognise(vendor: str, paths: list[NetworkPath]) -> tuple[list[tuple[str, int, int]], int]:
    """Return the finals that arrive over these paths, and the number of connections."""
    async with serve(engine=Scripted(SCRIPT)) as emulator:
        port = urlsplit(emulator.url).port
        assert port is not None
        async with TcpProxy(port, paths).serving() as proxy:
            service: Service = Huawei(
                ak="AK", sk="SK", project_id="p", region="r", endpoint=via_proxy(proxy, emulator.huawei_url)
            )
            options: Options = Rasr()
            if vendor == "dashscope":
                service, options = DashScope("key", endpoint=via_proxy(proxy, emulator.dashscope_url)), Paraformer()
            transcript = await transcribe([bytes(3_200)] * 30, options, service, timeouts=TIMEOUTS)
            return [(final.text, final.start_ms, final.end_ms) for final in transcript.results], proxy.connections


def via_proxy(proxy: TcpProxy, url: str) -> str:
    return urlsplit(url)._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "path",
    [NetworkPath(piece_bytes=149), NetworkPath(piece_bytes=8_000, delay_s=0.5)],
    ids=["small-pieces", "delayed-blocks"],
)
def test_the_transcript_does_not_depend_on_how_bytes_are_split_or_delayed(vendor: str, path: NetworkPath) -> None:
    async def scenario() -> None:
        assert await recognise(vendor, [path]) == (SCRIPT, 1)

    run_virtual(scenario)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("fault", ["abort", "stall", "half-close"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_path_that_fails_before_the_first_final_yields_the_whole_transcript(
    vendor: str, fault: Any, direction: Direction
) -> None:
    """The fault is before the first final, since a script starts again with each connection."""

    async def scenario() -> None:
        path = NetworkPath(fault=fault, direction=direction, after_bytes={"up": 20_000, "down": 900}[direction])
        assert await recognise(vendor, [path]) == (SCRIPT, 2)

    random.seed(1)
    run_virtual(scenario)
