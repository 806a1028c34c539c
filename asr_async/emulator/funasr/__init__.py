"""The emulated protocols of FunASR's own servers."""
