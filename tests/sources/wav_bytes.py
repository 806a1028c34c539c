"""WAV files as recorders, pipes and editors write them, made here byte by byte from the documents of the formats."""

from __future__ import annotations

import math
import struct
import uuid
from typing import NamedTuple

__all__ = ["RATE", "TONE", "WAVS", "WavCase", "chunk", "fmt", "riff"]

RATE = 16_000
TONE = struct.pack("<8000h", *(int(8_000 * math.sin(n / 10)) for n in range(8_000)))
"""Half a second, 16-bit, mono."""

VALUES = struct.unpack("<8000h", TONE)
EXTENSIBLE = 0xFFFE
_GUID_TAIL = uuid.UUID("00000000-0000-0010-8000-00aa00389b71").bytes_le[4:]
_WAVE64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def chunk(name: bytes, data: bytes, *, size: int | None = None, pad: bool = True, order: str = "<") -> bytes:
    """Return a chunk, with another size in its header if one is given."""
    padding = b"\0" if pad and len(data) % 2 else b""
    return name + struct.pack(f"{order}I", len(data) if size is None else size) + data + padding


def fmt(
    tag: int = 1,
    *,
    bits: int = 16,
    channels: int = 1,
    rate: int = RATE,
    extra: bytes = b"",
    subformat: int | None = None,
    order: str = "<",
) -> bytes:
    """Return a fmt chunk."""
    width = (bits + 7) // 8
    data = struct.pack(f"{order}HHIIHH", tag, channels, rate, rate * width * channels, width * channels, bits) + extra
    if subformat is not None:
        data += struct.pack("<HHII", 22, bits, 0, subformat) + _GUID_TAIL
    return chunk(b"fmt ", data, order=order)


def riff(*chunks: bytes, size: int | None = None, name: bytes = b"RIFF", order: str = "<") -> bytes:
    """Return a file of these chunks."""
    body = b"WAVE" + b"".join(chunks)
    return name + struct.pack(f"{order}I", min(len(body), 0xFFFFFFFF) if size is None else size) + body


def wave64(*, data_size: int | None = None) -> bytes:
    """Return a Wave64 file."""
    format_chunk = fmt()[8:]
    head = b"fmt " + _WAVE64_TAIL + struct.pack("<Q", 24 + len(format_chunk)) + format_chunk
    data = b"data" + _WAVE64_TAIL + struct.pack("<Q", 24 + len(TONE) if data_size is None else data_size) + TONE
    body = b"wave" + _WAVE64_TAIL + head + data
    return bytes.fromhex("726966662e91cf11a5d628db04c10000") + struct.pack("<Q", 24 + len(body)) + body


def stereo(left: bytes, right: bytes, width: int = 2) -> bytes:
    """Return the samples of two channels, one after the other."""
    parts = zip(*(iter_samples(channel, width) for channel in (left, right)), strict=True)
    return b"".join(first + second for first, second in parts)


def iter_samples(data: bytes, width: int) -> list[bytes]:
    return [data[at : at + width] for at in range(0, len(data), width)]


BEXT = chunk(b"bext", b"Recorder".ljust(602, b"\0"))
LIST = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 14) + b"Lavf59.27.100\0")
ODD_LIST = b"INFOICMT" + struct.pack("<I", 5) + b"hello"
DATA = chunk(b"data", TONE)
DS64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(TONE), 8_000, 0))
WIDE = b"".join(struct.pack("<i", value << 16 | 0x1234) for value in VALUES)
DEEP = b"".join(struct.pack("<i", value << 8 | 0x12)[:3] for value in VALUES)
FLOATS = struct.pack("<8000f", *(value / 32_768 for value in VALUES))
DOUBLES = struct.pack("<8000d", *(value / 32_768 for value in VALUES))
SWAPPED = struct.pack(">8000h", *VALUES)


class WavCase(NamedTuple):
    """A file and what happens: all its samples are read, or an error is raised, perhaps behind `read_ms` of audio."""

    data: bytes
    error: str | None = None
    read_ms: int = 500


