"""Connections that are replaced before they are too old, without lost or repeated audio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    Reconnected,
    Retry,
)

from ..support.numbered_audio import (
    FinalAtEndServer,
    NumberedServer,
    NumberedSource,
    assert_seamless,
    finals_of,
    stream_events,
)
from ..support.virtual_time import run_virtual

pytestmark = pytest.mark.both_loops


@pytest.mark.parametrize("pace", [1.0, 4.0])
def test_an_old_connection_is_replaced_at_a_segments_end_and_no_audio_is_lost_or_sent_twice(pace: float) -> None:
    async def scenario() -> None:
        listener = NumberedServer()
        events, stats = await stream_events(listener, NumberedSource(12), pace=pace, retry=Retry(rotate_after=2.0))
        assert_seamless(finals_of(events), 12_000)
        assert len(listener.started_at_ms) >= 4
        ends = [began + heard for began, heard in zip(listener.started_at_ms, listener.received_ms, strict=True)]
        assert listener.started_at_ms == [0, *ends[:-1]]
        assert all(began % 1_000 <= 200 for began in listener.started_at_ms), "behind the end of a segment"
        assert not [event for event in events if isinstance(event, Reconnected)]
        assert (stats.reconnects, stats.audio_sent_ms) == (0, 12_000)

    run_virtual(scenario)


def test_results_of_the_old_connection_come_before_those_of_the_next() -> None:
    async def scenario() -> None:
        class SlowToFinish(NumberedServer):
            async def _send_rest(self, *args: Any) -> None:
                await asyncio.sleep(3)
                await super()._send_rest(*args)

        events, _ = await stream_events(SlowToFinish(), NumberedSource(8), retry=Retry(rotate_after=2.0))
        assert_seamless(finals_of(events), 8_000)

    run_virtual(scenario)


@pytest.mark.parametrize("fails", ["cut", "mute"])
def test_an_old_connection_that_is_lost_while_it_retires_loses_nothing(fails: str) -> None:
    async def scenario() -> None:
        class Fails(NumberedServer):
            async def _send_rest(self, connection: ServerConnection, *args: Any) -> None:
                if len(self.started_at_ms) == 1:
                    if fails == "mute":
                        await asyncio.sleep(60)
                    connection.transport.abort()
                    raise asyncio.CancelledError
                await super()._send_rest(connection, *args)

        events, stats = await stream_events(Fails(), NumberedSource(40), retry=Retry(rotate_after=5.0))
        assert_seamless(finals_of(events), 40_000)
        assert stats.reconnects == 1

    run_virtual(scenario)


def test_somebody_who_never_pauses_is_cut_in_the_end() -> None:
    async def scenario() -> None:
        listener = FinalAtEndServer()
        events, _ = await stream_events(listener, NumberedSource(60), retry=Retry(rotate_after=10.0))
        assert_seamless(finals_of(events), 60_000)
        assert listener.started_at_ms[1] in range(40_000, 40_400), "after 10 s, and 30 s of patience"

    run_virtual(scenario)
