"""Audio in which each sample says where in its source it stands: for tests that cut a source and go on elsewhere.

Groups of four samples hold the number of the group: the two highest bits of a sample say which of the four it is, the
14 others hold the next 14 bits of the number, from the lowest; the fourth holds a checksum of the three. Whoever gets
seven samples in a row, from anywhere, has a whole group. It must arrive as it was made: as pcm, not companded.
"""

from __future__ import annotations

import sys
from array import array

from .audio_decoder import SAMPLE_BYTES

__all__ = ["position_audio", "position_of"]

_GROUP = 4
_PAYLOAD_BITS = 14
_PAYLOAD = (1 << _PAYLOAD_BITS) - 1
_SALT = 0x2A5C
"""Keeps silence from having a good checksum."""


def position_audio(start_ms: int, end_ms: int, sample_rate: int = 16_000) -> bytes:
    """Make the samples of a source from one time to another: 16-bit little-endian mono."""
    first, last = (sample_rate * time_ms // 1000 for time_ms in (start_ms, end_ms))
    groups = range(first // _GROUP, -(-last // _GROUP))
    samples = array("H", [sample for number in groups for sample in _group(number)])
    skipped = first % _GROUP
    return _little_endian(samples[skipped : skipped + last - first]).tobytes()


def position_of(samples: bytes) -> int | None:
    """Read which sample of its source the first of these is; None if they hold no position, as silence does."""
    head = _little_endian(array("H", samples[: (2 * _GROUP - 1) * SAMPLE_BYTES]))
    for skipped in range(len(head) - _GROUP + 1):
        group = head[skipped : skipped + _GROUP]
        number = sum((sample & _PAYLOAD) << _PAYLOAD_BITS * place for place, sample in enumerate(group[:-1]))
        if tuple(group) == _group(number):
            return number * _GROUP - skipped
    return None


def _group(number: int) -> tuple[int, int, int, int]:
    low = number & _PAYLOAD
    middle = number >> _PAYLOAD_BITS & _PAYLOAD
    high = number >> 2 * _PAYLOAD_BITS & _PAYLOAD
    checksum = low ^ middle ^ high ^ _SALT
    return low, 1 << _PAYLOAD_BITS | middle, 2 << _PAYLOAD_BITS | high, 3 << _PAYLOAD_BITS | checksum


def _little_endian(samples: array[int]) -> array[int]:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples
