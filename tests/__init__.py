"""Tests; each module covers the module that it is named after."""
