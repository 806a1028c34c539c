"""The version of this package, written once: `pyproject.toml` reads it here; and the name that servers see."""

__version__ = "0.1.0"

USER_AGENT = f"asr-async/{__version__}"
"""The User-Agent header of every handshake and request."""
