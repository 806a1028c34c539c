"""Tests of the alignment of texts."""
