"""Where audio comes from: async iterators of bytes, and what they may tell about themselves beforehand."""

from __future__ import annotations

from .file import AudioFile, read_audio
from .pushed import PushedAudio
from .source import AudioChunk, AudioSource, ChunkReader, UtteranceEnd, preflight

__all__ = [
    "AudioChunk",
    "AudioFile",
    "AudioSource",
    "ChunkReader",
    "PushedAudio",
    "UtteranceEnd",
    "preflight",
    "read_audio",
]
