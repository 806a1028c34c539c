"""Telemetry: the observer protocol, by which a program follows its sessions.

Does not know any telemetry library.
"""

from .observer import Observer, SessionInfo

__all__ = ["Observer", "SessionInfo"]
