"""The format of audio, and the framers that cut a stream of chunks into frames.

Arithmetic only. Does not know files, vendors or clocks.
"""

from __future__ import annotations

from .chunks import START_BYTES, AudioArray, byte_view, check_array, check_start
from .format import COMPRESSED_BYTES_PER_SECOND, FRAME_MS, MAX_COMPRESSED_FRAME_BYTES, AudioBytes, AudioFormat
from .framer import CompressedFrame, CompressedFramer, Framer, FramerLike, framer_for

__all__ = [
    "COMPRESSED_BYTES_PER_SECOND",
    "FRAME_MS",
    "MAX_COMPRESSED_FRAME_BYTES",
    "START_BYTES",
    "AudioArray",
    "AudioBytes",
    "AudioFormat",
    "CompressedFrame",
    "CompressedFramer",
    "Framer",
    "FramerLike",
    "byte_view",
    "check_array",
    "check_start",
    "framer_for",
]
