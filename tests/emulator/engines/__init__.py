"""Tests of the recognition engines."""
