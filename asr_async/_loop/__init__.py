"""Event loop tools that sessions by the thousand need: one shared timer, an event without a queue."""
