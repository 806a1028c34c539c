"""The buffer of audio that no final covers yet: what it keeps, replays and drops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asr_async._session.replay_buffer import LostAudio, ReplayBuffer, replay_buffer_for
from asr_async.audio import AudioBytes, AudioFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

PCM = AudioFormat("pcm", 1_000)  # 2 bytes a millisecond, for readable numbers
FRAME_MS = 100


def frame(number: int) -> memoryview:
    """Return a frame in which each of the 100 samples holds the number of its millisecond in the source."""
    first = number * FRAME_MS
    return memoryview(b"".join((first + n).to_bytes(2, "little") for n in range(FRAME_MS)))


def span_ms(audio: AudioBytes) -> tuple[int, int]:
    """Return the start and the end of the audio in the source."""
    return int.from_bytes(audio[:2], "little"), int.from_bytes(audio[-2:], "little") + 1


def pop_all(buffer: ReplayBuffer) -> Iterator[AudioBytes]:
    """Pop all frames that are not sent yet."""
    while buffer.unsent:
        yield buffer.pop()


def buffer_of(seconds: float, *, max_s: float = 60.0) -> ReplayBuffer:
    """Return a buffer to which so much audio was added, all of it sent."""
    buffer = ReplayBuffer(PCM, max_s=max_s)
    for number in range(round(seconds * 10)):
        buffer.add([frame(number)])
        buffer.pop()
    return buffer


def test_frames_are_returned_in_order_without_a_copy() -> None:
    buffer = ReplayBuffer(PCM, max_s=1.0)
    first = frame(0)
    buffer.add([first])
    (popped,) = pop_all(buffer)
    assert popped is first


def test_a_new_connection_can_begin_in_front_of_the_cursor_and_all_audio_is_kept_for_a_later_replay() -> None:
    buffer = buffer_of(1.0)
    buffer.cover(340)
    assert buffer.begin_anew() == 1_000
    assert buffer.begin_anew(250) == 700
    assert [span_ms(buffer.pop()) for _ in range(3)] == [(700, 800), (800, 900), (900, 1_000)]
    assert buffer.rewind() is None
    assert buffer.cursor_ms == 340


def test_a_replay_starts_at_the_exact_sample_after_the_last_final() -> None:
    buffer = buffer_of(1.0)
    buffer.cover(340)
    assert buffer.rewind() is None
    assert buffer.cursor_ms == 340
    assert [span_ms(buffer.pop()) for _ in range(3)] == [(340, 400), (400, 500), (500, 600)]


def test_without_a_final_all_audio_is_replayed() -> None:
    buffer = buffer_of(0.5)
    assert buffer.rewind() is None
    assert span_ms(buffer.pop()) == (0, 100)


def test_audio_that_a_final_covers_is_dropped() -> None:
    buffer = buffer_of(1.0)
    buffer.cover(730)
    assert buffer.kept_bytes == 300 * 2


def test_a_final_beyond_the_sent_audio_covers_only_the_sent_audio() -> None:
    buffer = buffer_of(0.5)
    buffer.add([frame(5)])
    buffer.cover(9_999)
    buffer.rewind()
    assert span_ms(buffer.pop()) == (500, 600)


def test_a_later_final_of_an_earlier_part_changes_nothing() -> None:
    buffer = buffer_of(1.0)
    buffer.cover(700)
    buffer.cover(300)
    buffer.rewind()
    assert buffer.cursor_ms == 700


def test_a_replay_starts_earlier_if_its_first_frame_would_be_too_small() -> None:
    buffer = buffer_of(0.3)
    buffer.cover(195)
    buffer.rewind(min_bytes=40)
    assert span_ms(buffer.pop()) == (180, 200)


def test_a_full_buffer_drops_the_oldest_sent_audio_and_a_replay_reports_it_as_lost() -> None:
    buffer = buffer_of(2.5, max_s=1.0)
    assert buffer.kept_bytes == 1_000 * 2
    buffer.cover(1_200)
    assert buffer.rewind() == LostAudio(1_200, 1_500)
    assert span_ms(buffer.pop()) == (1_500, 1_600)
    assert not buffer.rewind(), "a loss is reported once"


def test_dropped_audio_that_a_final_covers_is_not_lost() -> None:
    buffer = buffer_of(2.5, max_s=1.0)
    buffer.cover(1_500)
    assert buffer.rewind() is None


def test_unsent_audio_is_never_dropped_and_the_source_has_to_wait() -> None:
    buffer = ReplayBuffer(PCM, max_s=0.3)
    room = []
    for number in range(3):
        room.append(buffer.has_room)
        buffer.add([frame(number)])
    room.append(buffer.has_room)
    sent = [span_ms(popped) for popped in pop_all(buffer)]
    room.append(buffer.has_room)
    assert room == [True, True, True, False, True]
    assert sent == [(0, 100), (100, 200), (200, 300)]


def test_there_is_no_room_for_new_audio_before_the_replay_is_sent() -> None:
    buffer = buffer_of(0.3, max_s=0.3)
    buffer.rewind()
    room = [buffer.has_room for _ in pop_all(buffer)]
    assert room == [False, False, True]


def test_an_empty_frame_keeps_its_position() -> None:
    buffer = ReplayBuffer(PCM, max_s=1.0)
    for added in (frame(0), memoryview(b""), frame(1)):
        buffer.add([added])
    assert [len(popped) for popped in pop_all(buffer)] == [200, 0, 200]
    buffer.cover(50)
    buffer.rewind()
    assert [len(popped) for popped in pop_all(buffer)] == [100, 0, 200]
    buffer.cover(100)
    buffer.rewind()
    assert [len(popped) for popped in pop_all(buffer)] == [200], "the utterance that the empty frame ended is final"


def test_audio_in_an_unknown_container_is_replayed_from_its_start() -> None:
    buffer = replay_buffer_for(AudioFormat("mp3", 16_000), max_s=1.0)
    for chunk in (b"head", b"tail"):
        buffer.add([memoryview(chunk)])
        buffer.pop()
    buffer.cover(9_000)
    assert buffer.rewind() is None
    assert (buffer.cursor_ms, buffer.sent_ms, buffer.is_cuttable) == (0, None, False)
    assert b"".join(pop_all(buffer)) == b"headtail"


def test_incomplete_audio_in_an_unknown_container_is_lost_from_the_last_final_on() -> None:
    buffer = replay_buffer_for(AudioFormat("mp3", 16_000), max_s=1.0)
    for _ in range(3):
        buffer.add([memoryview(bytes(8_000))])
        buffer.pop()
    buffer.cover(9_000)
    assert buffer.rewind() == LostAudio(9_000, None)


class ReplayBufferMachine(RuleBasedStateMachine):
    """Operations in any order: no audio is skipped unless it was reported as lost."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = ReplayBuffer(PCM, max_s=0.5)
        self.frames = 0
        self.sent_until = 0
        self.covered = 0

    @precondition(lambda self: self.buffer.has_room)
    @rule()
    def add_a_frame(self) -> None:
        self.buffer.add([frame(self.frames)])
        self.frames += 1

    @rule()
    def send_a_frame(self) -> None:
        assert self.buffer.is_drained == (self.sent_until == self.frames * FRAME_MS)
        if not self.buffer.is_drained:
            start_ms, end_ms = span_ms(self.buffer.pop())
            assert start_ms == self.sent_until
            self.sent_until = end_ms

    @rule(end_ms=st.integers(0, 5_000))
    def receive_a_final(self, end_ms: int) -> None:
        self.buffer.cover(end_ms)
        self.covered = max(self.covered, min(end_ms, self.sent_until))

    @rule()
    def start_a_new_connection(self) -> None:
        lost = self.buffer.rewind()
        if lost is not None:
            assert lost.start_ms == self.covered
            assert lost.end_ms is not None
            self.covered = lost.end_ms
        self.sent_until = self.buffer.cursor_ms
        assert self.sent_until == self.covered

    @invariant()
    def the_size_is_bounded(self) -> None:
        assert self.buffer.kept_bytes <= (500 + FRAME_MS) * 2
        assert self.buffer.cursor_ms == self.sent_until


TestReplayBufferInAnyOrder = ReplayBufferMachine.TestCase


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(0, 1_500))
def test_frames_may_have_any_size(sizes: list[int], end_ms: int) -> None:
    buffer = ReplayBuffer(PCM, max_s=10.0)
    source = b"".join(n.to_bytes(2, "little") for n in range(sum(sizes)))
    start = 0
    for size in sizes:
        buffer.add([memoryview(source)[2 * start : 2 * (start + size)]])
        start += size
        buffer.pop()
    buffer.cover(end_ms)
    buffer.rewind()
    replayed = b"".join(pop_all(buffer))
    assert replayed == source[2 * end_ms :]
