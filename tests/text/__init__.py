"""Tests of the texts that others see: one line each, without a secret."""
