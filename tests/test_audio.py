"""The framer and the arithmetic of audio formats."""

from __future__ import annotations

import io
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_async import AudioFormat, ConfigurationError
from asr_async.audio import MAX_COMPRESSED_FRAME_BYTES, CompressedFramer, Framer, FramerLike

PCM16K = AudioFormat("pcm", 16_000)


@given(st.lists(st.binary(max_size=9_000)), st.sampled_from([8_000, 11_025, 16_000, 48_000]))
def test_frames_hold_the_stream_in_order_and_only_the_last_one_is_short(chunks: list[bytes], rate: int) -> None:
    framer = Framer(AudioFormat("pcm", rate))
    frames = [frame for chunk in chunks for frame in framer.push(chunk)]
    tail = framer.flush()
    stream = b"".join(chunks)
    size = AudioFormat("pcm", rate).frame_bytes()
    assert all(len(frame) == size for frame in frames)
    assert tail is None or 0 < len(tail) < size
    joined = b"".join(frames) + bytes(tail or b"")
    assert joined == stream[: len(stream) - len(stream) % 2]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [1, 3, 3_200, 1_000_000])
def test_chunks_of_every_type_and_size_give_the_same_frames(kind: type, size: int) -> None:
    stream = bytes(range(256)) * 4_000
    framer = Framer(PCM16K)
    frames = [
        bytes(f) for start in range(0, len(stream), size) for f in framer.push(kind(stream[start : start + size]))
    ]
    tail = framer.flush()
    assert frames == [stream[i : i + 3_200] for i in range(0, len(stream) - 3_199, 3_200)]
    assert tail is None or b"".join([*frames, tail]) == stream


def test_frames_of_an_immutable_chunk_are_views_of_it() -> None:
    chunk = bytes(32_000)
    frames = Framer(PCM16K).push(chunk)
    assert len(frames) == 10
    assert all(isinstance(frame, memoryview) and frame.obj is chunk for frame in frames)


def test_an_immutable_chunk_of_the_frame_size_is_returned_itself() -> None:
    chunk = bytes(3_200)
    (frame,) = Framer(PCM16K).push(chunk)
    assert frame is chunk


def test_a_mutable_chunk_may_be_reused_after_push() -> None:
    buffer = bytearray(b"\x01" * 4_000)
    framer = Framer(PCM16K)
    frames = framer.push(buffer)
    buffer[:] = b"\x02" * 4_000
    buffer.extend(b"grown")  # raises BufferError if a view of it exists
    tail = framer.flush()
    assert tail is not None
    assert set(b"".join([*frames, tail])) == {1}


def test_an_empty_stream_has_no_frame() -> None:
    framer = Framer(PCM16K)
    assert framer.push(b"") == []
    assert framer.flush() is None


def test_half_a_sample_is_not_part_of_a_frame() -> None:
    framer = Framer(PCM16K)
    assert framer.push(b"\x01") == []
    assert framer.flush() is None
    framer.push(b"\x02\x03")
    tail = framer.flush()
    assert tail is not None
    assert bytes(tail) == b"\x01\x02"


def test_audio_in_an_unknown_container_is_returned_at_once_in_frames_of_bounded_size() -> None:
    framer: FramerLike = CompressedFramer(AudioFormat("opus", 16_000))
    assert [len(frame) for frame in framer.push(b"x" * 100)] == [100]
    assert [len(frame) for frame in framer.push(b"x" * 20_000)] == [MAX_COMPRESSED_FRAME_BYTES, 3_616]
    assert (framer.flush(), framer.finish()) == (None, [])


def test_a_strided_memoryview_is_read_with_its_strides() -> None:
    framer = Framer(PCM16K)
    framer.push(memoryview(b"abcdefgh")[::2])
    tail = framer.flush()
    assert tail is not None
    assert bytes(tail) == b"aceg"


def test_a_chunk_that_is_not_bytes_like_is_refused_with_its_type() -> None:
    with pytest.raises(ConfigurationError, match=r"must be bytes, .* or an array of 16-bit samples, not str"):
        Framer(PCM16K).push("text")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("audio_format", "frame_bytes", "second"),
    [
        (AudioFormat("pcm", 16_000), 3_200, 32_000),
        (AudioFormat("wav", 8_000), 1_600, 16_000),
        (AudioFormat("pcm", 11_025), 2_204, 22_050),  # 1102 whole samples
    ],
)
def test_bytes_and_milliseconds_are_converted(audio_format: AudioFormat, frame_bytes: int, second: int) -> None:
    assert audio_format.frame_bytes() == frame_bytes
    assert audio_format.to_ms(second) == 1_000
    assert audio_format.to_bytes(1_000) == second


def test_compressed_audio_is_not_converted_to_time_or_bytes() -> None:
    with pytest.raises(ConfigurationError, match="mp3 is compressed"):
        AudioFormat("mp3").to_ms(1)
    with pytest.raises(ConfigurationError, match="mp3 is compressed"):
        AudioFormat("mp3").to_bytes(1)


# --- a source that pauses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "sample"), [("pcm", b"\0"), ("wav", b"\0"), ("ulaw", b"\xff"), ("alaw", b"\xd5")])
def test_silence_is_encoded_in_the_format(encoding: str, sample: bytes) -> None:
    assert AudioFormat(encoding, 8_000).silence(800) == sample * 800


def test_compressed_audio_has_no_silence() -> None:
    with pytest.raises(ConfigurationError, match="opus is compressed: silence cannot be added to its bytes"):
        AudioFormat("opus").silence(1)


def test_cut_returns_the_pending_whole_samples_and_the_stream_continues() -> None:
    framer = Framer(PCM16K, min_bytes=320)
    stream = bytes(range(256)) * 20
    assert framer.push(stream[:1_001]) == []
    first = framer.cut()
    assert first is not None
    assert bytes(first) == stream[:1_000]
    (frame,) = framer.push(stream[1_001:4_300])
    assert bytes(frame) == stream[1_000:4_200]
    assert framer.cut() is None, "100 bytes are fewer than min_bytes"
    tail = framer.flush()
    assert tail is not None
    assert bytes(tail) == stream[4_200:4_300] + bytes(220)


def test_cut_returns_none_without_a_whole_sample() -> None:
    framer = Framer(PCM16K)
    assert framer.cut() is None
    framer.push(b"\x01")
    assert framer.cut() is None, "half a sample"


def test_the_wav_header_declares_the_format_and_no_length() -> None:
    header = AudioFormat("wav", 8_000).header
    with wave.open(io.BytesIO(header + bytes(1_600))) as reader:
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) == (1, 2, 8_000)
    assert len(header) == 44
    assert AudioFormat("pcm").header == AudioFormat("mp3").header == b""
