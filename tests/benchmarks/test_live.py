"""Output and exit status of `nox -s live` without a real service: emulator, no keys, no server."""

from __future__ import annotations

import importlib.util
import struct
from typing import Any

import pytest

from asr_async.vendors import vendors

from ..support.paths import BENCHMARKS

PATH = BENCHMARKS / "live.py"
SENTENCE = "The train to the airport leaves every twenty minutes"


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the script as a module, with no key and no address in the environment."""
    for vendor in vendors().values():
        for name in filter(None, (*vendor.key_variables, vendor.address_variable)):
            monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("live", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(text: str) -> dict[str, tuple[str, str, str]]:
    """Parse the table: name of the model and mode → first delay, final delay, result."""
    header, *lines = text.splitlines()
    width = header.index("  first ms")
    rows = {}
    for line in lines:
        first, final, result = line[width:].split(maxsplit=2)
        rows[line[:width].rstrip()] = (first, final, result)
    return rows


def test_every_model_of_every_vendor_is_tried_in_all_its_modes(live: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert live.main(["--emulator", "--pace", "max"]) == 0
    rows = table(capsys.readouterr().out)
    registered = {name for vendor in vendors().values() for name in vendor.models} - {"continue", "sentence", "short"}
    assert {name.partition(" ")[0] for name in rows} == registered
    commits = {name for name in rows if name.startswith(("gpt-", "whisper-")) and name.endswith(" manual_commit")}
    assert commits == {f"{name} manual_commit" for name in registered if name.startswith(("gpt-", "whisper-"))}
    modes = {name for name in rows if " " in name and "2025" not in name and "2026" not in name}
    assert modes - commits == {
        "gummy-realtime-v1 translation_target_languages",
        "gummy-chat-v1 translation_target_languages",
        "qwen3-asr-flash-realtime manual_commit",
        "qwen-audio-3.1-asr-flash-message intermediate_result_enabled",
        "funasr/nano manual_commit",
    }
    for name, (first, final, result) in rows.items():
        assert (int(first) >= 0, int(final) >= 0) == (True, True)
        assert result.startswith(f"ok: {SENTENCE}")
        assert ("火车" in result) == name.endswith("translation_target_languages")


def test_without_keys_the_missing_variables_are_named(live: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert live.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    huawei = "HUAWEICLOUD_SIS_AK, HUAWEICLOUD_SIS_SK, HUAWEICLOUD_SIS_PROJECT_ID, HUAWEICLOUD_SIS_REGION"
    assert printed.err.splitlines() == [
        "dashscope is left out: set DASHSCOPE_API_KEY to try it",
        f"huawei is left out: set {huawei} to try it",
        "openai is left out: set OPENAI_API_KEY to try it",
        "funasr is left out: set FUNASR_SERVER to try it",
    ]


def test_a_server_of_ones_own_is_tried_at_its_address(
    live: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNASR_SERVER", "ws://127.0.0.1:1")
    assert live.main(["--pace", "max"]) == 1
    rows = table(capsys.readouterr().out)
    assert {name.partition(" ")[0] for name in rows} == set(vendors()["funasr"].models)
    assert all("127.0.0.1:1" in result for _, _, result in rows.values())


def test_each_failure_has_a_line_of_its_own(
    live: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-secret")
    monkeypatch.setenv("DASHSCOPE_WEBSOCKET_BASE_URL", "ws://127.0.0.1:1")
    assert live.main(["--pace", "max"]) == 1
    printed = capsys.readouterr()
    rows = table(printed.out)
    first, final, result = rows["paraformer-realtime-v2"]
    assert (first, final) == ("-", "-")
    assert result.startswith("ConnectionLostError: cannot reach 127.0.0.1:1")
    assert not any(name.startswith("huawei/") for name in rows)
    assert "sk-secret" not in printed.out + printed.err


async def test_an_attempt_without_a_text_fails(live: Any) -> None:
    (attempt,) = [attempt for attempt in live.attempts_of(vendors()["huawei"]) if attempt.name == "huawei/continue"]
    async with live.Client(live.Local(live.Scripted([("nothing", 60_000, 61_000)]))) as client:
        works, columns = await live.outcome_of(client, attempt, None)
    assert (works, columns.split(maxsplit=2)[2]) == (False, "no text was returned")


async def test_an_attempt_without_a_translation_fails(live: Any) -> None:
    name = "gummy-chat-v1 translation_target_languages"
    (attempt,) = [attempt for attempt in live.attempts_of(vendors()["dashscope"]) if attempt.name == name]
    async with live.Client(live.Local(live.Scripted([("only said", 100, 900)]))) as client:
        works, columns = await live.outcome_of(client, attempt, None)
    assert not works
    assert columns.endswith("no translation was returned: only said")


def test_the_recording_at_8_khz_is_the_mean_of_two_samples_each(live: Any) -> None:
    wide, narrow = live.samples_at(16_000), live.samples_at(8_000)
    assert len(narrow) == len(wide) // 4 * 2
    first, second = struct.unpack_from("<hh", wide, 40_000)
    assert struct.unpack_from("<h", narrow, 20_000) == ((first + second) // 2,)


def test_the_recording_at_24_khz_is_on_the_lines_between_its_samples(live: Any) -> None:
    at_16_khz, at_24_khz = live.samples_at(16_000), live.samples_at(24_000)
    assert len(at_24_khz) == len(at_16_khz) // 4 * 6
    first, second, third = struct.unpack_from("<hhh", at_16_khz, 40_000)
    expected = (first, (first + 2 * second) // 3, (2 * second + third) // 3, third)
    assert struct.unpack_from("<hhhh", at_24_khz, 60_000) == expected


def test_models_for_24_khz_receive_audio_at_24_khz(live: Any) -> None:
    rates = {attempt.name: attempt.options.audio.sample_rate for attempt in live.attempts_of(vendors()["openai"])}
    assert {name for name, rate in rates.items() if rate == 24_000} == {name for name in rates if "Voxtral" not in name}


def test_models_for_8_khz_receive_audio_at_8_khz(live: Any) -> None:
    rates = {attempt.name: attempt.options.audio.sample_rate for attempt in live.attempts_of(vendors()["dashscope"])}
    assert {name for name, rate in rates.items() if rate == 8_000} == {name for name in rates if "8k" in name}
