"""Sources of audio: recordings here and on other machines, live inputs, pushed chunks, any other iterable of bytes."""

from __future__ import annotations

from .file import AudioFile, read_audio
from .microphone import Microphone, microphone
from .pushed import PushSource
from .report import Finding, Report, preflight
from .search import AUDIO_SUFFIXES, FoundSource, find_sources, find_version
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
from .stored_object import SourceVersion, is_url
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
    "FoundSource",
    "FrameReader",
    "Microphone",
    "PushSource",
    "Report",
    "SourceErrorAction",
    "SourceVersion",
    "TaskEnd",
    "TranscriptionBatch",
    "UtteranceEnd",
    "check_source",
    "check_source_type",
    "find_sources",
    "find_version",
    "is_url",
    "microphone",
    "preflight",
    "prepare",
    "read_audio",
]
