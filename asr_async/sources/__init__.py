"""Sources of audio: recordings, live inputs, pushed chunks, and any other iterable of bytes."""

from __future__ import annotations

from .file import AudioFile, read_audio
from .pushed import PushSource
from .source import (
    AHEAD_FRAMES,
    AudioChunk,
    AudioMark,
    AudioSource,
    DroppedAudio,
    FrameReader,
    SourceErrorAction,
    TaskEnd,
    UtteranceEnd,
    check_source,
    check_source_type,
    prepare,
)

__all__ = [
    "AHEAD_FRAMES",
    "AudioChunk",
    "AudioFile",
    "AudioMark",
    "AudioSource",
    "DroppedAudio",
    "FrameReader",
    "PushSource",
    "SourceErrorAction",
    "TaskEnd",
    "UtteranceEnd",
    "check_source",
    "check_source_type",
    "prepare",
    "read_audio",
]
