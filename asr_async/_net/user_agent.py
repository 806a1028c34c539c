"""The version, spelled once beside `pyproject.toml`, which reads it from here."""

__version__ = "0.1.0"
