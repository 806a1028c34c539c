"""The codecs in Ogg with packets of known length: Opus (RFC 7845, RFC 6716) and Speex (its manual, 2007)."""

from __future__ import annotations

import struct
from typing import Protocol

from .packet import NotCuttableError

__all__ = ["OggCodec", "Opus", "Speex", "read_codec"]

SHORT_TAGS = b"\x09\0\0\0asr_async\0\0\0\0"
"""A comment header without comments; it replaces one that is too long to be sent again (with a cover picture)."""

_SPEEX_HEADER = struct.Struct("<8s20siiiiiiiiiiiii")
_MAX_SPEEX_FRAMES = 100
_OPUS_RATE = 48_000
_OPUS_SILK_MS = (10, 20, 40, 60)
_OPUS_CELT_SAMPLES = (120, 240, 480, 960)


class OggCodec(Protocol):
    """The facts of one stream."""

    name: str
    rate: int
    pre_skip: int
    """The first samples of each stream, which a decoder leaves out."""
    header_packets: int
    """The packets before the audio."""
    warm_up_ms: float
    """The audio before a cut that a decoder needs."""
    is_trimmed: bool
    """True if the granule position of the last page cuts off the end of the last packet."""

    def samples(self, packet: bytes) -> int:
        """Return the length of a packet of audio; 0 if it cannot be decoded."""
        ...

    def short_tags(self) -> bytes:
        """Return a comment header without comments."""
        ...


class Opus:
    """The facts of one Opus stream."""

    name = "Opus"
    rate = _OPUS_RATE
    header_packets = 2
    warm_up_ms = 80.0  # RFC 7845, 4.6: "at least 80 ms"
    is_trimmed = True  # RFC 7845, 4.4

    def __init__(self, header: bytes) -> None:
        """Read an identification header (RFC 7845, 5.1)."""
        if len(header) < 19 or header[8] >> 4:
            raise NotCuttableError("the identification header of the Opus stream cannot be read")
        self.pre_skip: int = int.from_bytes(header[10:12], "little")

    def samples(self, packet: bytes) -> int:
        """Return the length of a packet (RFC 6716, 3.1 and 3.2); 0 if it cannot be decoded."""
        if not packet:
            return 0
        configuration, code = packet[0] >> 3, packet[0] & 3
        if configuration < 12:
            frame = _OPUS_RATE // 1000 * _OPUS_SILK_MS[configuration & 3]
        elif configuration < 16:
            frame = _OPUS_RATE // 1000 * _OPUS_SILK_MS[configuration & 1]
        else:
            frame = _OPUS_CELT_SAMPLES[configuration & 3]
        frames = 1 if code == 0 else 2
        if code == 3:
            frames = packet[1] & 0x3F if len(packet) > 1 else 0
        samples = frames * frame
        return samples if samples <= _OPUS_RATE * 120 // 1000 else 0

    def short_tags(self) -> bytes:
        """Return a comment header without comments (RFC 7845, 5.2)."""
        return b"OpusTags" + SHORT_TAGS


class Speex:
    """The facts of one Speex stream."""

    name = "Speex"
    warm_up_ms = 60.0
    is_trimmed = False

    def __init__(self, header: bytes) -> None:
        """Read a header packet."""
        if len(header) < _SPEEX_HEADER.size:
            raise NotCuttableError("the header of the Speex stream cannot be read")
        fields = _SPEEX_HEADER.unpack_from(header)
        self.rate: int = fields[4]
        frame_samples, frames_in_packet, extra_headers = fields[9], fields[11], fields[12]
        if not (0 < self.rate <= 192_000 and 0 < frame_samples <= 2_000 and 0 <= frames_in_packet <= _MAX_SPEEX_FRAMES):
            raise NotCuttableError("the header of the Speex stream has values that no decoder takes")
        self.pre_skip: int = 0
        self.header_packets: int = 2 + max(0, min(extra_headers, 8))
        self._samples = frame_samples * max(1, frames_in_packet)

    def samples(self, packet: bytes) -> int:
        """Return the length of a packet: it is the same for all."""
        return self._samples if packet else 0

    def short_tags(self) -> bytes:
        """Return a comment header without comments."""
        return SHORT_TAGS


def read_codec(header: bytes) -> OggCodec:
    """Return the codec of a stream from its first packet.

    Raises:
        NotCuttableError: it is another codec.
    """
    if header.startswith(b"OpusHead"):
        return Opus(header)
    if header.startswith(b"Speex   "):
        return Speex(header)
    raise NotCuttableError("the Ogg stream is neither Opus nor Speex")