WAVS: dict[str, WavCase] = {
    # sizes
    "plain": WavCase(riff(fmt(), DATA)),
    "data size 0 (recorder, switched off)": WavCase(riff(fmt(), chunk(b"data", TONE, size=0))),
    "data size 0xFFFFFFFF (ffmpeg, to a pipe)": WavCase(riff(fmt(), LIST, chunk(b"data", TONE, size=0xFFFFFFFF))),
    "data size 0x80000000 (arecord, to a pipe)": WavCase(riff(fmt(), chunk(b"data", TONE, size=0x80000000))),
    "data size 0x7FFFFFFF less the header (sox, to a pipe)": WavCase(
        riff(fmt(), chunk(b"data", TONE, size=0x7FFFFFDB))
    ),
    "RIFF size 0": WavCase(riff(fmt(), DATA, size=0)),
    "RIFF size and data size 0": WavCase(riff(fmt(), chunk(b"data", TONE, size=0), size=0)),
    "RIFF size 0xFFFFFFFF": WavCase(riff(fmt(), DATA, size=0xFFFFFFFF)),
    "data size with the header in it": WavCase(riff(fmt(), chunk(b"data", TONE, size=len(TONE) + 44))),
    "odd data size": WavCase(riff(fmt(), chunk(b"data", TONE + b"x"))),
    # chunks
    "bext and JUNK in front": WavCase(riff(BEXT, chunk(b"JUNK", bytes(28)), fmt(), DATA)),
    "JUNK of 4 KiB between": WavCase(riff(fmt(), chunk(b"JUNK", bytes(4_044)), DATA)),
    "LIST in front": WavCase(riff(fmt(), LIST, DATA)),
    "LIST and id3 behind": WavCase(riff(fmt(), DATA, LIST, chunk(b"id3 ", b"ID3\3\0\0\0\0\0\x0a" + bytes(10)))),
    "odd LIST in front, padded": WavCase(riff(fmt(), chunk(b"LIST", ODD_LIST), DATA)),
    "odd LIST in front, no pad byte": WavCase(riff(fmt(), chunk(b"LIST", ODD_LIST, pad=False), DATA)),
    "fmt of 18 bytes": WavCase(riff(fmt(extra=b"\0\0"), DATA)),
    # kinds
    "extensible, 16-bit": WavCase(riff(fmt(EXTENSIBLE, subformat=1), DATA)),
    "extensible, 24-bit": WavCase(riff(fmt(EXTENSIBLE, bits=24, subformat=1), chunk(b"data", DEEP))),
    "extensible, float": WavCase(riff(fmt(EXTENSIBLE, bits=32, subformat=3), chunk(b"data", FLOATS))),
    "24-bit": WavCase(riff(fmt(bits=24), chunk(b"data", DEEP))),
    "32-bit": WavCase(riff(fmt(bits=32), chunk(b"data", WIDE))),
    "32-bit float with a fact chunk": WavCase(
        riff(fmt(3, bits=32, extra=b"\0\0"), chunk(b"fact", bytes(4)), chunk(b"data", FLOATS))
    ),
    "64-bit float": WavCase(riff(fmt(3, bits=64), chunk(b"data", DOUBLES))),
    "stereo, equal channels": WavCase(riff(fmt(channels=2), chunk(b"data", stereo(TONE, TONE)))),
    "stereo, 24-bit": WavCase(riff(fmt(channels=2, bits=24), chunk(b"data", stereo(DEEP, DEEP, 3)))),
    "RIFX (big-endian)": WavCase(riff(fmt(order=">"), chunk(b"data", SWAPPED, order=">"), name=b"RIFX", order=">")),
    # long files
    "RF64": WavCase(riff(DS64, fmt(), chunk(b"data", TONE, size=0xFFFFFFFF), size=0xFFFFFFFF, name=b"RF64")),
    "BW64": WavCase(riff(DS64, fmt(), chunk(b"data", TONE, size=0xFFFFFFFF), size=0xFFFFFFFF, name=b"BW64")),
    "Wave64": WavCase(wave64()),
    "Wave64 without a size (ffmpeg, to a pipe)": WavCase(wave64(data_size=(1 << 63) - 1)),
    # damaged
    "cut off in the samples": WavCase(
        riff(fmt(), chunk(b"data", TONE, size=3 * len(TONE))),
        "{} ends after 0.5 s, but its header declares 1.5 s: it is cut off; copy it again, or finish the recording",
    ),
    "RF64, cut off": WavCase(
        riff(
            chunk(b"ds64", struct.pack("<QQQI", 0, 5 * len(TONE), 8_000, 0)),
            fmt(),
            chunk(b"data", TONE, size=0xFFFFFFFF),
            name=b"RF64",
        ),
        "{} ends after 0.5 s, but its header declares 2.5 s: it is cut off; copy it again, or finish the recording",
    ),
    "cut off in the header": WavCase(riff(fmt())[:30], "{} is cut off: its header is not complete", 0),
    "no data chunk": WavCase(riff(fmt(), LIST), "{} is cut off: it ends in front of its samples", 0),
    "no fmt chunk": WavCase(riff(DATA), "{} is damaged: it has no fmt chunk in front of its samples", 0),
    "short fmt chunk": WavCase(riff(chunk(b"fmt ", bytes(8)), DATA), "{} is damaged: its fmt chunk is too short", 0),
    "no channels": WavCase(riff(fmt(channels=0), DATA), "{} is damaged: its header declares 0 channels at 16000 Hz", 0),
    "a chunk of 2 GiB": WavCase(
        riff(chunk(b"LIST", b"", size=0x7FFFFFF0), fmt(), DATA),
        "{} is damaged: its header has a chunk of 2147483632 bytes in front of the samples",
        0,
    ),
    "no samples": WavCase(riff(fmt(), chunk(b"data", b"")), "{} has no samples", 0),
    "no samples, LIST behind": WavCase(riff(fmt(), chunk(b"data", b""), LIST), "{} has no samples", 0),
    "an AVI": WavCase(b"RIFF" + bytes(4) + b"AVI " + bytes(100), "{} is a RIFF file, but holds no audio", 0),
}
"""A name that says which program writes it → the file."""
