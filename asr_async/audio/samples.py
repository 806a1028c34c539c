"""Samples of any kind as 16-bit mono samples: integers of 8 to 32 bits, floating-point numbers, and G.711.

Works on slices of bytes, which needs no other library. Does not know files, containers or sample rates.
"""

from __future__ import annotations

import struct
from array import array
from typing import Literal

import msgspec

__all__ = ["SAMPLE_BYTES", "Channel", "SampleFormat", "decode_g711", "mono", "sixteen_bit"]

SAMPLE_BYTES = 2
"""The size of a 16-bit sample."""

Channel = int | Literal["mix"]
"""The channel that is used: its number, from 0 on, or the mean of all."""

_SIGN = bytes(range(0x80, 0x100)) + bytes(range(0x80))
"""8-bit samples without sign → with sign."""


class SampleFormat(msgspec.Struct, frozen=True):
    """The format of samples without a container.

    Attributes:
        kind: signed integers, unsigned ones (8 bits only), floating-point numbers, or G.711.
        width: the size of one sample in bytes.
        channels: the number of samples that belong together.
        is_big_endian: True if the most significant byte is the first.
    """

    kind: Literal["int", "unsigned", "float", "ulaw", "alaw"]
    width: int
    channels: int = 1
    is_big_endian: bool = False

    @property
    def is_sixteen_bit(self) -> bool:
        """True if the samples are as vendors take them: signed 16-bit little-endian integers."""
        return self.kind == "int" and self.width == SAMPLE_BYTES and not self.is_big_endian

    @property
    def group_bytes(self) -> int:
        """The size of one sample of all channels."""
        return self.width * self.channels


def _ulaw(code: int) -> int:
    code ^= 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw(code: int) -> int:
    code ^= 0x55
    segment = code >> 4 & 7
    step = (code & 0x0F) << 4
    magnitude = step + 0x108 << segment - 1 if segment else step + 8
    return magnitude if code & 0x80 else -magnitude


_TABLES = {
    law: b"".join(struct.pack("<h", expand(code)) for code in range(256))
    for law, expand in (("ulaw", _ulaw), ("alaw", _alaw))
}


def decode_g711(data: bytes, law: Literal["ulaw", "alaw"]) -> bytes:
    """Return 8-bit samples of ITU-T G.711 as 16-bit samples.

    A code holds sign, segment and step, with all bits inverted (u-law) or every other bit (A-law).
    """
    table = _TABLES[law]
    return _interleave(data.translate(table[0::2]), data.translate(table[1::2]))


def sixteen_bit(data: bytes, samples: SampleFormat) -> bytes:
    """Return samples as signed 16-bit little-endian samples, of as many channels; half a sample at the end is lost."""
    width = samples.width
    data = data[: len(data) - len(data) % width]
    if samples.kind in {"ulaw", "alaw"}:
        return decode_g711(data, "ulaw" if samples.kind == "ulaw" else "alaw")
    if samples.kind == "float":
        return _from_float(data, samples)
    if width == 1:
        return _interleave(bytes(len(data)), data if samples.kind == "int" else data.translate(_SIGN))
    if samples.is_big_endian:
        return _interleave(data[1::width], data[0::width])
    return data if samples.is_sixteen_bit else _interleave(data[width - 2 :: width], data[width - 1 :: width])


def mono(data: bytes, channels: int, channel: Channel) -> bytes:
    """Return one channel of 16-bit samples, or the mean of all; an incomplete group at the end is lost."""
    if channels == 1:
        return data
    values = array("h")
    values.frombytes(data[: len(data) - len(data) % (SAMPLE_BYTES * channels)])
    if channel != "mix":
        return values[channel::channels].tobytes()
    parts = [values[number::channels] for number in range(channels)]
    if channels == 2:
        return array("h", [(left + right) >> 1 for left, right in zip(*parts, strict=True)]).tobytes()
    return array("h", [sum(group) // channels for group in zip(*parts, strict=True)]).tobytes()


def _interleave(low: bytes, high: bytes) -> bytes:
    samples = bytearray(len(low) * SAMPLE_BYTES)
    samples[0::2] = low
    samples[1::2] = high
    return bytes(samples)


def _from_float(data: bytes, samples: SampleFormat) -> bytes:
    """Return floating-point samples from -1 to 1 as 16-bit samples; louder ones are clipped, and NaN is silence."""
    order = ">" if samples.is_big_endian else "<"
    values = struct.unpack(f"{order}{len(data) // samples.width}{'f' if samples.width == 4 else 'd'}", data)
    try:
        scaled = [round(value * 32_768) for value in values]
    except (OverflowError, ValueError):  # infinite, or not a number
        scaled = [round(min(1.0, max(-1.0, value)) * 32_768) if value == value else 0 for value in values]  # noqa: PLR0124
    try:
        return struct.pack(f"<{len(scaled)}h", *scaled)
    except struct.error:
        return struct.pack(f"<{len(scaled)}h", *[min(32_767, max(-32_768, value)) for value in scaled])
