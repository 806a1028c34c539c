"""Sessions that last: memory that does not grow, deadlines that hold at every moment.

A day of virtual time takes minutes, so three hours stand for it: of these, the first half fills what is bounded (the
thousand segments of the time line are there after 83 minutes), and in the second half nothing may grow any more.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    ConfigurationError,
    DeadlineError,
    Paraformer,
    Reconnected,
    Retry,
    Session,
    Timeouts,
    connect,
    transcribe,
)

from ..support.numbered_audio import NumberedServer, NumberedSource, finals_of, finals_of_seconds, stop_answering
from ..support.scripted_server import scripted_server, send_final, send_interim, start_task
from ..support.virtual_time import VirtualLoop, run_virtual

# --- memory ----------------------------------------------------------------------------------------------------------

WARM_UP_S = 5_400
QUARTER_S = (float(os.environ.get("ASR_ASYNC_SOAK_HOURS", "3")) * 3_600 - WARM_UP_S) / 4
"""1,350 s in the usual run; `nox -s soak` sets a day."""
RECONNECT_MS = 231_300
"""How much audio a connection lasts: no multiple of anything else here."""


class Talker:
    """A vendor that hears half a minute's talk over and over: interims each half second, a final each five seconds."""

    def __init__(self) -> None:
        self.connections = 0

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        task_id = await start_task(connection)
        now_ms = begin_ms = told_ms = 0
        async for audio in connection:
            now_ms += len(audio) // 32
            if now_ms - begin_ms >= 5_000:
                await send_final(connection, task_id, "five seconds of talk", begin_ms, now_ms)
                begin_ms = told_ms = now_ms
            elif now_ms - told_ms >= 500:
                await send_interim(connection, task_id, "some talk", begin_ms)
                told_ms = now_ms
            if now_ms >= RECONNECT_MS:
                connection.transport.abort()
                return


class Microphone:
    live = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(1)
            yield bytes(32_000)


def containers(thing: Any, path: str = "session", seen: set[int] | None = None) -> Iterator[tuple[str, int]]:
    """Yield the path and length of each container inside a live object of the library, each object once."""
    seen = set() if seen is None else seen
    if isinstance(thing, dict | list | set | deque):
        yield path, len(thing)
    elif type(thing).__module__.startswith("asr_async") and id(thing) not in seen:
        seen.add(id(thing))
        for name in attributes_of(thing):
            yield from containers(getattr(thing, name), f"{path}.{name}", seen)


def attributes_of(thing: Any) -> Iterator[str]:
    """The names of what an object holds, wherever it holds it."""
    if isinstance(thing, msgspec.Struct):
        yield from thing.__struct_fields__
        return
    yield from getattr(thing, "__dict__", {})
    for kind in type(thing).__mro__:
        yield from (name for name in getattr(kind, "__slots__", ()) if hasattr(thing, name))


class Census:
    """What a session holds in each quarter of its second half: the most of each container, the fewest blocks."""

    def __init__(self) -> None:
        # by path, and not a dict for each quarter: the census itself must not grow, its blocks are counted too
        self.longest: dict[str, list[int]] = {}
        self.blocks: list[int] = [sys.maxsize] * 4

    def take(self, session: Session, quarter: int) -> None:
        for path, length in containers(session):
            most = self.longest.setdefault(path, [0] * 4)
            most[quarter] = max(most[quarter], length)

    def take_blocks(self, quarter: int) -> None:
        gc.collect()
        self.blocks[quarter] = min(self.blocks[quarter], sys.getallocatedblocks())


@pytest.mark.soak
def test_the_memory_of_a_stream_of_hours_with_reconnects_and_a_slow_caller_is_flat() -> None:
    """A day would add eight times what three hours do, and the second half of these adds nothing.

    Counted are each container of the session, and Python's small objects in the whole process: whatever is kept too
    long, be it a result, a frame's view, a task, a timer or a connection, is made of them.
    """
    census = Census()

    async def scenario() -> None:
        talker = Talker()
        loop = asyncio.get_running_loop()
        async with scripted_server(talker) as service, connect(Paraformer(), service) as session:
            begin_at = loop.time() + WARM_UP_S
            results = 0
            async for _ in session.stream(Microphone()):
                await asyncio.sleep(2)
                quarter = math.floor((loop.time() - begin_at) / QUARTER_S)
                if quarter == 4:
                    break
                if quarter >= 0:
                    census.take(session, quarter)
                    results += 1
                    if results % 75 == 0:
                        census.take_blocks(quarter)
            assert session.stats.reconnects == talker.connections - 1 > 40
            assert session.stats.interims_conflated > 10_000

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(quiet_polls=0)) as runner:
        runner.run(scenario())
    assert census.longest["session._outbox._waiting"][0] <= 3
    most_frames = census.longest["session._ledger._sent"][0] + census.longest["session._ledger.unsent"][0]
    assert most_frames <= 60, "five seconds without a final result, and what a reconnect holds up"
    assert {path: most for path, most in census.longest.items() if most[3] > most[0] + 1} == {}
    assert max(census.blocks) - min(census.blocks) < 400, "less than one for every other final result"


