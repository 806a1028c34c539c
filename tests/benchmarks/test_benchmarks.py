"""The benchmarks run, and their reports are complete. No figure is judged here, since the machine may be busy."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import bench_telemetry
from load import messages, ws_frames
from load.measurements import medians, quantiles_ms
from load.report import Target

from ..support.child_processes import child_environment
from ..support.paths import BENCHMARKS

VERSIONS = {"asr_async", "CPython", "websockets", "msgspec", "aiohttp", "dashscope"}


def report_of(name: str, arguments: str) -> dict[str, Any]:
    """Run a script once and return its report, after the checks that every report must pass.

    One test runs each script, so that workers of a parallel run share the scripts and no script runs twice.
    """
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--json", "--runs", "1", *arguments.split()]
    completed = subprocess.run(command, stdout=subprocess.PIPE, env=child_environment(), timeout=100, check=True)
    report: dict[str, Any] = json.loads(completed.stdout)
    assert report["benchmark"] == name
    assert report["versions"].keys() >= VERSIONS
    assert not [row for row in report["rows"] if "failed" in row]
    return report


def test_the_cost_of_sessions_is_measured_for_every_peer() -> None:
    arguments = "--sessions 3 --seconds 0.5 --warm-up 0 --peers ours floor official"
    report = report_of("bench_sessions", arguments)
    ours, floor, official = report["rows"]
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
    assert [(target["what"], target["at_most"]) for target in report["targets"]] == [
        ("CPU per session-second, 3 sessions over ws, times the floor", 1.5),
        ("CPU per session-second, 3 sessions over ws, times that of 3 of the official SDK", 0.083),
        ("threads per session, 3 sessions over ws", 0),
        ("p99 lateness in ms, 3 sessions over ws", 20),
    ]


def test_delivery_delays_are_measured_and_no_final_is_missing() -> None:
    arguments = "--sessions 3 --seconds 0.5 --warm-up 0 --peers ours thin aiohttp --tls"
    rows = report_of("bench_latency", arguments)["rows"]
    assert [(row["peer"], row["scheme"], row["missing"]) for row in rows] == [
        ("ours", "wss", 0),
        ("thin", "wss", 0),
        ("aiohttp", "wss", 0),
    ]
    assert all(row["delay_p50_ms"] > 0 for row in rows)


def test_memory_is_measured_idle_and_streaming() -> None:
    (row,) = report_of("bench_memory", "--sessions 20 --seconds 1.5 --peers ours --schemes wss")["rows"]
    assert 0 < row["idle_kib"] < row["active_kib"]


def test_a_pooled_start_makes_no_connection_and_any_other_makes_one() -> None:
    report = report_of("bench_connect", "--sessions 3 --schemes wss")
    connections = {row["peer"]: row["connections"] for row in report["rows"]}
    assert connections == {"ours": 0, "ours-unpooled": 3, "thin": 3}
    assert [target["reached"] for target in report["targets"]] == [True]


def test_the_cost_of_telemetry_is_compared_with_sessions_without_any() -> None:
    report = report_of("bench_telemetry", "--sessions 3 --seconds 0.5 --warm-up 0")
    rows = report["rows"]
    assert [row["telemetry"] for row in rows] == ["none", "observer", "opentelemetry"]
    assert [target["at_most"] for target in report["targets"]] == [1.05]
    measured = [row for row in rows if "share" in row]  # those that kept up with the load
    assert all(row["cpu_ms"] > 0 and row["lowest"] <= row["share"] <= row["highest"] for row in measured)


def test_a_run_in_which_a_client_did_not_keep_up_has_no_share() -> None:
    runs: list[bench_telemetry.Costs] = [
        {"none": 0.5, "observer": 0.5, "opentelemetry": 0.6},
        {"none": None, "observer": 0.5, "opentelemetry": 0.6},
        {"none": 0.5, "observer": None, "opentelemetry": 0.55},
    ]
    none, observer, opentelemetry = bench_telemetry.rows_of(300, runs)
    assert (none["cpu_ms"], none["share"]) == (0.5, 1.0)
    assert (observer["share"], observer["highest"]) == (1.0, 1.0)
    assert (opentelemetry["share"], opentelemetry["lowest"], opentelemetry["highest"]) == (1.15, 1.1, 1.2)
    assert "share" not in next(bench_telemetry.rows_of(300, runs[1:2]))


def test_the_delay_of_finalize_is_measured_for_every_protocol_and_no_word_is_missing() -> None:
    report = report_of("bench_finalize", "--utterances 2")
    assert [(row["by"], row["connections"]) for row in report["rows"]] == [
        ("next task", 0),
        ("next task", 0),
        ("next task", 0),
        ("next task", 0),
        ("next task", 2),  # the Qwen realtime protocol has one task on a connection
        ("commit", 0),
        ("next task", 0),
    ]
    assert all(0 < row["final_p50_ms"] <= row["returned_p50_ms"] for row in report["rows"])
    assert all(target["reached"] for target in report["targets"])


def test_the_codecs_are_measured_beside_plain_decoders() -> None:
    rows = report_of("bench_codec", "--calls 50")["rows"]
    assert [(row["vendor"], row["call"]) for row in rows] == [
        (vendor, call)
        for vendor in ("DashScope", "Huawei")
        for call in ("codec.audio", "codec.receive", "json.loads", "msgspec.json.decode")
    ]
    assert all(row["ns"] > 0 for row in rows)


# --- the parts that the scripts share ---------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_bytes", [1, 5, 7, 100_000])
def test_ws_frames_are_read_from_chunks_of_any_size(chunk_bytes: int) -> None:
    sent = [
        (ws_frames.TEXT, b"short"),
        (ws_frames.BINARY, messages.FRAME),
        (ws_frames.PING, b""),
        (ws_frames.BINARY, bytes(126)),
    ]
    stream = b"".join(ws_frames.encode(opcode, payload, masked=True) for opcode, payload in sent)
    reader = ws_frames.WsFrameReader()
    received = [
        (opcode, ws_frames.apply_mask(payload, mask))
        for at in range(0, len(stream), chunk_bytes)
        for opcode, mask, payload in reader.read(stream[at : at + chunk_bytes])
    ]
    assert received == sent
    assert reader.is_between_frames


def test_a_result_has_ten_words_and_the_instant_of_sending() -> None:
    interim, final = (json.loads(messages.result(b"t" * 32, number)) for number in (2, 3))
    sentences = [message["payload"]["output"]["sentence"] for message in (interim, final)]
    assert [(each["sentence_id"], each["begin_time"], each["sentence_end"]) for each in sentences] == [
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
def test_the_line_of_a_target_states_the_outcome(value: float | None, line: str) -> None:
    assert Target(what="CPU", value=value, at_most=1.5).line == line


def test_runs_are_merged_by_medians_and_by_the_maximum_of_named_columns() -> None:
    rows = [{"peer": "ours", "ms": ms, "missing": missing} for ms, missing in ((3.0, 0), (1.0, 0), (2.0, 4))]
    assert medians(rows, worst=["missing"]) == {"peer": "ours", "ms": 2.0, "missing": 4}


def test_one_failed_run_marks_the_merged_row_as_failed() -> None:
    failed = {"peer": "ours", "failed": "exit status 1"}
    assert medians([{"peer": "ours", "ms": 1.0}, failed]) == failed


def test_quantiles_are_values_of_the_sample() -> None:
    assert quantiles_ms(range(101)) == {"p50_ms": 50, "p99_ms": 99, "max_ms": 100}
    assert quantiles_ms([]) == {}
