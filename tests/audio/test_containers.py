"""The parsers of compressed audio: packets and their places, whatever the chunks and the damage."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_async.audio._containers import Block, NotCuttableError, Packet, Parser, find_parser
from asr_async.audio._containers.mpeg import _crc16
from asr_async.audio._containers.ogg_pages import checksum

from ..support.compressed_audio import (
    MP3_FRAME_BYTES,
    MP3_FRAME_MS,
    adts_frame,
    amr_frame,
    mp3_frame,
    mp3_numbers,
    ogg_checksum,
    ogg_page,
    ogg_pages,
    opus_file,
    opus_head,
    opus_numbers,
    opus_packet,
    opus_tags,
    speex_file,
)

ID3 = b"ID3\x04\0\0" + bytes([0, 0, 78, 0]) + (mp3_frame(0) * 80)[: 78 * 128]
"""A tag of 10 KB whose picture is full of frames."""

WB_FRAME = bytes([8 << 3 | 4]) + b"\xaa" * 60

STREAMS: dict[str, tuple[str, bytes]] = {
    "mp3": ("mp3", b"".join(map(mp3_frame, range(40)))),
    "mp3 with tags": ("mp3", ID3 + b"".join(map(mp3_frame, range(40))) + b"TAG" + bytes(125)),
    "mp3 from the middle of a frame": ("mp3", mp3_frame(0)[50:] + b"".join(map(mp3_frame, range(1, 40)))),
    "mp3 with noise": (
        "mp3",
        b"".join(map(mp3_frame, range(20))) + random.Random(1).randbytes(9_000) + b"".join(map(mp3_frame, range(20))),
    ),
    "mp3 with half a frame": (
        "mp3",
        b"".join(map(mp3_frame, range(9))) + mp3_frame(9)[:70] + b"".join(map(mp3_frame, range(20))),
    ),
    "mp3 without its last bytes": ("mp3", b"".join(map(mp3_frame, range(9)))[:-30]),
    "one mp3 frame": ("mp3", mp3_frame(0)),
    "adts": ("aac", b"".join(adts_frame(n, blocks=1 + n % 3, size=50 + n) for n in range(60))),
    "adts with noise": ("aac", b"\xff\xf1\x50" + adts_frame(0) * 9 + b"\xff\xf1noise\xff" * 20 + adts_frame(1) * 9),
    "amr": ("amr", b"#!AMR\n" + b"".join(map(amr_frame, range(50))) + b"\x7c" * 9 + amr_frame(1)[:9]),
    "amr with noise": ("amr", b"#!AMR\n" + amr_frame(0) * 9 + b"\xff\x83" * 900 + amr_frame(1) * 20),
    "amr-wb": ("amr", b"#!AMR-WB\n" + WB_FRAME * 40),
    "opus": ("opus", opus_file(range(100))),
    "opus, long pages": ("opus", opus_file(range(300), in_page=50)),
    "opus with noise": ("opus", opus_file(range(20)) + b"OggS" * 50 + bytes(80_000) + opus_file(range(20))),
    "opus without its last bytes": ("opus", opus_file(range(20))[:-9]),
    "speex": ("speex", speex_file(range(100), in_page=7)),
    "no mp3": ("mp3", bytes(9_000)),
    "m4a": ("aac", b"\0\0\0\x20ftypM4A " + bytes(9_000)),
    "vorbis": ("opus", ogg_page([b"\x01vorbis" + bytes(22)], 0, 0, flags=2) + bytes(500)),
}


def blocks_of(encoding: str, data: bytes, sizes: list[int] | None = None) -> tuple[list[Block], Parser]:
    """Parse a stream in chunks of these sizes, again and again, else at once."""
    parser: Parser | None = None
    blocks: list[Block] = []
    pending, at, turn = b"", 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)] if sizes else len(data)
        pending += data[at : at + size]
        at, turn = at + size, turn + 1
        parser = parser or find_parser(encoding, pending)
        if parser is not None:
            blocks += parser.feed(pending)
            pending = b""
    assert parser is not None
    return blocks + parser.finish(), parser


def packets_of(encoding: str, data: bytes) -> tuple[list[Packet], Parser]:
    """Return the packets with a length."""
    blocks, parser = blocks_of(encoding, data)
    return [packet for block in blocks for packet in block.packets if packet.samples], parser


def rendered(packets: list[Packet], parser: Parser, index: int) -> tuple[bytes, float]:
    """Return the stream that is cut at a packet, and the place of its time 0."""
    cut = parser.track.cut(packets, index)
    rest = packets[cut.resume :]
    if cut.writer is None:
        return cut.head + b"".join(packet.data for packet in rest), cut.begin_ms
    groups = [rest[at : at + 7] for at in range(0, len(rest), 7)]
    return cut.head + b"".join(map(cut.writer.write, groups)), cut.begin_ms


# --- all containers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
@given(sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_any_chunks_of_a_stream_yield_the_same_blocks_which_are_the_stream(name: str, sizes: list[int]) -> None:
    encoding, data = STREAMS[name]
    whole, parser = blocks_of(encoding, data)
    chunked, chunked_parser = blocks_of(encoding, data, sizes)
    assert [(block.data, len(block.packets)) for block in chunked] == [
        (block.data, len(block.packets)) for block in whole
    ]
    assert [(packet.data, packet.start) for block in chunked for packet in block.packets] == [
        (packet.data, packet.start) for block in whole for packet in block.packets
    ]
    assert b"".join(block.data for block in whole) + parser.rest() == data
    assert (chunked_parser.refusal, chunked_parser.error) == (parser.refusal, parser.error)


@given(
    data=st.binary(max_size=3_000), start=st.sampled_from([b"OggS", b"#!AMR\n", b"#!AMR-WB\n", b"", mp3_frame(0) * 3])
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_returned_as_they_came(data: bytes, start: bytes) -> None:
    stream = start + data + bytes(16)
    for encoding in ("mp3", "aac"):
        blocks, parser = blocks_of(encoding, stream)
        assert b"".join(block.data for block in blocks) + parser.rest() == stream


@pytest.mark.parametrize("name", [name for name in STREAMS if name not in {"no mp3", "m4a", "vorbis"}])
def test_packets_lie_one_behind_the_other(name: str) -> None:
    blocks, parser = blocks_of(*STREAMS[name])
    assert (parser.refusal, parser.error) == (None, None)
    place = 0
    for block in blocks:
        for packet in block.packets:
            assert packet.start == place or packet.start < place, "a chained stream leaves its pre-skip out"
            place = packet.start + packet.samples
    assert place


@pytest.mark.parametrize("name", ["no mp3", "m4a", "vorbis"])
def test_a_stream_in_another_container_is_refused_and_its_bytes_are_kept(name: str) -> None:
    encoding, data = STREAMS[name]
    blocks, parser = blocks_of(encoding, data)
    assert (blocks, parser.rest()) == ([], data)
    assert parser.refusal


def test_an_encoding_without_a_known_container_is_refused() -> None:
    with pytest.raises(NotCuttableError, match="opus does not begin like a container that can be cut"):
        find_parser("opus", b"raw packets")
    assert find_parser("opus", b"Og") is None


# --- mp3 -------------------------------------------------------------------------------------------------------------


def test_mp3_frames_have_the_length_of_their_header_and_tags_have_none() -> None:
    packets, parser = packets_of(*STREAMS["mp3 with tags"])
    assert [number for packet in packets for number, _ in mp3_numbers(packet.data)] == list(range(40))
    assert parser.track.end_ms(packets[-1]) == 40 * MP3_FRAME_MS
    assert parser.track.begin_ms(packets[10]) == 10 * MP3_FRAME_MS


def test_noise_between_mp3_frames_has_no_length() -> None:
    packets, parser = packets_of(*STREAMS["mp3 with noise"])
    assert len(packets) == 40
    assert parser.track.end_ms(packets[-1]) == 40 * MP3_FRAME_MS


def test_half_an_mp3_frame_costs_at_most_the_frame_behind_it() -> None:
    packets, _ = packets_of(*STREAMS["mp3 with half a frame"])
    assert len(packets) in {28, 29, 30}


def test_an_mp3_stream_that_is_cut_off_ends_with_its_last_whole_frame() -> None:
    packets, parser = packets_of(*STREAMS["mp3 without its last bytes"])
    assert parser.track.end_ms(packets[-1]) == 8 * MP3_FRAME_MS


@pytest.mark.parametrize("reservoir", [0, 1, 131, 132, 255])
def test_a_cut_mp3_stream_begins_with_silent_frames_that_hold_the_bit_reservoir(reservoir: int) -> None:
    data = b"".join(mp3_frame(number, reservoir=reservoir) for number in range(40))
    packets, parser = packets_of("mp3", data)
    stream, begin_ms = rendered(packets, parser, 20)
    silent = -(-reservoir // (MP3_FRAME_BYTES - 13))
    first = 19 - silent  # 19 is the frame before: its blocks overlap with those of the next
    assert begin_ms == first * MP3_FRAME_MS
    assert list(mp3_numbers(stream)) == [(number, number >= 19) for number in range(first, 40)]
    reach = [stream[at + 4] for at in range(0, silent * MP3_FRAME_BYTES, MP3_FRAME_BYTES)]
    assert reach == [min(255, 131 * count) for count in range(silent)]


def test_the_first_decodable_mp3_frame_has_all_of_its_data_in_the_stream() -> None:
    packets, parser = packets_of("mp3", b"".join(mp3_frame(number, reservoir=200) for number in range(9)))
    assert parser.track.first_decodable(packets) == 2


def test_the_delay_of_the_encoder_is_left_out_of_the_places() -> None:
    lame = b"Info" + struct.pack(">I", 0) + b"LAME3.100" + bytes(12) + (576 << 12 | 100).to_bytes(3, "big")
    info = (mp3_frame(0)[:13] + lame).ljust(MP3_FRAME_BYTES, b"\0")
    packets, parser = packets_of("mp3", info + b"".join(map(mp3_frame, range(10))))
    assert len(packets) == 10, "the frame with the tag is no audio"
    assert parser.track.end_ms(packets[-1]) == (10 * 576 - 576 - 529) / 16
    stream, begin_ms = rendered(packets, parser, 5)
    assert stream.startswith(info + mp3_frame(4)), "it is left out again behind a cut"
    assert begin_ms == 4 * MP3_FRAME_MS


def test_an_mp3_that_changes_its_sample_rate_is_an_error_behind_the_frames_before() -> None:
    data = b"".join(map(mp3_frame, range(9))) + b"".join(mp3_frame(n, rate=24_000) for n in range(9))
    packets, parser = packets_of("mp3", data)
    assert len(packets) == 9
    assert parser.error == "the audio changes its format from MPEG-2 at 16000 Hz to MPEG-2 at 24000 Hz"


def test_a_single_header_of_another_rate_is_noise() -> None:
    data = b"".join(map(mp3_frame, range(9))) + mp3_frame(9, rate=24_000) + b"".join(map(mp3_frame, range(9)))
    packets, parser = packets_of("mp3", data)
    assert (len(packets), parser.error) == (18, None)


def test_mp3_of_a_free_bit_rate_is_refused() -> None:
    frame = bytes([0xFF, 0xF3, 0x08, 0xC0]) + bytes(100)
    _, parser = blocks_of("mp3", frame * 100)
    assert parser.refusal is not None


# --- ADTS, AMR -------------------------------------------------------------------------------------------------------


def test_an_adts_frame_has_1024_samples_for_each_of_its_blocks() -> None:
    packets, parser = packets_of(*STREAMS["adts"])
    assert [packet.samples for packet in packets[:4]] == [1_024, 2_048, 3_072, 1_024]
    assert parser.track.end_ms(packets[-1]) == 60 * 2 * 64


def test_a_silent_frame_with_a_checksum_has_the_right_one() -> None:
    assert _crc16(b"123456789") == 0xAEE7  # CRC-16/CMS, the same polynomial and start

    def protected(number: int) -> bytes:
        head = bytes([0xFF, 0xF2, 0x48, 0xC0])
        side_info = bytes([200]) + b"\x55" * 8
        crc = _crc16(head[2:] + side_info).to_bytes(2, "big")
        return (head + crc + side_info + b"#%06d#" % number).ljust(MP3_FRAME_BYTES, b"m")

    packets, parser = packets_of("mp3", b"".join(map(protected, range(20))))
    stream, _ = rendered(packets, parser, 10)
    frames = [stream[at : at + MP3_FRAME_BYTES] for at in range(0, len(stream), MP3_FRAME_BYTES)]
    assert [frame[6] for frame in frames[:3]] == [0, 129, 200]
    assert frames[0][7:15] == bytes(8)
    assert all(int.from_bytes(frame[4:6], "big") == _crc16(frame[2:4] + frame[6:15]) for frame in frames)


@pytest.mark.parametrize(
    ("change", "text"), [({"rate_index": 4}, "44100 Hz, profile 1, 1"), ({"channels": 2}, "2 channels")]
)
def test_adts_that_changes_its_configuration_is_an_error(change: dict[str, int], text: str) -> None:
    packets, parser = packets_of("aac", adts_frame(0) * 9 + adts_frame(0, **change) * 9)
    assert len(packets) == 9
    assert parser.error is not None
    assert text in parser.error


def test_amr_frames_are_20_ms_long_and_a_cut_stream_begins_with_the_magic_line() -> None:
    packets, parser = packets_of(*STREAMS["amr"])
    assert parser.track.end_ms(packets[-1]) == 59 * 20, "also frames without data"
    stream, begin_ms = rendered(packets, parser, 10)
    assert begin_ms == 8 * 20
    assert stream.startswith(b"#!AMR\n" + amr_frame(8) + amr_frame(9) + amr_frame(10))
    stream, _ = rendered(*packets_of(*STREAMS["amr-wb"]), 10)
    assert stream.startswith(b"#!AMR-WB\n" + WB_FRAME)


def test_noise_between_amr_frames_has_no_length() -> None:
    packets, _ = packets_of(*STREAMS["amr with noise"])
    assert len(packets) == 29


# --- Ogg -------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_the_checksum_of_a_page_is_that_of_the_standard(data: bytes) -> None:
    assert checksum(data) == ogg_checksum(data)


@pytest.mark.parametrize("in_page", [1, 3, 50])
@pytest.mark.parametrize("index", [4, 5, 49, 50, 51, 98])
def test_a_cut_opus_stream_has_its_headers_and_counts_from_the_cut(in_page: int, index: int) -> None:
    packets, parser = packets_of("opus", opus_file(range(100), in_page=in_page))
    stream, begin_ms = rendered(packets, parser, index)
    first = index - 4  # 80 ms for the decoder
    assert begin_ms == first * 20
    pages = list(ogg_pages(stream))
    assert [page.sequence for page in pages] == list(range(len(pages)))
    assert [page.flags for page in pages] == [2, *[0] * (len(pages) - 2), 4]
    assert (pages[0].packets, pages[1].packets) == ([opus_head()], [opus_tags()])
    assert [packet for page in pages[2:] for packet in page.packets] == [opus_packet(n) for n in range(first, 100)]
    count = 0
    for page in pages[2:]:
        count += len(page.packets)
        assert page.granule == count * 960


def test_the_pre_skip_is_left_out_of_the_end_of_opus() -> None:
    packets, parser = packets_of("opus", opus_file(range(100)))
    assert parser.track.end_ms(packets[-1]) == 2_000 - 6.5


def test_the_last_opus_packet_is_as_long_as_its_page_says() -> None:
    pages = [ogg_page([opus_head()], 0, 0, flags=2), ogg_page([opus_tags()], 0, 1)]
    pages += [ogg_page([opus_packet(0)], 960, 2), ogg_page([opus_packet(1)], 1_500, 3, flags=4)]
    packets, parser = packets_of("opus", b"".join(pages))
    assert parser.track.end_ms(packets[-1]) == (1_500 - 312) / 48
    assert list(ogg_pages(rendered(packets, parser, 1)[0]))[-1].granule == 1_500


def test_a_recording_of_a_running_opus_stream_counts_from_its_own_start() -> None:
    pages = [ogg_page([opus_head()], 0, 0, flags=2), ogg_page([opus_tags()], 0, 1)]
    pages += [ogg_page([opus_packet(n)], 48_000_000 + 960 * (n + 1), n + 2) for n in range(20)]
    packets, parser = packets_of("opus", b"".join(pages))
    assert parser.track.begin_ms(packets[10]) == 200


def test_a_packet_that_continues_on_the_next_page_is_one_packet() -> None:
    long = opus_packet(1, size=255 * 4 + 30)
    pages = [
        ogg_page([opus_head()], 0, 0, flags=2),
        ogg_page([opus_tags()], 0, 1),
        ogg_page([opus_packet(0), long[:510]], 960, 2, is_open=True),
        ogg_page([long[510:1020]], -1, 3, flags=1, is_open=True),
        ogg_page([long[1020:], opus_packet(2)], 2_880, 4, flags=1),
    ]
    packets, parser = packets_of("opus", b"".join(pages))
    assert [packet.data for packet in packets] == [opus_packet(0), long, opus_packet(2)]
    stream, _ = rendered(packets, parser, 1)
    assert [packet for page in list(ogg_pages(stream))[2:] for packet in page.packets] == [
        opus_packet(0),
        long,
        opus_packet(2),
    ]
    _, cut_parser = packets_of("opus", stream)
    assert cut_parser.error is None


def test_a_packet_whose_start_is_missing_is_left_out() -> None:
    pages = [ogg_page([opus_head()], 0, 0, flags=2), ogg_page([opus_tags()], 0, 1)]
    pages += [ogg_page([b"rest", opus_packet(1)], 960, 3, flags=1), ogg_page([opus_packet(2)], 1_920, 4)]
    packets, _ = packets_of("opus", b"".join(pages))
    assert [packet.data for packet in packets] == [opus_packet(1), opus_packet(2)]


def test_a_damaged_page_is_no_page() -> None:
    data = bytearray(opus_file(range(20)))
    data[data.index(b"#000007#") + 3] ^= 1
    packets, _ = packets_of("opus", bytes(data))
    assert [int(packet.data[2:8]) for packet in packets] == [n for n in range(20) if n != 7]


def test_a_long_comment_header_is_replaced_by_an_empty_one() -> None:
    picture = opus_tags(b"METADATA_BLOCK_PICTURE=" + b"p" * 200_000)
    pieces = [picture[at : at + 65_025] for at in range(0, len(picture), 65_025)]
    pages = [ogg_page([opus_head()], 0, 0, flags=2)]
    for index, piece in enumerate(pieces):
        is_open = index < len(pieces) - 1
        pages.append(ogg_page([piece], -1 if is_open else 0, index + 1, flags=index > 0, is_open=is_open))
    pages += [ogg_page([opus_packet(n)], 960 * (n + 1), n + 9) for n in range(20)]
    packets, parser = packets_of("opus", b"".join(pages))
    assert len(packets) == 20
    stream, _ = rendered(packets, parser, 10)
    assert list(ogg_pages(stream))[1].packets == [b"OpusTags\x09\0\0\0asr_async\0\0\0\0"]
    assert opus_numbers(stream + b"OggS") == list(range(6, 20))


def test_speex_packets_have_the_length_of_the_header() -> None:
    packets, parser = packets_of(*STREAMS["speex"])
    assert parser.track.end_ms(packets[-1]) == 2_000
    stream, begin_ms = rendered(packets, parser, 50)
    assert begin_ms == 47 * 20
    assert [page.granule for page in ogg_pages(stream)][:4] == [0, 0, 7 * 320, 14 * 320]


def test_chained_streams_are_one_source_and_each_begins_with_its_own_headers() -> None:
    first, second = opus_file(range(50)), opus_file(range(50, 100), serial=2, pre_skip=480)
    packets, parser = packets_of("opus", first + second)
    assert [int(packet.data[2:8]) for packet in packets] == list(range(100))
    assert parser.track.end_ms(packets[-1]) == 1_000 - 6.5 + 1_000 - 10
    stream, begin_ms = rendered(packets, parser, 45)
    assert begin_ms == 41 * 20
    starts = [page for page in ogg_pages(stream) if page.flags & 2]
    assert [(page.serial, page.sequence, page.packets) for page in starts] == [
        (0x1234, 0, [opus_head()]),
        (2, 0, [opus_head(480)]),
    ]
    stream, begin_ms = rendered(packets, parser, 51)
    assert begin_ms == 1_000 - 6.5 + 20, "a decoder begins the second stream anew"
    assert [page.serial for page in ogg_pages(stream)] == [2] * 9


def test_streams_at_the_same_time_are_an_error_that_says_so() -> None:
    pages = [
        ogg_page([opus_head()], 0, 0, flags=2),
        ogg_page([opus_head()], 0, 0, flags=2, serial=2),
        ogg_page([opus_tags()], 0, 1),
    ]
    blocks, parser = blocks_of("opus", b"".join(pages))
    assert len(blocks) == 1
    assert parser.error is not None
    assert "several streams at the same time (multiplexed)" in parser.error
    _, parser = blocks_of("opus", opus_file(range(9)) + ogg_page([opus_packet(0)], 960, 9, serial=2))
    assert parser.error is not None
    assert "multiplexed" in parser.error


def test_a_chain_of_different_codecs_is_an_error() -> None:
    _, parser = blocks_of("opus", opus_file(range(9)) + speex_file(range(9)))
    assert parser.error == "the audio changes its format from Opus at 48000 Hz to Speex at 16000 Hz"
    vorbis = ogg_page([b"\x01vorbis" + bytes(22)], 0, 0, flags=2)
    _, parser = blocks_of("opus", opus_file(range(9)) + vorbis)
    assert parser.error == "the audio changes its format from Opus to another one"
