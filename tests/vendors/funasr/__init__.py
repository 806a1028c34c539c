"""Tests of `funasr`."""
