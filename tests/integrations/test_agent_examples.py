"""The examples of voice agents hear the recording that is their caller."""

from __future__ import annotations

import pytest

from ..support.paths import EXAMPLES
from ..support.speech import example_text, plain_words
from ..test_examples import run_script


@pytest.mark.parametrize("script", ["livekit_agent.py", "pipecat_bot.py"])
def test_an_agent_hears_the_words_of_the_recording(script: str) -> None:
    lines = run_script(EXAMPLES / script, "examples/audio/demo.wav", cwd=EXAMPLES.parent)
    assert plain_words(" ".join(lines)) == plain_words(example_text("demo"))
