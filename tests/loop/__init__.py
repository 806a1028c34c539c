"""Tests of `loop`."""
