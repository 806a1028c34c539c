"""Tests of secrets: in no text that the library makes."""
