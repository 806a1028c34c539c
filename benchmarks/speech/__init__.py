"""Speech with known words, and how well it was recognised."""
