"""Tests of `testing`, the conformance kit."""
