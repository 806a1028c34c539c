"""The header of a WAV file, in every form in which programs write it: RIFF, RIFX, RF64, BW64 and Wave64.

Programs that write into a pipe, and recorders that were interrupted, do not know the length of the audio: they write 0,
or one of the largest numbers. Then the samples end where the file ends. Sources: the multimedia programming interface
(Microsoft and IBM, 1991), EBU Tech 3306 (RF64), ITU-R BS.2088 (BW64), and the Wave64 description of Sonic Foundry.
Does not decode the samples.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from ..audio.samples import SampleFormat

if TYPE_CHECKING:
    from .byte_reader import ByteReader

__all__ = ["WAV_MAGICS", "WavHeader", "WavHeaderError", "read_wav_header"]

WAVE64_MAGIC = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
WAV_MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64", WAVE64_MAGIC)
"""The first bytes of a WAV file."""

UNKNOWN_FROM = 0x7FFF_0000
"""A length of samples from here on is not one, unless the file has as many: arecord writes 0x80000000, sox 0x7FFFFFFF
less its header, ffmpeg 0xFFFFFFFF."""

MAX_CHUNK_BYTES = 256 * 1024 * 1024
"""The longest chunk in front of the samples: notes and pictures are shorter, and a longer one is a damaged file."""

_EXTENSIBLE = 0xFFFE
_CODECS = {
    0x0002: "Microsoft ADPCM",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0050: "MPEG layer II",
    0x0055: "mp3",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
}
_CHUNK = struct.Struct("<4sI")
_WAVE64_CHUNK_BYTES = 24


class WavHeaderError(Exception):
    """The bytes are no WAV file with samples; the text gives the reason, to stand behind the name of the file."""


class WavHeader(msgspec.Struct, frozen=True):
    """The facts in front of the samples of a WAV file.

    Attributes:
        samples: their format; None if they are compressed, as `codec` says.
        codec: the codec in words.
        sample_rate: in Hz.
        channels: the number of channels.
        header_bytes: the position of the first sample.
        data_bytes: the size of the samples that the header declares; None if it declares none.
    """

    samples: SampleFormat | None
    codec: str
    sample_rate: int
    channels: int
    header_bytes: int
    data_bytes: int | None


class _Format(msgspec.Struct, frozen=True):
    tag: int
    channels: int
    sample_rate: int
    group_bytes: int
    bits: int


def read_wav_header(reader: ByteReader) -> WavHeader:
    """Read the header; the reader then stands at the first sample.

    Raises:
        WavHeaderError: there are no samples, or their format is not declared.
    """
    magic = reader.peek(len(WAVE64_MAGIC))
    if magic == WAVE64_MAGIC:
        return _Wave64(reader).read()
    return _Riff(reader, is_big_endian=magic.startswith(b"RIFX")).read()


class _Riff:
    """The chunks of a RIFF file, up to the samples."""

    def __init__(self, reader: ByteReader, *, is_big_endian: bool = False) -> None:
        self._reader = reader
        self._order = ">" if is_big_endian else "<"
        self._is_big_endian = is_big_endian
        self._position = 0
        self._long_data_bytes: int | None = None

    def read(self) -> WavHeader:
        """Return the facts in the chunks."""
        if self._take(12)[8:12] != b"WAVE":
            raise WavHeaderError("is a RIFF file, but holds no audio")
        found: _Format | None = None
        while True:
            name, size = self._next_chunk()
            if name == b"data":
                return self._header(found, size)
            if size > MAX_CHUNK_BYTES:
                raise WavHeaderError(f"is damaged: its header has a chunk of {size} bytes in front of the samples")
            if name == b"fmt ":
                found = self._format(self._take(size))
            elif name == b"ds64":
                self._long_data_bytes = int(struct.unpack_from("<QQ", self._take(size).ljust(16, b"\0"))[1])
            else:
                self._skip(size)
            if size % 2:
                self._skip_pad()

    def _next_chunk(self) -> tuple[bytes, int]:
        head = self._take(_CHUNK.size, what="it ends in front of its samples")
        name, size = struct.unpack(f"{self._order}4sI", head)
        return name, size

    def _skip_pad(self) -> None:
        """Skip the byte behind a chunk of an odd size, which some programs leave out."""
        following = self._reader.peek(5)
        has_name_now, has_name_later = _is_name(following[:4]), _is_name(following[1:5])
        if following[:1] == b"\0" or not has_name_now or has_name_later:
            self._skip(1)

    def _header(self, found: _Format | None, size: int) -> WavHeader:
        if found is None:
            raise WavHeaderError("is damaged: it has no fmt chunk in front of its samples")
        if self._long_data_bytes is not None and size == 0xFFFF_FFFF:
            size = self._long_data_bytes
        samples = _samples(found, is_big_endian=self._is_big_endian)
        return WavHeader(
            samples=samples,
            codec=_codec(found, samples),
            sample_rate=found.sample_rate,
            channels=found.channels,
            header_bytes=self._position,
            data_bytes=self._declared(size),
        )

    def _declared(self, size: int) -> int | None:
        """Return the size of the samples; None if the number in the header is none."""
        rest = None if self._reader.size_bytes is None else self._reader.size_bytes - self._position
        if size == 0:
            # An empty file has nothing behind it, or more chunks.
            following = self._reader.peek(_CHUNK.size) if rest is None or rest < UNKNOWN_FROM else b""
            is_empty = rest == 0 or (rest is not None and self._is_chunk(following, rest))
            return 0 if is_empty else None
        return None if size >= UNKNOWN_FROM and (rest is None or rest < size) else size

    def _is_chunk(self, head: bytes, rest: int) -> bool:
        if len(head) < _CHUNK.size:
            return False
        name, size = struct.unpack(f"{self._order}4sI", head)
        return _is_name(name) and size + _CHUNK.size <= rest

    def _format(self, chunk: bytes) -> _Format:
        if len(chunk) < 16:
            raise WavHeaderError("is damaged: its fmt chunk is too short")
        tag, channels, rate, _, group_bytes, bits = struct.unpack_from(f"{self._order}HHIIHH", chunk)
        if tag == _EXTENSIBLE and len(chunk) >= 26:
            (tag,) = struct.unpack_from(f"{self._order}H", chunk, 24)
        if not channels or not rate:
            raise WavHeaderError(f"is damaged: its header declares {channels} channels at {rate} Hz")
        return _Format(tag, channels, rate, group_bytes, bits)

    def _take(self, size: int, *, what: str = "its header is not complete") -> bytes:
        data = self._reader.read_exactly(size)
        self._position += len(data)
        if len(data) < size:
            raise WavHeaderError(f"is cut off: {what}")
        return data

    def _skip(self, size: int) -> None:
        self._reader.skip(size)
        self._position += size


class _Wave64(_Riff):
    """The chunks of a Wave64 file: their names have 16 bytes, and their sizes 8."""

    def read(self) -> WavHeader:
        """Return the facts in the chunks."""
        if self._take(40)[24:28] != b"wave":
            raise WavHeaderError("is a Wave64 file, but holds no audio")
        found: _Format | None = None
        while True:
            head = self._take(_WAVE64_CHUNK_BYTES, what="it ends in front of its samples")
            name, size = head[:4], struct.unpack_from("<Q", head, 16)[0] - _WAVE64_CHUNK_BYTES
            if name == b"data":
                return self._header(found, max(0, size))
            if not 0 <= size <= MAX_CHUNK_BYTES:
                raise WavHeaderError(f"is damaged: its header has a chunk of {size} bytes in front of the samples")
            if name == b"fmt ":
                found = self._format(self._take(size))
            else:
                self._skip(size)
            self._skip(-size % 8)

    def _declared(self, size: int) -> int | None:
        rest = None if self._reader.size_bytes is None else self._reader.size_bytes - self._position
        # ffmpeg writes the largest number into a pipe
        is_number = 0 < size < 1 << 62 and (rest is None or size <= rest or size < UNKNOWN_FROM)
        return size if is_number or rest == 0 else None


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _samples(found: _Format, *, is_big_endian: bool) -> SampleFormat | None:
    """Return the format of samples; None if they are compressed."""
    width = found.group_bytes // found.channels or (found.bits + 7) // 8
    match found.tag:
        case 1 if 1 <= width <= 4:
            return SampleFormat("unsigned" if width == 1 else "int", width, found.channels, is_big_endian)
        case 3 if width in {4, 8}:
            return SampleFormat("float", width, found.channels, is_big_endian)
        case 6:
            return SampleFormat("alaw", 1, found.channels)
        case 7:
            return SampleFormat("ulaw", 1, found.channels)
    return None


def _codec(found: _Format, samples: SampleFormat | None) -> str:
    match samples:
        case None:
            return _CODECS.get(found.tag, f"codec 0x{found.tag:04X}")
        case SampleFormat(kind="alaw"):
            return "A-law"
        case SampleFormat(kind="ulaw"):
            return "\N{GREEK SMALL LETTER MU}-law"
        case SampleFormat(kind="float"):
            return f"{8 * samples.width}-bit float"
    return f"{8 * samples.width}-bit"
