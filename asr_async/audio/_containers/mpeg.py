"""MPEG audio layer III (mp3): its frames, and how a stream of them is cut.

The data of a frame may begin in the frames before it (the *bit reservoir*: `main_data_begin` is the number of bytes
back, ISO/IEC 11172-3, 2.4.2.7; 13818-3 for the lower sample rates). Frames that only carry such bytes for the first
frame behind a cut are sent with empty side information. Every decoder outputs silence of the right length for them and
keeps their bytes (RFC 5219 does the same with frames that were lost); their `main_data_begin` reaches over all of these
bytes, since decoders forget those before it.

The first frame may be a table of contents (Xing, Info, VBRI) without audio. It may hold the encoder's delay in samples
(a LAME tag), which some decoders leave out at the start: `Track.skip`. It is sent again behind a cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .packet import Cut, Packet, Track
from .sync_words import Header, SyncWordParser

__all__ = ["MpegParser", "MpegTrack"]

_MPEG1 = 3
_LAYER_III = 1
_MONO = 3
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KBITS_MPEG1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_MPEG2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_NAMES = {3: "MPEG-1", 2: "MPEG-2", 0: "MPEG-2.5"}

DECODER_DELAY = 528 + 1
"""The samples by which every decoder is late, which the delay in a LAME tag does not contain."""

_LAME_DELAY_OFFSET = 21
_VBRI_OFFSET = 4 + 32
_MAX_RESERVOIR_MPEG1 = 511
_MAX_RESERVOIR_MPEG2 = 255


class _FrameLayout(NamedTuple):
    """The parts of one frame."""

    has_crc: bool
    side_info: int
    """The offset of the side information."""
    main_data: int
    """The offset of the main data."""
    reservoir_bytes: int
    """The bytes before this frame's own main data that its audio begins in (`main_data_begin`)."""


class MpegTrack(Track):
    """The rules of one mp3 stream."""

    warm_up_ms = 1.0  # one frame: its blocks overlap with those of the next

    def first_decodable(self, packets: Sequence[Packet]) -> int:
        """Return the index of the first frame that has all its data in these frames."""
        stored = 0
        for index, packet in enumerate(packets):
            if packet.samples:
                layout = _layout(packet.data)
                if layout.reservoir_bytes <= stored:
                    return index
                stored += _main_data_bytes(packet.data, layout)
        return len(packets) - 1

    def cut(self, packets: Sequence[Packet], index: int) -> Cut:
        """Return the stream that begins with `packets[index]`, behind silent frames with the data that it needs."""
        resume = first = self.warm_up_start(packets, index)
        missing = _layout(packets[resume].data).reservoir_bytes
        while missing > 0 and first > 0:
            first -= 1
            if packets[first].samples:
                missing -= _main_data_bytes(packets[first].data, _layout(packets[first].data))
        if missing > 0:  # frames before these were dropped: this one cannot be decoded
            resume += 1
        silent: list[bytes] = []
        stored = 0
        for packet in packets[first:resume]:
            if packet.samples:
                silent.append(_silenced(packet.data, stored))
                stored += _main_data_bytes(packet.data, _layout(packet.data))
        return Cut(self.header + b"".join(silent), resume, self.begin_ms(packets[first]))


class MpegParser(SyncWordParser):
    """The parser of one mp3 stream. Frames of a free bit rate do not contain their size and are not recognised."""

    header_bytes = 4

    def _header_at(self, at: int) -> Header | None:
        data = self._data
        second, third, fourth = data[at + 1], data[at + 2], data[at + 3]
        version, layer = second >> 3 & 3, second >> 1 & 3
        bit_rate, rate = third >> 4, third >> 2 & 3
        if data[at] != 0xFF or second & 0xE0 != 0xE0 or version == 1 or layer != _LAYER_III:
            return None
        if bit_rate in {0, 15} or rate == 3 or fourth & 3 == 2:
            return None
        sample_rate = _RATES[version][rate]
        if version == _MPEG1:
            size, samples = 144_000 * _KBITS_MPEG1[bit_rate] // sample_rate, 1_152
        else:
            size, samples = 72_000 * _KBITS_MPEG2[bit_rate] // sample_rate, 576
        return Header(size + (third >> 1 & 1), samples, (version, sample_rate))

    def _first_track(self, header: Header, frame: bytes) -> tuple[Track, int]:
        (_, sample_rate) = header.config
        tag = _layout(frame).main_data
        if frame[_VBRI_OFFSET : _VBRI_OFFSET + 4] == b"VBRI":
            return MpegTrack(sample_rate, header=frame), 0
        if frame[tag : tag + 4] not in {b"Xing", b"Info"}:
            return MpegTrack(sample_rate), header.samples
        return MpegTrack(sample_rate, header=frame, skip=_encoder_delay(frame[tag:])), 0

    def _change(self, config: tuple[int, ...]) -> str:
        assert self._config is not None  # noqa: S101 - it changes
        (old, old_rate), (new, new_rate) = self._config, config
        return f"from {_NAMES[old]} at {old_rate} Hz to {_NAMES[new]} at {new_rate} Hz"


def _encoder_delay(tag: bytes) -> int:
    """Return the samples at the start that a decoder leaves out, from the LAME tag behind a Xing tag; 0 without one."""
    flags = int.from_bytes(tag[4:8], "big")
    lame = 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    delays = tag[lame + _LAME_DELAY_OFFSET : lame + _LAME_DELAY_OFFSET + 3]
    if tag[lame : lame + 4] not in {b"LAME", b"Lavf", b"Lavc"} or len(delays) < 3:
        return 0
    return (int.from_bytes(delays, "big") >> 12) + DECODER_DELAY


def _layout(frame: bytes) -> _FrameLayout:
    is_mpeg1 = frame[1] >> 3 & 3 == _MPEG1
    is_mono = frame[3] >> 6 == _MONO
    has_crc = not frame[1] & 1
    side_info = 6 if has_crc else 4
    if is_mpeg1:
        side_info_bytes = 17 if is_mono else 32
        reservoir_bytes = frame[side_info] << 1 | frame[side_info + 1] >> 7
    else:
        side_info_bytes = 9 if is_mono else 17
        reservoir_bytes = frame[side_info]
    return _FrameLayout(has_crc, side_info, side_info + side_info_bytes, reservoir_bytes)


def _main_data_bytes(frame: bytes, layout: _FrameLayout) -> int:
    return max(0, len(frame) - layout.main_data)


def _silenced(frame: bytes, stored_bytes: int) -> bytes:
    """Return a frame that decodes to silence, and leaves its main data to the frames behind it.

    Args:
        frame: the frame.
        stored_bytes: the main data of such frames before it.
    """
    layout = _layout(frame)
    silent = bytearray(frame)
    silent[layout.side_info : layout.main_data] = bytes(layout.main_data - layout.side_info)
    if frame[1] >> 3 & 3 == _MPEG1:
        begin = min(stored_bytes, _MAX_RESERVOIR_MPEG1)
        silent[layout.side_info : layout.side_info + 2] = (begin << 7).to_bytes(2, "big")
    else:
        silent[layout.side_info] = min(stored_bytes, _MAX_RESERVOIR_MPEG2)
    if layout.has_crc:
        checksum = _crc16(bytes(silent[2:4] + silent[layout.side_info : layout.main_data]))
        silent[4:6] = checksum.to_bytes(2, "big")
    return bytes(silent)


def _crc16(data: bytes) -> int:
    """Return the checksum of header and side information (ISO/IEC 11172-3, 2.4.3.1)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
