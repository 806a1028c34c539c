"""Tests of `asr_async._loop`."""
