"""That the benchmarks run and count right; no figure of theirs is judged here, since the machine may be busy."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import pytest

from load import messages, wire
from load.figures import medians, quantiles_ms
from load.report import Target

from ..support.child_processes import child_environment
from ..support.paths import BENCHMARKS

ARGUMENTS = {
    "bench_sessions": "--sessions 3 --seconds 0.5 --peers ours floor official",
    "bench_latency": "--sessions 3 --seconds 0.5 --peers ours thin aiohttp --tls",
    "bench_memory": "--sessions 20 --peers ours --schemes wss",
    "bench_connect": "--sessions 3 --schemes wss",
    "bench_codec": "--calls 50",
}

Reports = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def reports() -> Reports:
    """What the scripts print, by their names; they run side by side, since most of their time they wait."""
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                subprocess.Popen(
                    [sys.executable, BENCHMARKS / f"{name}.py", "--json", "--runs", "1", *arguments.split()],
                    stdout=subprocess.PIPE,
                    env=child_environment(),
                )
            )
            for name, arguments in ARGUMENTS.items()
        }
        outputs = {name: process.communicate(timeout=100)[0] for name, process in processes.items()}
    assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(ARGUMENTS, 0)
    return {name: json.loads(output) for name, output in outputs.items()}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_report_names_what_was_measured(reports: Reports, name: str) -> None:
    report = reports[name]
    assert report["benchmark"] == name
    assert {"asr_async", "CPython", "websockets", "msgspec", "aiohttp", "dashscope"} <= report["versions"].keys()
    assert not [row for row in report["rows"] if "failed" in row]


def test_the_cost_of_sessions_is_measured_for_every_peer(reports: Reports) -> None:
    ours, floor, official = reports["bench_sessions"]["rows"]
    assert [(row["peer"], row["sessions"], row["scheme"]) for row in (ours, floor, official)] == [
        ("ours", 3, "ws"),
        ("floor", 3, "ws"),
        ("official", 3, "ws"),
    ]
    for row in (ours, floor, official):
        assert row["cpu_ms"] > 0
        assert row["frames"] > 0
        assert 0 <= row["late_p50_ms"] <= row["late_p99_ms"] <= row["late_max_ms"]
    assert ours["threads"] == 0
    assert official["threads"] > 1
    assert [(target["what"], target["at_most"]) for target in reports["bench_sessions"]["targets"]] == [
        ("CPU per session-second, 3 sessions over ws, times the floor", 1.5),
        ("CPU per session-second, 3 sessions over ws, times that of 3 of the official SDK", 0.083),
        ("threads per session, 3 sessions over ws", 0),
        ("p99 lateness in ms, 3 sessions over ws", 20),
    ]


def test_no_result_is_missing_when_the_delay_of_delivery_is_measured(reports: Reports) -> None:
    rows = reports["bench_latency"]["rows"]
    assert [(row["peer"], row["scheme"], row["missing"]) for row in rows] == [
        ("ours", "wss", 0),
        ("thin", "wss", 0),
        ("aiohttp", "wss", 0),
    ]
    assert all(row["delay_p50_ms"] > 0 for row in rows)


def test_memory_is_measured_idle_and_streaming(reports: Reports) -> None:
    (row,) = reports["bench_memory"]["rows"]
    assert 0 < row["idle_kib"] < row["active_kib"]


def test_a_pooled_start_makes_no_connection_and_any_other_makes_one(reports: Reports) -> None:
    report = reports["bench_connect"]
    connections = {row["peer"]: row["connections"] for row in report["rows"]}
    assert connections == {"ours": 0, "ours-unpooled": 3, "thin": 3}
    assert [target["reached"] for target in report["targets"]] == [True]


def test_the_codecs_are_measured_beside_plain_decoders(reports: Reports) -> None:
    rows = reports["bench_codec"]["rows"]
    assert [(row["vendor"], row["call"]) for row in rows] == [
        (vendor, call)
        for vendor in ("DashScope", "Huawei")
        for call in ("codec.audio", "codec.receive", "json.loads", "msgspec.json.decode")
    ]
    assert all(row["ns"] > 0 for row in rows)


# --- what the scripts share ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece_bytes", [1, 5, 7, 100_000])
def test_the_load_server_reads_messages_however_they_are_cut(piece_bytes: int) -> None:
    said = [(wire.TEXT, b"short"), (wire.BINARY, messages.FRAME), (wire.PING, b""), (wire.BINARY, bytes(126))]
    stream = b"".join(wire.frame(opcode, payload, masked=True) for opcode, payload in said)
    reader = wire.FrameReader()
    heard = [
        (opcode, wire.unmasked(payload, mask))
        for at in range(0, len(stream), piece_bytes)
        for opcode, mask, payload in reader.read(stream[at : at + piece_bytes])
    ]
    assert heard == said
    assert reader.is_between_frames


def test_a_result_has_ten_words_and_tells_when_it_was_sent() -> None:
    interim, final = (json.loads(messages.result(b"t" * 32, number)) for number in (2, 3))
    sentences = [message["payload"]["output"]["sentence"] for message in (interim, final)]
    assert [(it["sentence_id"], it["begin_time"], it["sentence_end"]) for it in sentences] == [
        (2, 1000, False),
        (2, 1000, True),
    ]
    assert (sentences[0]["end_time"], sentences[1]["end_time"]) == (None, 2000)
    assert [len(sentence["words"]) for sentence in sentences] == [10, 10]
    assert final["header"]["task_id"] == "t" * 32
    assert 0 < messages.stamp_of(sentences[0]["text"]) <= messages.stamp_of(sentences[1]["text"])


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (1.5, "CPU: 1.5, target ≤ 1.5: reached"),
        (2.31, "CPU: 2.31, target ≤ 1.5: missed"),
        (None, "CPU: not measurable, target ≤ 1.5: missed"),
    ],
)
def test_a_target_says_whether_it_was_reached(value: float | None, line: str) -> None:
    assert Target(what="CPU", value=value, at_most=1.5).line == line


def test_runs_are_summed_up_by_their_medians_and_by_the_worst_of_what_must_not_happen() -> None:
    rows = [{"peer": "ours", "ms": ms, "missing": missing} for ms, missing in ((3.0, 0), (1.0, 0), (2.0, 4))]
    assert medians(rows, worst=["missing"]) == {"peer": "ours", "ms": 2.0, "missing": 4}


def test_one_failed_run_fails_them_all() -> None:
    failed = {"peer": "ours", "failed": "exit status 1"}
    assert medians([{"peer": "ours", "ms": 1.0}, failed]) == failed


def test_quantiles_are_of_what_was_measured() -> None:
    assert quantiles_ms(range(101)) == {"p50_ms": 50, "p99_ms": 99, "max_ms": 100}
    assert quantiles_ms([]) == {}
