"""Position audio: each sample encodes its place in the source, for tests that cut a source and continue elsewhere.

Each group of four samples holds the number of the group. The two highest bits of a sample give its place in the group,
the other 14 hold the next 14 bits of the number, lowest bits first; the fourth sample holds a checksum of the other
three. Any seven consecutive samples contain a whole group. The samples must arrive unchanged: as pcm, not companded.
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
"""Gives silence a wrong checksum."""


def position_audio(start_ms: int, end_ms: int, sample_rate: int = 16_000) -> bytes:
    """Return the samples of a source between two times: 16-bit little-endian mono."""
    first, last = (sample_rate * time_ms // 1000 for time_ms in (start_ms, end_ms))
    groups = range(first // _GROUP, -(-last // _GROUP))
    samples = array("H", [sample for number in groups for sample in _group(number)])
    skipped = first % _GROUP
    return _little_endian(samples[skipped : skipped + last - first]).tobytes()


def position_of(samples: bytes) -> int | None:
    """Return the index of the first of these samples in its source; None if they hold no position, as in silence."""
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
