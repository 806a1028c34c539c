"""Recognition engines behind the emulator."""
