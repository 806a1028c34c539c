"""Adapters for frameworks of voice agents and web services; each is imported by its own name.

A framework is an extra of the package (`pip install 'asr-async[livekit]'`), and is imported by its adapter only.
"""
