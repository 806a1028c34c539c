"""The vendors' official SDKs as clients of the emulator: witnesses that the emulator follows the protocols."""
