"""Sources of audio: recordings, live inputs, pushed chunks, and any other iterable of bytes."""

from __future__ import annotations

from .file import AudioFile, read_audio
from .microphone import Microphone, microphone
from .pushed import PushSource
from .report import Finding, Report, preflight
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
    "Finding",
    "FrameReader",
    "Microphone",
    "PushSource",
    "Report",
    "SourceErrorAction",
    "TaskEnd",
    "UtteranceEnd",
    "check_source",
    "check_source_type",
    "microphone",
    "preflight",
    "prepare",
    "read_audio",
]
