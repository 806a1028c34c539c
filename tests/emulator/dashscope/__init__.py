"""Tests of the emulated DashScope protocols."""
