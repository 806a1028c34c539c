"""Rotation: a connection is replaced before it is too old, without lost or repeated audio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import ContextMessage, FunASR, Reconnected, Result, Retry, Session, connect

from ..support.numbered_audio import (
    FinalAtEndServer,
    NumberedServer,
    NumberedSource,
    assert_seamless,
    finals_of,
    stream_events,
)
from ..support.scripted_server import scripted_server
from ..support.virtual_time import run_virtual

pytestmark = pytest.mark.both_loops


@pytest.mark.parametrize("pace", [1.0, 4.0])
def test_an_old_connection_is_replaced_at_the_end_of_a_segment_without_lost_or_repeated_results(pace: float) -> None:
    async def scenario() -> None:
        server = NumberedServer()
        events, stats = await stream_events(server, NumberedSource(12), pace=pace, retry=Retry(rotate_after=2.0))
        assert_seamless(finals_of(events), 12_000)
        assert len(server.started_at_ms) >= 4
        ends_ms = [
            start_ms + received_ms
            for start_ms, received_ms in zip(server.started_at_ms, server.received_ms, strict=True)
        ]
        for start_ms, end_before_ms in zip(server.started_at_ms[1:], ends_ms, strict=False):
            assert end_before_ms - 300 <= start_ms <= end_before_ms
            assert start_ms % 1_000 in {0, *range(900, 1_000)}, "at the end of a segment, but for the jitter"
        assert not [event for event in events if isinstance(event, Reconnected)]
        assert (stats.reconnects, stats.audio_sent_ms) == (0, 12_000)
        assert stats.replayed_ms == sum(ends_ms[:-1]) - sum(server.started_at_ms[1:])

    run_virtual(scenario)


def test_speech_that_began_before_the_final_of_the_last_segment_arrived_is_sent_to_the_successor_whole() -> None:
    async def scenario() -> None:
        class LateFinals(NumberedServer):
            async def _send_whole_seconds(
                self, connection: ServerConnection, task_id: str, start_ms: int, final_ms: int, now_ms: int
            ) -> int:
                return await super()._send_whole_seconds(connection, task_id, start_ms, final_ms, now_ms - 600)

            async def _send_rest(self, *args: Any) -> None:
                """Send the last final; what is cut in two is not recognised."""
                connection, task_id, start_ms, final_ms, now_ms = args
                if start_ms + now_ms == 12_000:
                    await super()._send_whole_seconds(connection, task_id, start_ms, final_ms, now_ms)

        server = LateFinals()
        events, stats = await stream_events(server, NumberedSource(12), retry=Retry(rotate_after=3.0))
        assert [text for _, text, _, _ in finals_of(events) if text != "…"] == [f"to {n}000" for n in range(1, 13)]
        assert len(server.started_at_ms) >= 3
        for start_ms in server.started_at_ms[1:]:
            assert start_ms % 1_000 in {0, *range(900, 1_000)}
        assert stats.replayed_ms in range(600 * (len(server.started_at_ms) - 1), 1_000 * len(server.started_at_ms))

    run_virtual(scenario)


def test_results_of_the_draining_connection_are_delivered_before_those_of_the_next() -> None:
    async def scenario() -> None:
        class SlowToFinish(NumberedServer):
            async def _send_rest(self, *args: Any) -> None:
                await asyncio.sleep(3)
                await super()._send_rest(*args)

        events, _ = await stream_events(SlowToFinish(), NumberedSource(8), retry=Retry(rotate_after=2.0))
        assert_seamless(finals_of(events), 8_000)

    run_virtual(scenario)


@pytest.mark.parametrize("fault", ["cut", "never-confirms"])
def test_a_connection_that_is_lost_while_it_drains_loses_no_audio(fault: str) -> None:
    async def scenario() -> None:
        class FailsWhileDraining(NumberedServer):
            async def _send_rest(self, connection: ServerConnection, *args: Any) -> None:
                if len(self.started_at_ms) == 1:
                    if fault == "never-confirms":
                        await asyncio.sleep(60)
                    connection.transport.abort()
                    raise asyncio.CancelledError
                await super()._send_rest(connection, *args)

        events, stats = await stream_events(FailsWhileDraining(), NumberedSource(40), retry=Retry(rotate_after=5.0))
        assert_seamless(finals_of(events), 40_000)
        assert stats.reconnects == 1

    run_virtual(scenario)


def test_speech_without_a_pause_changes_over_thirty_seconds_after_the_rotation_is_due_and_no_word_is_cut() -> None:
    async def scenario() -> None:
        server = FinalAtEndServer()
        events, _ = await stream_events(server, NumberedSource(60), retry=Retry(rotate_after=10.0))
        end_ms = server.received_ms[0]
        assert end_ms in range(40_000, 40_400), "10 s, and 30 s of waiting for the end of a segment"
        assert server.started_at_ms[1] == end_ms - 1_000, "the word that is being spoken is heard whole by the second"
        assert [
            (event.text, event.start_ms, event.end_ms, event.may_repeat)
            for event in events
            if isinstance(event, Result) and event.is_final
        ] == [(f"to {end_ms}", 0, end_ms, False), ("to 60000", end_ms - 1_000, 60_000, True)]

    run_virtual(scenario)


@pytest.mark.parametrize("is_lost", [False, True], ids=["waits", "is lost"])
def test_a_successor_that_waits_for_the_end_of_a_segment_gets_the_context_that_is_set_meanwhile(is_lost: bool) -> None:
    async def scenario() -> None:
        connections: list[ServerConnection] = []

        class Counting(NumberedServer):
            async def __call__(self, connection: ServerConnection) -> None:
                connections.append(connection)
                await super().__call__(connection)

        server = Counting()

        async def update(session: Session) -> None:
            await asyncio.sleep(2.3)
            if is_lost:
                connections[1].transport.abort()
                await asyncio.sleep(0.1)
            await session.update_context([ContextMessage("user", "names")])

        async with (
            scripted_server(server) as service,
            connect(FunASR(), service, retry=Retry(rotate_after=2.0)) as session,
        ):
            updating = asyncio.create_task(update(session))
            events = [event async for event in session.events(NumberedSource(4))]
            await updating
        assert_seamless(finals_of(events), 4_000)
        assert [with_audio for with_audio, _ in server.contexts] == [1, 1], "in front of the audio of the second"
        assert len(connections) == (3 if is_lost else 2)

    run_virtual(scenario)
