"""The emulated DashScope endpoints: both WebSocket protocols, hot-word tables and temporary keys."""
