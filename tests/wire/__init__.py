"""Tests of events as JSON."""
