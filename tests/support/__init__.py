"""Servers, audio sources, clocks and folders that several test modules use."""