# --- deadlines -------------------------------------------------------------------------------------------------------


def now() -> float:
    return asyncio.get_running_loop().time()


class Mute(NumberedServer):
    """Hears to the end and never confirms it."""

    async def _send_rest(self, *_args: Any) -> None:
        await asyncio.sleep(600)


def test_finish_against_a_mute_vendor_ends_at_its_deadline_and_keeps_what_was_recognised() -> None:
    async def scenario() -> None:
        timeouts = Timeouts(finish=7)
        async with scripted_server(Mute()) as service, connect(Paraformer(), service, timeouts=timeouts) as session:
            async for chunk in NumberedSource(2.5):
                await session.send(chunk)
            started_at = now()
            with pytest.raises(DeadlineError, match=r"did not confirm the end within 7 s \(Timeouts.finish\)"):
                await session.finish()
            assert now() - started_at == pytest.approx(7, abs=0.1)
            texts = []
            with pytest.raises(DeadlineError):
                async for result in session:
                    texts.append(result.text)
            assert texts == ["to 1000", "to 2000", "…"]

    run_virtual(scenario)


def test_a_transcription_by_a_mute_vendor_hands_over_what_was_recognised() -> None:
    async def scenario() -> None:
        async with scripted_server(Mute()) as service:
            with pytest.raises(DeadlineError) as caught:
                await transcribe(NumberedSource(2.5), Paraformer(), service)
        assert caught.value.transcript is not None
        assert caught.value.transcript.text == "to 1000 to 2000"

    run_virtual(scenario)


