"""Texts that others see: one line each, without a secret."""
