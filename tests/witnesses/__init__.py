"""The vendors' own programs against the emulator."""