class SilentAt(NumberedServer):
    """Becomes half-open on its first connection, at some place: no message, no pong, no end."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where
        self.silent_at = 0.0

    async def __call__(self, connection: ServerConnection) -> None:
        await self._silent_at("opening", connection)
        await super().__call__(connection)

    async def _send_rest(self, connection: ServerConnection, *args: Any) -> None:
        await self._silent_at("finishing", connection)
        await super()._send_rest(connection, *args)

    async def _silent_at(self, where: str, connection: ServerConnection) -> None:
        if where == self._where and not self.silent_at:
            self.silent_at = now()
            await stop_answering(connection, "")


def test_a_vendor_that_is_half_open_from_the_start_is_noticed_at_the_deadline_of_the_opening() -> None:
    async def scenario() -> None:
        vendor = SilentAt("opening")
        async with scripted_server(vendor) as service:
            with pytest.raises(DeadlineError, match=r"did not open the task within 6 s \(Timeouts.start\)"):
                await connect(Paraformer(), service, timeouts=Timeouts(start=6, close=1)).__aenter__()
            assert now() - vendor.silent_at < 6 + 1 + 0.1, "and a second for the goodbye"

    run_virtual(scenario)


def test_a_connection_that_is_half_open_while_finishing_is_replaced_within_the_idle_deadline_and_a_second() -> None:
    async def scenario() -> None:
        vendor = SilentAt("finishing")
        timeouts = Timeouts(idle=6, finish=10)
        async with scripted_server(vendor) as service, connect(Paraformer(), service, timeouts=timeouts) as session:
            events = []
            async for event in session.events(NumberedSource(2.5)):
                events.append(event)
                if isinstance(event, Reconnected):
                    assert now() - vendor.silent_at < 6 + 1
        assert [text for _, text, _, _ in finals_of(events)] == ["to 1000", "to 2000", "to 2500"]
        assert session.stats.reconnects == 1

    run_virtual(scenario)


@pytest.mark.parametrize("goes_on_talking", [False, True])
def test_a_vendor_that_reads_no_more_is_noticed_within_the_idle_deadline_and_a_second(goes_on_talking: bool) -> None:
    """By the sending that is blocked, even if messages keep coming."""

    async def stop_reading(connection: ServerConnection, task_id: str) -> None:
        stopped_at.append(now())
        connection.transport.pause_reading()
        for number in range(600):
            await asyncio.sleep(1)
            if goes_on_talking:
                await send_interim(connection, task_id, f"word {number}", 1_000)

    stopped_at: list[float] = []

    async def scenario() -> None:
        vendor = NumberedServer(stop_reading, after_ms=1_500)
        length_s = 400
        async with (
            scripted_server(vendor) as service,
            connect(Paraformer(), service, timeouts=Timeouts(idle=6), retry=Retry(buffer_s=2 * length_s)) as session,
        ):
            events = []
            async for event in session.events(NumberedSource(length_s, chunk_ms=1_000), pace=None):
                events.append(event)
                if isinstance(event, Reconnected):
                    assert now() - stopped_at[0] < 6 + 1
        assert session.stats.reconnects == 1
        finals = finals_of(events)
        assert [(start_ms, end_ms) for _, _, start_ms, end_ms in finals] == [
            (1_000 * n, 1_000 * (n + 1)) for n in range(length_s)
        ]

    run_virtual(scenario)


# --- the first result ------------------------------------------------------------------------------------------------


class Deaf(NumberedServer):
    """Takes audio on so many connections and tells nothing, not even when it should finish; then it listens."""

    def __init__(self, connections: float) -> None:
        super().__init__()
        self._deaf = connections
        self.heard_from: list[float] = []

    async def __call__(self, connection: ServerConnection) -> None:
        if len(self.heard_from) >= self._deaf:
            await super().__call__(connection)
            return
        await start_task(connection)
        self.heard_from.append(0.0)
        async for _ in connection:
            self.heard_from[-1] = self.heard_from[-1] or now()


async def talk(
    vendor: Deaf, source: Any, *, retry: Retry | None = None, timeouts: Timeouts | None = None
) -> tuple[list[Any], int]:
    """The events of a session, and how often it connected again."""
    events = []
    async with (
        scripted_server(vendor) as service,
        connect(Paraformer(), service, retry=retry, timeouts=timeouts) as session,
    ):
        async for event in session.events(source):
            events.append(event)
        return events, session.stats.reconnects


def test_a_vendor_that_takes_audio_and_tells_nothing_is_an_error_at_the_deadline_of_the_first_result() -> None:
    async def scenario() -> None:
        vendor = Deaf(connections=1)
        with pytest.raises(DeadlineError) as caught:
            await talk(vendor, Microphone(), retry=Retry(attempts=0), timeouts=Timeouts(first_result=6))
        assert now() - vendor.heard_from[0] == pytest.approx(6, abs=0.1)
        assert "no result within 6 s of the first audio (Timeouts.first_result)" in str(caught.value)
        assert caught.value.retryable

    run_virtual(scenario)


def test_another_connection_hears_all_that_the_deaf_one_was_told() -> None:
    async def scenario() -> None:
        vendor = Deaf(connections=2)
        events, reconnects = await talk(vendor, NumberedSource(20), timeouts=Timeouts(first_result=6))
        assert finals_of(events) == finals_of_seconds(20)
        assert reconnects == 2
        reasons = {event.reason for event in events if isinstance(event, Reconnected)}
        assert reasons == {"no result within 6 s of the first audio (Timeouts.first_result)"}

    run_virtual(scenario)


def test_a_vendor_that_stays_deaf_is_an_error_after_as_many_connections_as_retry_has() -> None:
    async def scenario() -> None:
        vendor = Deaf(connections=float("inf"))
        with pytest.raises(DeadlineError, match="no result within 6 s"):
            await talk(vendor, Microphone(), retry=Retry(attempts=2), timeouts=Timeouts(first_result=6))
        assert len(vendor.heard_from) == 3
        assert now() == pytest.approx(18, abs=2.0)

    run_virtual(scenario)


def test_after_the_first_result_a_vendor_may_be_quiet_as_long_as_nobody_speaks() -> None:
    async def scenario() -> None:
        class OneWord(NumberedServer):
            async def _send_whole_seconds(self, *args: Any) -> int:
                return await super()._send_whole_seconds(*args) if args[3] == 0 else args[3]

        events, reconnects = await talk(OneWord(), NumberedSource(60), timeouts=Timeouts(first_result=2, finish=10))  # type: ignore[arg-type]
        assert finals_of(events)[0] == (0, "to 1000", 0, 1_000)
        assert reconnects == 0

    run_virtual(scenario)


def test_before_there_is_audio_and_after_its_end_other_deadlines_hold() -> None:
    async def scenario() -> None:
        timeouts = Timeouts(first_result=2, finish=7)
        async with (
            scripted_server(Deaf(connections=1)) as service,
            connect(Paraformer(), service, timeouts=timeouts) as session,
        ):
            await asyncio.sleep(15)
            began_at = now()
            await session.send(bytes(3_200))
            with pytest.raises(DeadlineError, match=r"did not confirm the end within 7 s \(Timeouts.finish\)"):
                await session.finish()
            assert now() - began_at == pytest.approx(7, abs=0.1)

    run_virtual(scenario)


def test_nobody_has_to_speak_unless_the_caller_says_so() -> None:
    async def scenario() -> None:
        async with scripted_server(Deaf(connections=1)) as service, connect(Paraformer(), service) as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1_200):
                    async for _ in session.stream(Microphone()):
                        pass
            assert session.stats.reconnects == 0

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(quiet_polls=0)) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("value", [0, -1, "soon"])
def test_a_deadline_that_is_no_positive_number_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"Timeouts\(first_result={value!r}\): must be a positive number"):
        Timeouts(first_result=value)
