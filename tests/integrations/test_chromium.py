"""The browser of these tests."""

from __future__ import annotations

import subprocess


def test_the_browser_starts(chromium: str) -> None:
    completed = subprocess.run([chromium, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert "Chromium" in completed.stdout
