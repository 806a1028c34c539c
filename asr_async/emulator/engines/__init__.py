"""The recognition engines of the emulator."""
