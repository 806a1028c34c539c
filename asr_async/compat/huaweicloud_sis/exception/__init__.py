"""The package of the official SDK of this name."""
