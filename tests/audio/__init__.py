"""Tests of `asr_async.audio`: the parsers of compressed audio and the frames of their packets."""
