"""Folders of the checkout that the tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "asr_async"
BENCHMARKS = ROOT / "benchmarks"
EXAMPLES = ROOT / "examples"
RECORDINGS = EXAMPLES / "audio"
VECTORS = ROOT / "tests" / "vectors"
"""Recorded and published messages of the vendors."""
