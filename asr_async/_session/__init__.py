"""The parts of a session: its state, both directions, reconnection, and the rules for times and replay."""
