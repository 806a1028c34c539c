"""Sources of audio: files, pushed chunks, and any other iterable of bytes."""

from __future__ import annotations

from .file import AudioFile, read_audio
from .pushed import PushedAudio
from .source import AHEAD_FRAMES, AudioChunk, AudioSource, FrameReader, UtteranceEnd, preflight

__all__ = [
    "AHEAD_FRAMES",
    "AudioChunk",
    "AudioFile",
    "AudioSource",
    "FrameReader",
    "PushedAudio",
    "UtteranceEnd",
    "preflight",
    "read_audio",
]
