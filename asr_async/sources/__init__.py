"""Sources of audio: recordings, live inputs, pushed chunks, and any other iterable of bytes."""

from __future__ import annotations

from .file import AudioFile, read_audio
from .pushed import PushedAudio
from .source import AHEAD_FRAMES, AudioChunk, AudioSource, FrameReader, UtteranceEnd, check_source, prepare

__all__ = [
    "AHEAD_FRAMES",
    "AudioChunk",
    "AudioFile",
    "AudioSource",
    "FrameReader",
    "PushedAudio",
    "UtteranceEnd",
    "check_source",
    "prepare",
    "read_audio",
]
