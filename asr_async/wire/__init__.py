"""Events as JSON: one event, or a stream of lines."""

from __future__ import annotations

from .json_events import asdict, from_json, from_json_lines, to_json, to_json_lines

__all__ = ["asdict", "from_json", "from_json_lines", "to_json", "to_json_lines"]
