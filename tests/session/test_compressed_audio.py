"""Sessions with compressed audio: it is cut between its packets, and times remain those of the source."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    AudioLostError,
    ConfigurationError,
    Fallback,
    FunASR,
    Gap,
    Paraformer,
    Result,
    Retry,
    connect,
    transcribe,
)

from ..support.compressed_audio import (
    MP3_FRAME_MS,
    OPUS_PACKET_MS,
    mp3_frame,
    mp3_numbers,
    ogg_page,
    opus_file,
    opus_head,
    opus_numbers,
    opus_tags,
)
from ..support.scripted_server import scripted_server, send_event, send_final, send_interim, start_task
from ..support.virtual_time import run_virtual

PART = 0.6
"""The part of a word that a recogniser needs to recognise it."""


class Codec(NamedTuple):
    """Numbered packets of one encoding, and the reader of those that a server received."""

    format: str
    packet_ms: int
    encode: Callable[[range], bytes]
    decode: Callable[[bytes], list[tuple[int, bool]]]
    """Returns the number of each packet, and True if it is audible."""


def opus(in_page: int) -> Codec:
    def decode(data: bytes) -> list[tuple[int, bool]]:
        return [(number, True) for number in opus_numbers(data)]

    return Codec("opus", OPUS_PACKET_MS, lambda numbers: opus_file(numbers, in_page=in_page), decode)


MP3 = Codec(
    "mp3",
    MP3_FRAME_MS,
    lambda numbers: b"".join(mp3_frame(number, reservoir=200 if number else 0) for number in numbers),
    lambda data: list(mp3_numbers(data)),
)
CODECS = {"mp3": MP3, "opus, pages of 20 ms": opus(1), "opus, pages of 1 s": opus(50)}
each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


class PacketServer:
    """A server that recognises a word in each second of numbered packets, and cuts its first connections.

    Its times count from the first packet of a connection, also from silent ones, as a decoder's samples do.
    """

    def __init__(self, codec: Codec, *cut_after_ms: int) -> None:
        self.codec = codec
        self.cut_after_ms = list(cut_after_ms)
        self.streams: list[bytes] = []
        """The audio of each connection."""

    async def __call__(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        task_id = await start_task(connection)
        cut_after_ms = self.cut_after_ms.pop(0) if self.cut_after_ms else None
        index = len(self.streams)
        self.streams.append(b"")
        answered: set[int] = set()
        async for message in connection:
            is_end = isinstance(message, str)
            if isinstance(message, bytes):
                self.streams[index] += message
            packets = self.codec.decode(self.streams[index] + b"OggS" * is_end)
            words = self._words(packets)
            for word, places in words.items():
                is_whole = is_end or max(words) > word
                if len(places) * self.codec.packet_ms >= PART * 1_000 and word not in answered:
                    begin, end = places[0] * self.codec.packet_ms, (places[-1] + 1) * self.codec.packet_ms
                    if is_whole:
                        answered.add(word)
                        await send_final(connection, task_id, f"word{word}", begin, end)
                    else:
                        await send_interim(connection, task_id, f"word{word}", begin)
            if is_end:
                await send_event(connection, "task-finished", task_id, {"output": {}})
                return
            if cut_after_ms is not None and len(packets) * self.codec.packet_ms >= cut_after_ms:
                connection.transport.abort()
                return

    def _words(self, packets: list[tuple[int, bool]]) -> dict[int, list[int]]:
        """Return the places of the packets that are audible, by word."""
        words: dict[int, list[int]] = {}
        for place, (number, is_audible) in enumerate(packets):
            if is_audible:
                words.setdefault(number * self.codec.packet_ms // 1_000, []).append(place)
        return words

    def numbers(self, index: int, *, audible: bool = True) -> list[int]:
        """Return the numbers of the packets that a connection received."""
        packets = self.codec.decode(self.streams[index] + b"OggS")
        return [number for number, is_audible in packets if is_audible or not audible]


async def live(codec: Codec, seconds: int, *, every_s: float = 0.1) -> AsyncIterator[bytes]:
    """Yield a stream of so many seconds in real time, in pieces that know nothing of packets."""
    data = codec.encode(range(seconds * 1_000 // codec.packet_ms))
    size = round(len(data) / seconds * every_s)
    for at in range(0, len(data), size):
        await asyncio.sleep(every_s)
        yield data[at : at + size]


def words_of(events: list[Any]) -> list[str]:
    return [event.text for event in events if isinstance(event, Result) and event.is_final]


def assert_places(events: list[Any], *, tolerance_ms: int = 60) -> None:
    """Assert that each word is at its second of the source."""
    finals = [event for event in events if isinstance(event, Result) and event.is_final]
    for final in finals:
        start_ms = int(final.text.removeprefix("word")) * 1_000
        assert abs(final.start_ms - start_ms) <= tolerance_ms, final
        assert abs(final.end_ms - start_ms - 1_000) <= tolerance_ms, final


@each_codec
def test_after_a_cut_only_the_audio_behind_the_last_final_is_sent_again(codec: Codec) -> None:
    async def scenario() -> None:
        server = PacketServer(codec, 2_700, 1_900)
        async with scripted_server(server) as service, connect(Paraformer(format=codec.format), service) as session:
            events = [event async for event in session.events(live(codec, 8))]
        assert words_of(events) == [f"word{n}" for n in range(8)]
        assert_places(events)
        assert not [event for event in events if isinstance(event, Result) and event.may_repeat]
        for index, covered_ms in ((1, 2_000), (2, 3_000)):
            begin_ms = server.numbers(index)[0] * codec.packet_ms
            assert covered_ms - 2 * codec.packet_ms - 80 <= begin_ms <= covered_ms
            all_numbers = server.numbers(index, audible=False)
            assert all_numbers == list(range(all_numbers[0], all_numbers[-1] + 1))
        assert server.numbers(2)[-1] == 8_000 // codec.packet_ms - 1
        stats = session.stats
        assert stats.reconnects == 2
        assert stats.audio_sent_ms in range(7_950, 8_001)

    run_virtual(scenario)


@each_codec
def test_an_old_connection_is_replaced_at_the_end_of_a_segment(codec: Codec) -> None:
    async def scenario() -> None:
        server = PacketServer(codec)
        retry = Retry(rotate_after=3.0)
        async with (
            scripted_server(server) as service,
            connect(Paraformer(format=codec.format), service, retry=retry) as session,
        ):
            events = [event async for event in session.events(live(codec, 12))]
        assert words_of(events) == [f"word{n}" for n in range(12)]
        # the successor receives the audio behind the last final, and a little in front of that for its decoder
        assert_places(events, tolerance_ms=60 + 80)
        assert len(server.streams) >= 3
        # a connection that is replaced behind the last packet has a successor without audio
        streams = [numbers for index in range(len(server.streams)) if (numbers := server.numbers(index))]
        for before, after in itertools.pairwise(streams):
            last, first = before[-1], after[0]
            assert last - 2_200 // codec.packet_ms <= first <= last + 1, "two pages of a second at most"
        assert session.stats.reconnects == 0

    run_virtual(scenario)


@each_codec
def test_a_fail_over_begins_behind_the_last_final(codec: Codec) -> None:
    async def scenario() -> None:
        first, second = PacketServer(codec, 2_700), PacketServer(codec)

        async def first_once(connection: ServerConnection) -> None:
            if not first.streams:
                await first(connection)
            else:
                connection.transport.abort()

        async with scripted_server(first_once) as first_service, scripted_server(second) as second_service:
            members = [
                (first_service, Paraformer(format=codec.format)),
                (second_service, FunASR(format=codec.format)),
            ]
            fallback = Fallback(members)
            async with connect(fallback.options, service=fallback) as session:
                events = [event async for event in session.events(live(codec, 6))]
        assert words_of(events) == [f"word{n}" for n in range(6)]
        assert_places(events)

    run_virtual(scenario)


@each_codec
def test_audio_that_could_not_be_kept_is_a_gap_with_its_place(codec: Codec) -> None:
    class Silent(PacketServer):
        def _words(self, packets: list[tuple[int, bool]]) -> dict[int, list[int]]:
            return super()._words(packets) if len(self.streams) > 1 else {}

    async def scenario() -> None:
        server = Silent(codec, 6_000)
        retry = Retry(buffer_s=2.0, on_gap="continue")
        async with (
            scripted_server(server) as service,
            connect(Paraformer(format=codec.format), service, retry=retry) as session,
        ):
            events = [event async for event in session.events(live(codec, 10))]
        (gap,) = [event for event in events if isinstance(event, Gap)]
        assert gap.start_ms == 0
        assert gap.end_ms in range(3_000, 5_001)
        assert abs(server.numbers(1)[0] * codec.packet_ms - gap.end_ms) <= 2 * codec.packet_ms
        assert_places([event for event in events if not isinstance(event, Result) or event.start_ms > gap.end_ms + 500])
        assert session.stats.lost_ms == gap.end_ms

        async with scripted_server(Silent(codec, 6_000)) as service:
            with pytest.raises(AudioLostError, match=r"from 0 to \d+ ms"):
                await transcribe(
                    live(codec, 10), Paraformer(format=codec.format), service, pace=1.0, retry=Retry(buffer_s=2.0)
                )

    run_virtual(scenario)


def test_the_length_of_a_transcript_of_mp3_is_known() -> None:
    async def scenario() -> None:
        async with scripted_server(PacketServer(MP3)) as service:
            transcript = await transcribe([MP3.encode(range(100))], Paraformer(format="mp3"), service)
        assert transcript.duration_ms == 100 * MP3_FRAME_MS

    run_virtual(scenario)


def test_audio_that_changes_its_format_is_an_error_behind_the_results_before() -> None:
    async def scenario() -> None:
        data = MP3.encode(range(100)) + b"".join(mp3_frame(number, rate=24_000) for number in range(100))
        server = PacketServer(MP3)
        results = []
        async with scripted_server(server) as service, connect(Paraformer(format="mp3"), service) as session:
            with pytest.raises(
                ConfigurationError, match=r"at 3600 ms the audio changes its format from MPEG-2 at 16000"
            ):
                async for result in session.stream([data]):
                    results.append(result)
        assert words_of(results)[:3] == ["word0", "word1", "word2"]
        assert server.numbers(0) == list(range(100))

    run_virtual(scenario)


def test_a_multiplexed_ogg_file_is_an_error_that_says_so() -> None:
    async def scenario() -> None:
        data = ogg_page([opus_head()], 0, 0, flags=2) + ogg_page([opus_head()], 0, 0, flags=2, serial=9)
        async with scripted_server(PacketServer(opus(1))) as service:
            with pytest.raises(ConfigurationError, match="multiplexed"):
                await transcribe([data + ogg_page([opus_tags()], 0, 1)], Paraformer(format="opus"), service)

    run_virtual(scenario)


def test_a_rotation_of_audio_that_cannot_be_cut_is_refused_when_it_arrives() -> None:
    async def scenario() -> None:
        async with scripted_server(PacketServer(MP3)) as service:
            text = r"Retry\(rotate_after=60\): this opus cannot be cut, since its packets are not known"
            with pytest.raises(ConfigurationError, match=text):
                webm = b"\x1a\x45\xdf\xa3" + bytes(900)
                await transcribe([webm], Paraformer(format="opus"), service, retry=Retry(rotate_after=60))

    run_virtual(scenario)


def test_a_session_with_audio_that_is_cut_does_not_log_that_it_cannot_be(caplog: Any) -> None:
    async def scenario() -> None:
        async with scripted_server(PacketServer(MP3)) as service:
            await transcribe([MP3.encode(range(10))], Paraformer(format="mp3"), service)

    with caplog.at_level(logging.INFO, "asr_async"):
        run_virtual(scenario)
    assert "cannot be cut" not in caplog.text


@each_codec
def test_finalize_cuts_between_packets_and_times_go_on(codec: Codec) -> None:
    async def scenario() -> None:
        server = PacketServer(codec)
        async with (
            scripted_server(server) as service,
            connect(Paraformer(format=codec.format), service) as session,
            asyncio.TaskGroup() as tasks,
        ):
            events: list[Any] = []

            async def collect() -> None:
                async for event in session.events():
                    events.append(event)

            tasks.create_task(collect())
            sent = 0
            async for piece in live(codec, 6):
                await session.send(piece)
                sent += 1
                if sent == 30:
                    await session.finalize()
                    assert len(words_of(events)) in {2, 3}
            await session.finish()
            assert session.stats.reconnects == 0
        assert len(server.streams) == 2
        assert words_of(events) == [f"word{n}" for n in range(6)]
        assert_places(events)

    run_virtual(scenario)


@pytest.mark.parametrize(("pace", "length_s"), [(1.0, 10.0), (4.0, 2.5), (None, 0.0)])
@each_codec
def test_compressed_audio_is_paced_by_the_time_of_its_packets(
    codec: Codec, pace: float | None, length_s: float
) -> None:
    async def scenario() -> float:
        data = codec.encode(range(10_000 // codec.packet_ms))
        async with (
            scripted_server(PacketServer(codec)) as service,
            connect(Paraformer(format=codec.format), service) as session,
        ):
            began_at = asyncio.get_running_loop().time()
            async for _ in session.stream([data[at : at + 1_000] for at in range(0, len(data), 1_000)], pace=pace):
                pass
            return asyncio.get_running_loop().time() - began_at

    assert run_virtual(scenario) == pytest.approx(length_s, abs=1.2)
