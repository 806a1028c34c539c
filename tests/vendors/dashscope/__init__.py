"""Tests of `dashscope`."""
