"""Sources of audio: recordings, live inputs, pushed chunks, and any other iterable of bytes."""

from __future__ import annotations

from .file import AUDIO_SUFFIXES, AudioFile, read_audio
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
from .transcription_batch import TranscriptionBatch

__all__ = [
    "AHEAD_FRAMES",
    "AUDIO_SUFFIXES",
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
    "TranscriptionBatch",
    "UtteranceEnd",
    "check_source",
    "check_source_type",
    "microphone",
    "preflight",
    "prepare",
    "read_audio",
]
