"""Tests of `vendors`."""
