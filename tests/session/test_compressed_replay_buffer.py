"""The replay buffer of compressed audio: places in milliseconds, cuts between packets, and its bounds."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from asr_async import AudioFormat
from asr_async._session.replay_buffer import CompressedReplayBuffer, LostAudio
from asr_async.audio import CompressedFramer

from ..support.compressed_audio import (
    MP3_FRAME_MS,
    OPUS_PACKET_MS,
    amr_frame,
    mp3_frame,
    mp3_numbers,
    ogg_page,
    ogg_pages,
    opus_file,
    opus_numbers,
)


def buffer_of(encoding: str, data: bytes, *, max_s: float = 60.0) -> CompressedReplayBuffer:
    """Return a buffer with this audio, none of which was sent."""
    buffer = CompressedReplayBuffer(AudioFormat(encoding), max_s=max_s)
    framer = CompressedFramer(AudioFormat(encoding))
    buffer.add([*framer.push(data), *framer.finish()])
    return buffer


def mp3(count: int, *, first: int = 0, reservoir: int = 0) -> bytes:
    return b"".join(mp3_frame(number, reservoir=reservoir) for number in range(first, count))


def pop_all(buffer: CompressedReplayBuffer) -> bytes:
    data = b""
    while not buffer.is_drained:
        data += buffer.pop()
    return data


def numbers(data: bytes) -> list[int]:
    return [number for number, _ in mp3_numbers(data)]


def test_the_cursor_and_the_sent_place_move_with_each_frame() -> None:
    buffer = buffer_of("mp3", mp3(40))
    assert (buffer.cursor_ms, buffer.sent_ms, buffer.is_cuttable) == (0, 0, True)
    sent = b""
    while not buffer.is_drained:
        sent += buffer.pop()
        place_ms = len(numbers(sent)) * MP3_FRAME_MS
        assert (buffer.cursor_ms, buffer.sent_ms, buffer.position) == (place_ms, place_ms, place_ms)
    assert buffer.position_after(500) == 40 * MP3_FRAME_MS + 500
    buffer.cover(720)
    buffer.rewind()
    assert (buffer.cursor_ms, buffer.sent_ms) == (19 * MP3_FRAME_MS, 40 * MP3_FRAME_MS)


@pytest.mark.parametrize(
    ("covered_ms", "first"), [(720, 19), (721, 19), (755, 19), (756, 20), (1_439, 38), (9_999, 38)]
)
def test_a_rewind_begins_a_frame_before_the_one_at_the_covered_place(covered_ms: int, first: int) -> None:
    buffer = buffer_of("mp3", mp3(40))
    pop_all(buffer)
    buffer.cover(covered_ms)
    assert buffer.rewind() is None
    assert buffer.cursor_ms == first * MP3_FRAME_MS
    assert numbers(pop_all(buffer)) == list(range(first, 40))


def test_without_a_final_the_source_is_sent_again_as_it_came() -> None:
    tag = b"ID3\x04\0\0\0\0\0\x64" + bytes(100)
    data = tag + mp3(40) + b"TAG" + bytes(125)
    buffer = buffer_of("mp3", data)
    assert pop_all(buffer) == data
    for covered_ms in (0, 10, 70):
        buffer.cover(covered_ms)
        assert buffer.rewind() is None
        assert buffer.cursor_ms == 0
        assert pop_all(buffer) == data


def test_audio_that_was_not_sent_is_sent_after_a_rewind_too() -> None:
    buffer = buffer_of("mp3", mp3(200))
    for _ in range(5):
        buffer.pop()
    buffer.cover(1_000)
    buffer.rewind()
    first = 1_000 // MP3_FRAME_MS - 1
    assert numbers(pop_all(buffer)) == list(range(first, 200))


def test_covered_audio_is_dropped_but_for_a_second() -> None:
    buffer = buffer_of("mp3", mp3(400))
    pop_all(buffer)
    buffer.cover(13_000)
    assert buffer.kept_bytes <= 144 * (400 - 12_000 // MP3_FRAME_MS + 12)
    assert buffer.rewind() is None
    assert numbers(pop_all(buffer))[0] == 13_000 // MP3_FRAME_MS - 1


def test_the_oldest_sent_audio_is_dropped_by_its_length_and_lost_with_its_place() -> None:
    buffer = CompressedReplayBuffer(AudioFormat("mp3"), max_s=2.0)
    framer = CompressedFramer(AudioFormat("mp3"))
    for number in range(100):
        buffer.add(framer.push(mp3_frame(number, reservoir=200)))
        while not buffer.is_drained:
            buffer.pop()
    assert buffer.kept_bytes <= (2_000 // MP3_FRAME_MS + 1) * 144
    buffer.cover(1_000)
    lost = buffer.rewind()
    assert lost is not None
    assert lost.end_ms is not None
    assert lost.start_ms == 1_000
    stream = pop_all(buffer)
    audible = [number for number, is_audible in mp3_numbers(stream) if is_audible]
    assert lost.end_ms == (audible[0] + 1) * MP3_FRAME_MS or lost.end_ms == audible[0] * MP3_FRAME_MS
    assert audible[-1] == 99
    assert buffer.rewind() is None, "a loss is reported once"


def test_bytes_that_are_no_audio_are_bounded_too() -> None:
    buffer = CompressedReplayBuffer(AudioFormat("mp3"), max_s=1.0)
    framer = CompressedFramer(AudioFormat("mp3"))
    buffer.add(framer.push(mp3(9)))
    for _ in range(100):
        buffer.add(framer.push(bytes(10_000)))
        while not buffer.is_drained:
            buffer.pop()
    assert buffer.kept_bytes <= 64_000


def test_there_is_no_room_while_the_buffer_holds_as_much_as_it_may() -> None:
    buffer = buffer_of("mp3", mp3(40), max_s=1.0)
    assert not buffer.has_room
    pop_all(buffer)
    assert buffer.has_room


def test_an_ogg_stream_is_sent_again_on_new_pages() -> None:
    buffer = buffer_of("opus", opus_file(range(300), in_page=50))
    assert opus_numbers(pop_all(buffer) + b"OggS") == list(range(300))
    buffer.cover(3_333)
    assert buffer.rewind() is None
    first = 3_333 // OPUS_PACKET_MS - 4
    assert buffer.cursor_ms == first * OPUS_PACKET_MS
    stream = pop_all(buffer)
    assert opus_numbers(stream + b"OggS") == list(range(first, 300))
    assert max(len(page.packets) for page in ogg_pages(stream)) <= 50


def test_an_ogg_stream_that_was_cut_can_be_sent_from_its_start() -> None:
    """A rotation cuts it where it is; then the connection is lost before any final."""
    buffer = buffer_of("opus", opus_file(range(300), in_page=50))
    while buffer.position < 2_000:
        buffer.pop()
    begin_ms = buffer.begin_anew()
    assert begin_ms == 2_900, "the page that ends at 2993 ms was sent"
    buffer.pop()
    assert buffer.rewind() is None
    assert buffer.cursor_ms == 0
    assert opus_numbers(pop_all(buffer) + b"OggS") == list(range(300))


def test_pages_on_which_no_packet_ends_are_not_sent_as_empty_frames() -> None:
    data = opus_file(range(100))
    buffer = CompressedReplayBuffer(AudioFormat("opus"), max_s=60)
    framer = CompressedFramer(AudioFormat("opus"))
    buffer.add(framer.push(data[:-200]))
    pop_all(buffer)
    buffer.cover(1_000)
    buffer.rewind()
    buffer.add(framer.push(ogg_page([], -1, 77)))
    while not buffer.is_drained:
        assert buffer.pop()


def test_pages_that_are_longer_than_a_message_are_counted_once() -> None:
    """Their parts are frames of their own, in which no packet ends; behind a cut they are not sent."""
    data = opus_file(range(3_000), in_page=250, size=250)
    buffer = CompressedReplayBuffer(AudioFormat("opus"), max_s=20)
    framer = CompressedFramer(AudioFormat("opus"))
    for at in range(0, len(data), 10_000):
        buffer.add(framer.push(data[at : at + 10_000]))
        pop_all(buffer)
        buffer.cover(buffer.cursor_ms - 300)
        assert buffer.rewind() is None
        stream = pop_all(buffer)
        assert buffer.kept_bytes <= 70_000 * 2
    assert opus_numbers(stream + b"OggS")[-1] >= 2_700


def test_the_end_of_an_utterance_that_is_covered_is_not_sent_again() -> None:
    buffer = CompressedReplayBuffer(AudioFormat("amr"), max_s=60)
    framer = CompressedFramer(AudioFormat("amr"))
    buffer.add([*framer.push(b"#!AMR\n" + b"".join(map(amr_frame, range(50)))), b""])
    buffer.add([*framer.push(b"".join(map(amr_frame, range(50, 100)))), b""])
    pop_all(buffer)
    buffer.cover(1_000)
    buffer.rewind()
    frames = [buffer.pop() for _ in range(len(buffer.unsent) + 1)]
    assert frames[0] == b"#!AMR\n"
    assert [index for index, frame in enumerate(frames) if not frame] == [len(frames) - 1]
    assert b"".join(frames[1:]) == b"".join(map(amr_frame, range(48, 100)))


def test_a_stream_that_begins_anew_at_the_cursor_overlaps_by_what_a_decoder_needs() -> None:
    buffer = buffer_of("mp3", mp3(100, reservoir=131))
    sent: list[int] = []
    while buffer.position < 1_500:
        sent += numbers(bytes(buffer.pop()))
    begin_ms = buffer.begin_anew()
    stream = pop_all(buffer)
    assert begin_ms == numbers(stream)[0] * MP3_FRAME_MS
    audible = [number for number, is_audible in mp3_numbers(stream) if is_audible]
    assert audible == list(range(sent[-1], 100))


def test_a_stream_that_begins_anew_in_front_of_the_cursor_overlaps_by_that_too() -> None:
    buffer = buffer_of("mp3", mp3(40))
    pop_all(buffer)
    end_ms, length_ms = buffer.cursor_ms, 500
    begin_ms = buffer.begin_anew(length_ms)
    assert end_ms - length_ms - 80 <= begin_ms <= end_ms - length_ms
    assert numbers(pop_all(buffer))[-1] == 39
    assert buffer.cursor_ms == end_ms


def test_audio_that_stops_to_be_cuttable_is_sent_from_its_start() -> None:
    buffer = CompressedReplayBuffer(AudioFormat("aac"), max_s=60)
    tag = b"ID3\x04\0\0\0\0\0\x64" + bytes(100)
    framer = CompressedFramer(AudioFormat("aac"))
    buffer.add(framer.push(tag + bytes(9_000)))
    assert not buffer.is_cuttable
    assert buffer.sent_ms is None
    assert pop_all(buffer) == tag + bytes(9_000)
    assert buffer.rewind() is None
    assert pop_all(buffer) == tag + bytes(9_000)


def test_nothing_is_lost_where_only_covered_audio_was_dropped() -> None:
    buffer = CompressedReplayBuffer(AudioFormat("mp3"), max_s=0.2)
    framer = CompressedFramer(AudioFormat("mp3"))
    for number in range(30):
        buffer.add(framer.push(mp3_frame(number)))
        pop_all(buffer)
        buffer.cover(max(0, buffer.cursor_ms - 10))
        assert buffer.rewind() is None
        pop_all(buffer)


WHOLE = opus_file(range(2_000), in_page=3)


class CompressedReplayBufferMachine(RuleBasedStateMachine):
    """Operations in any order: each connection receives a stream without holes, from the covered place or before."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = CompressedReplayBuffer(AudioFormat("opus"), max_s=1.0)
        self.framer = CompressedFramer(AudioFormat("opus"))
        self.chunks = [WHOLE[at : at + 700] for at in range(0, len(WHOLE), 700)]
        self.stream = b""
        self.covered_ms = 0
        self.begin_ms = 0

    @precondition(lambda self: self.buffer.has_room)
    @rule()
    def add_a_chunk(self) -> None:
        self.buffer.add(self.framer.push(self.chunks.pop(0)))

    @precondition(lambda self: not self.buffer.is_drained)
    @rule(count=st.integers(1, 5))
    def send(self, count: int) -> None:
        for _ in range(count):
            if not self.buffer.is_drained:
                frame = self.buffer.pop()
                assert frame
                self.stream += frame

    @rule(back_ms=st.integers(0, 500))
    def cover(self, back_ms: int) -> None:
        end_ms = self.buffer.cursor_ms - back_ms
        self.buffer.cover(end_ms)
        self.covered_ms = max(self.covered_ms, end_ms)

    @rule()
    def rewind(self) -> None:
        lost = self.buffer.rewind()
        if lost is not None:
            assert lost == LostAudio(self.covered_ms, lost.end_ms)
            assert lost.end_ms is not None
            self.covered_ms = lost.end_ms
        self.check_stream()
        self.begin_ms = self.buffer.cursor_ms
        assert self.begin_ms <= self.covered_ms
        self.stream = b""

    @rule()
    def begin_anew(self) -> None:
        cursor_ms = self.buffer.cursor_ms
        self.check_stream()
        self.begin_ms = self.buffer.begin_anew()
        assert self.begin_ms <= cursor_ms
        self.stream = b""

    def teardown(self) -> None:
        self.check_stream()

    def check_stream(self) -> None:
        """Assert that the stream of a connection has no hole and begins at its place."""
        found = opus_numbers(self.stream + b"OggS") if self.stream else []
        if found:
            assert found == list(range(found[0], found[-1] + 1))
            assert found[0] * OPUS_PACKET_MS == self.begin_ms


TestCompressedReplayBufferInAnyOrder = CompressedReplayBufferMachine.TestCase
TestCompressedReplayBufferInAnyOrder.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
