"""The emulator of DashScope: both WebSocket protocols, hot-word tables and temporary keys."""
