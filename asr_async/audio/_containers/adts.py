"""AAC in ADTS frames (ISO/IEC 14496-3, 1.A.3): each contains its configuration, so a stream can begin with any of them.

A frame has 1,024 samples for each of its raw data blocks, at the rate of its header; with SBR the decoder outputs twice
as many at twice the rate, which is the same time.
"""

from __future__ import annotations

from .packet import Track
from .sync_words import Header, SyncWordParser

__all__ = ["AdtsParser"]

_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
BLOCK_SAMPLES = 1_024
_HEADER_BYTES_WITH_CRC = 9


class AdtsParser(SyncWordParser):
    """The parser of one ADTS stream."""

    header_bytes = 7

    def _header_at(self, at: int) -> Header | None:
        data = self._data
        if data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
            return None
        profile, rate = data[at + 2] >> 6, data[at + 2] >> 2 & 15
        channels = (data[at + 2] & 1) << 2 | data[at + 3] >> 6
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        blocks = (data[at + 6] & 3) + 1
        if rate >= len(_RATES) or size <= (self.header_bytes if data[at + 1] & 1 else _HEADER_BYTES_WITH_CRC):
            return None
        return Header(size, BLOCK_SAMPLES * blocks, (_RATES[rate], profile, channels))

    def _first_track(self, header: Header, frame: bytes) -> tuple[Track, int]:  # noqa: ARG002 - all frames are alike
        return Track(header.config[0]), header.samples

    def _change(self, config: tuple[int, ...]) -> str:
        assert self._config is not None  # noqa: S101 - it changes
        old, new = (
            f"{rate} Hz, profile {profile}, {channels} channels" for rate, profile, channels in (self._config, config)
        )
        return f"from {old} to {new}"
