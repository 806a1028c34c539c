"""Tests of the blocking face."""
