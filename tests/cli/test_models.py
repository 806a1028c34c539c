"""`asr-async models`: a table on a terminal, lines in a pipe, and JSON."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import textwrap
from pathlib import Path

import msgspec
import pytest

from asr_async import ModelInfo, models

from .command_line import COMMAND, ESCAPE, environment, finished, invoke, read_terminal

STYLE = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(columns: int, *arguments: str, **variables: str) -> str:
    terminal, child_end = pty.openpty()
    env = environment(None) | {"COLUMNS": str(columns)} | variables
    with subprocess.Popen([*COMMAND, "models", *arguments], env=env, stdout=child_end, stderr=child_end) as running:
        os.close(child_end)
        shown = read_terminal(terminal)
    assert running.returncode == 0
    return shown.decode().replace("\r\n", "\n")


def lines_of(model: str, text: str) -> list[str]:
    """Return the row of a model: its line, and the lines into which it is wrapped."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[:1] == [model])
    wrapped = [line for line in lines[first + 1 :] if line]
    end = next(number for number, line in enumerate(wrapped) if not line.startswith(" "))
    return [lines[first], *wrapped[:end]]


def test_in_a_pipe_each_model_is_one_line_without_control_codes() -> None:
    status, out, err = finished("models")
    assert (status, err) == (0, "")
    assert ESCAPE not in out
    lines = out.splitlines()
    assert not any(line.endswith(" ") for line in lines)
    assert {row.model for row in models()} <= {line.split()[0] for line in lines if line}
    heading, gummy = lines[0], lines_of("gummy-chat-v1", out)[0]
    for name, cell in {
        "kHz": "16",
        "Language": "zh en ja +18",
        "Formats": "pcm wav +5",
        "Hot words": "vocabulary_id",
        "Split by": "one sentence",
        "Features": "into en ja ko zh",
        "Limits": "60 s, 10/s, ¥0.54/h",
    }.items():
        assert gummy[heading.index(name) :].startswith(f"{cell} "), name


@pytest.mark.parametrize(
    ("model", "cells"),
    {
        "paraformer-realtime-v2": ["any", "zh en ja +5", "silence, meaning", "20/s, ¥0.86/h"],
        "paraformer-realtime-8k-v2": [" 8 ", "zh", "emotion"],
        "paraformer-realtime-v1": ["phrase_id", "silence"],
        "fun-asr-realtime": ["zh en ja ", "context", "¥1.19/h"],
        "gummy-realtime-v1": ["≥16"],
        "qwen-audio-3.1-asr-flash-message": ["vocabulary_id vocabulary"],
        "qwen3-asr-flash-realtime": ["8 16", "pcm opus", "silence, caller"],
        "huawei/continue": ["pcm ulaw alaw", "vocabulary_id user_words", "5 h"],
        "funasr/nano": [" 16 ", "zh en ja", " pcm ", "hotwords", "silence, caller"],
    }.items(),
)
def test_the_row_of_a_model_has_its_capabilities(model: str, cells: list[str]) -> None:
    [line] = lines_of(model, invoke("models").stdout)
    for cell in cells:
        assert cell in line


def test_the_mark_of_a_row_refers_to_its_source_below() -> None:
    out = invoke("models").stdout
    notes = dict(re.findall(r"^(\w) (.+)$", out, re.MULTILINE))
    for row in models():
        mark = lines_of(row.model, out)[0].split()[-1]
        assert notes[mark] == row.source


@pytest.mark.parametrize("columns", [40, 80, 100, 120])
def test_on_a_terminal_no_line_is_too_wide_and_no_word_is_broken(columns: int) -> None:
    text = STYLE.sub("", on_terminal(columns))
    assert max(map(len, text.splitlines())) <= columns
    words = {word.rstrip(",") for word in text.split()}
    assert {row.model for row in models()} <= words
    for row in models():
        shown = " ".join(lines_of(row.model, text)).replace(",", " ").split()
        assert {*row.hot_words, *row.translation, *" ".join(row.segmentation).split()} <= set(shown), row.model


def test_names_are_beside_the_columns_from_100_columns_on_and_above_them_on_a_narrow_terminal() -> None:
    assert "vocabulary_id" in lines_of("gummy-chat-v1", STYLE.sub("", on_terminal(100)))[0]
    assert lines_of("gummy-chat-v1", STYLE.sub("", on_terminal(80)))[0].strip() == "gummy-chat-v1"


def test_headings_are_bold_if_the_terminal_supports_it() -> None:
    assert f"{ESCAPE}[1m" in on_terminal(100)
    assert ESCAPE not in on_terminal(100, TERM="dumb")


def test_jsonl_has_every_detail() -> None:
    outcome = invoke("models", "--format", "jsonl")
    rows = [msgspec.json.decode(line, type=ModelInfo) for line in outcome.stdout.splitlines()]
    assert (outcome.exit_code, tuple(rows)) == (0, models())


@pytest.mark.parametrize("vendor", ["dashscope", "huawei", "openai", "funasr"])
def test_vendor_lists_only_its_models(vendor: str) -> None:
    lines = invoke("models", "--vendor", vendor, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["model"] for line in lines] == [row.model for row in models() if row.vendor == vendor]


def test_an_unknown_vendor_is_refused() -> None:
    outcome = invoke("models", "--vendor", "hauwei")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert "'hauwei' is not one of 'dashscope', 'huawei', 'openai'" in outcome.stderr


def test_the_models_of_a_registered_vendor_are_listed_after_the_built_in_ones(tmp_path: Path) -> None:
    install_vendor(tmp_path)
    run = subprocess.run(
        [*COMMAND, "models", "--format", "jsonl"],
        env={**environment(None), "PYTHONPATH": f"{environment(None)['PYTHONPATH']}{os.pathsep}{tmp_path}"},
        capture_output=True,
        check=True,
    )
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert [row["vendor"] for row in rows] == [*(row.vendor for row in models()), "tiny"]
    assert (rows[-1]["model"], rows[-1]["source"]) == ("tiny-1", "its README, 2026-01")


def install_vendor(directory: Path) -> None:
    """Install a third-party package as pip does: a module, and an entry point that registers its vendor."""
    (directory / "tiny.py").write_text(
        textwrap.dedent("""
        from asr_async.local import Local
        from asr_async.vendors import ModelInfo, Vendor
        from asr_async.vendors.options import Options

        class Tiny(Options, frozen=True, kw_only=True):
            vendor = "tiny"
            model: str = "tiny-1"

        VENDOR = Vendor(
            name="tiny",
            options=(Tiny,),
            catalogue=(
                ModelInfo(
                    model="tiny-1",
                    vendor="tiny",
                    options="Tiny",
                    sample_rates=(16_000,),
                    formats=("pcm",),
                    languages=("en",),
                    segmentation=("silence",),
                    source="its README, 2026-01",
                ),
            ),
            default_model="tiny-1",
            service=Local,
            key_variables=(),
            local_service=lambda address: Local(),
        )
        """)
    )
    info = directory / "tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[asr_async.vendors]\ntiny = tiny:VENDOR\n")
