"""Tests of `openai`."""
