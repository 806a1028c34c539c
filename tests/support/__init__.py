"""Servers, sources, clocks and folders that tests share."""
