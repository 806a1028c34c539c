"""A whole session with each model of the vendor's feature table, with the emulator."""

from __future__ import annotations

import pytest

from asr_async import Client, DashScope
from asr_async.emulator import Scripted, serve
from asr_async.vendors import options_for_model

from ...support.feature_table import EMOTION, FEATURES, ONE_MINUTE

pytestmark = pytest.mark.both_loops

SCRIPT = Scripted([("Good morning.", 100, 900), ("How are you?", 1_200, 1_900)])


@pytest.mark.parametrize("model", FEATURES)
async def test_a_session_has_the_feature_of_its_column(model: str) -> None:
    column = FEATURES[model]
    options = options_for_model(model)(model=model, sample_rate=column.accepted_hz)  # type: ignore[call-arg]
    audio = bytes(2 * 2 * column.accepted_hz)
    async with serve(SCRIPT) as emulator, Client(DashScope("key", endpoint=emulator.dashscope_url)) as client:
        transcript = await client.transcribe([audio], options)
    heard = ["Good morning."] if ONE_MINUTE in column.features else ["Good morning.", "How are you?"]
    assert [result.text for result in transcript.results] == heard
    assert all(result.words for result in transcript.results)
    assert (transcript.results[0].emotion is not None) == (EMOTION in column.features)
    assert transcript.usage_seconds
