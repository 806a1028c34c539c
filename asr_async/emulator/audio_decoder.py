"""The decoders of the audio that clients send: bare or companded samples, or WAV, in chunks of any size.

Know no protocol.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

from ..audio import AudioFormat, CompressedFrame, CompressedFramer
from ..audio.samples import SAMPLE_BYTES, decode_g711
from ..errors import ConfigurationError
from ..sources.decoded import PacketDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "SAMPLE_BYTES",
    "AudioDecodeError",
    "CompressedDecoder",
    "G711Decoder",
    "PcmDecoder",
    "WavDecoder",
    "split_samples",
]

MAX_WAV_CHUNK_BYTES = 1024 * 1024
"""The longest RIFF chunk before the samples: no real header has a longer one, so its end is not waited for."""


class AudioDecodeError(Exception):
    """The bytes are not in the declared format; the text gives the reason."""


def split_samples(samples: bytes, sample_rate: int, length_ms: int) -> Iterator[bytes]:
    """Yield the samples in pieces of this length; the last one may be shorter."""
    size = max(1, sample_rate * length_ms // 1000) * SAMPLE_BYTES
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


class PcmDecoder:
    """The decoder of 16-bit samples; half a sample at the end of one chunk is completed by the next chunk."""

    def __init__(self) -> None:
        self._half = b""

    def decode(self, data: bytes) -> bytes:
        """Return the samples that are complete."""
        data = self._half + data
        whole = len(data) - len(data) % SAMPLE_BYTES
        self._half = data[whole:]
        return data[:whole]


class G711Decoder:
    """The decoder of 8-bit samples by ITU-T G.711."""

    def __init__(self, law: Literal["ulaw", "alaw"]) -> None:
        self._law = law

    def decode(self, data: bytes) -> bytes:
        """Return the samples, 16 bits each."""
        return decode_g711(data, self._law)


class CompressedDecoder:
    """The decoder of compressed audio in a container whose packets are known: mp3, ADTS, AMR, Opus and Speex in Ogg.

    It needs PyAV, in the extra `audio`.
    """

    def __init__(self, encoding: str, sample_rate: int) -> None:
        self._encoding = encoding
        self._framer = CompressedFramer(AudioFormat(encoding, sample_rate))
        self._packets: PacketDecoder | None = None
        self._sample_rate = sample_rate

    def decode(self, data: bytes) -> bytes:
        """Return the samples that are complete.

        Raises:
            AudioDecodeError: the audio is in another container, or damaged.
        """
        try:
            frames = self._framer.push(data)
        except ConfigurationError as error:
            raise AudioDecodeError(error.message) from None
        samples = b""
        for frame in frames:
            if not isinstance(frame, CompressedFrame):
                raise AudioDecodeError(f"it is no {self._encoding} in a container that the emulator knows")
            self._packets = self._packets or PacketDecoder(self._encoding, _header_packet(frame), self._sample_rate)
            for packet in frame.packets:
                samples += self._packets.decode(packet.data) if packet.samples else b""
        return samples


def _header_packet(start: bytes) -> bytes:
    """Return the header with which a stream begins: in Ogg, the packet on the first page."""
    if not start.startswith(b"OggS"):
        return start[:16]
    first = 27 + start[26]
    return start[first : first + sum(start[27:first])]


class WavDecoder:
    """The decoder of 16-bit samples behind a RIFF header; header and samples may arrive in chunks of any size."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._header = bytearray()
        self._riff_seen = False
        self._format_seen = False
        self._audio_left: float | None = None
        """The bytes until the data chunk ends; None before it begins."""
        self._samples = PcmDecoder()

    def decode(self, data: bytes) -> bytes:
        """Return the samples that are complete.

        Raises:
            AudioDecodeError: this is no WAV header, or it declares audio that an engine does not accept.
        """
        if self._audio_left is None:
            data = self._after_header(data)
        if self._audio_left is None:
            return b""
        audio = data[: int(min(self._audio_left, len(data)))]
        self._audio_left -= len(audio)
        return self._samples.decode(audio)

    def _after_header(self, data: bytes) -> bytes:
        """Parse more of the header; return the bytes behind it once the data chunk has begun, else nothing."""
        self._header += data
        while self._audio_left is None:
            size = self._read_chunk() if self._riff_seen else self._read_riff()
            if not size:
                return b""
            del self._header[:size]
        rest, self._header = bytes(self._header), bytearray()
        return rest

    def _read_riff(self) -> int:
        """Check the first 12 bytes; return the number of bytes consumed, 0 if more must arrive first."""
        if len(self._header) < 12:
            return 0
        riff, _, wave = struct.unpack_from("<4sI4s", self._header)
        if (riff, wave) != (b"RIFF", b"WAVE"):
            raise AudioDecodeError("not a wav file: it has no RIFF/WAVE header")
        self._riff_seen = True
        return 12

    def _read_chunk(self) -> int:
        """Parse the next chunk; return the number of bytes consumed, 0 if more must arrive first."""
        if len(self._header) < 8:
            return 0
        name: bytes
        size: int
        name, size = struct.unpack_from("<4sI", self._header)
        if name == b"data":
            if not self._format_seen:
                raise AudioDecodeError("the wav header has no fmt chunk before its data")
            # A program that writes into a pipe does not know the size: it writes 0, which means "until the end".
            self._audio_left = size or float("inf")
            return 8
        if size > MAX_WAV_CHUNK_BYTES:
            raise AudioDecodeError(f"the wav header has a chunk of {size} bytes before its data")
        padded = 8 + size + size % 2
        if len(self._header) < padded:
            return 0
        if name == b"fmt ":
            self._check_format(bytes(self._header[8 : 8 + size]))
            self._format_seen = True
        return padded

    def _check_format(self, chunk: bytes) -> None:
        if len(chunk) < 16:
            raise AudioDecodeError("the fmt chunk of the wav header is too short")
        encoding, channels, sample_rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
        if encoding == 0xFFFE and len(chunk) >= 26:  # WAVE_FORMAT_EXTENSIBLE: the encoding is in the sub-format
            (encoding,) = struct.unpack_from("<H", chunk, 24)
        if encoding != 1 or bits != 16:
            raise AudioDecodeError(f"wav must hold 16-bit PCM, not encoding {encoding} with {bits} bits")
        if channels != 1:
            raise AudioDecodeError(f"wav must be mono, not {channels} channels")
        if sample_rate != self._sample_rate:
            raise AudioDecodeError(f"the wav header says {sample_rate} Hz, but {self._sample_rate} Hz were declared")
