"""Tests of `asr_async._limits`."""
