"""Comparison of two checkouts: order of the measurements, ratios, medians, and the check of the imported package."""

from __future__ import annotations

from pathlib import Path

import pytest

import compare

SCRIPT = """
import sys
from pathlib import Path

import asr_async

values = {values}
script, sessions = Path(__file__).stem, sys.argv[sys.argv.index("--sessions") + 1]
with Path(r"{log}").open("a") as log:
    print(asr_async.NAME, script, sessions, file=log)
print('{{"rows": [' + values.pop(script) + ']}}')
"""


def make_checkout(path: Path, *, cpu_ms: float, p50_ms: float, frames: float = 1.0) -> Path:
    """Create a checkout whose scripts print constant figures and log their calls to `log`, beside the checkout."""
    package, benchmarks = path / "asr_async", path / "benchmarks"
    package.mkdir(parents=True)
    benchmarks.mkdir()
    (package / "__init__.py").write_text(f"NAME = {path.name!r}\n")
    values = {
        "bench_sessions": f'{{"cpu_ms": {cpu_ms}, "frames": {frames}}}',
        "bench_latency": f'{{"delay_p50_ms": {p50_ms}, "delay_p99_ms": {10 * p50_ms}}}',
    }
    for name in values:
        (benchmarks / f"{name}.py").write_text(SCRIPT.format(values=values, log=path.parent / "log"))
    return path


def test_the_checkouts_are_measured_alternately(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = make_checkout(tmp_path / "old", cpu_ms=0.5, p50_ms=0.4)
    new = make_checkout(tmp_path / "new", cpu_ms=0.4, p50_ms=0.5)
    compare.main([str(old), str(new), "--pairs", "2", "--sessions", "50", "300", "--latency-sessions", "200"])
    one_pair = [
        f"{checkout} {script} {sessions}"
        for script, sessions in (("bench_sessions", 50), ("bench_sessions", 300), ("bench_latency", 200))
        for checkout in ("old", "new")
    ]
    assert (tmp_path / "log").read_text().splitlines() == 2 * one_pair
    table, _, medians = capsys.readouterr().out.partition("\n\n")
    assert [line.split()[-3:] for line in table.splitlines()[1:]] == 2 * [
        ["0.5", "0.4", "0.8"],
        ["0.5", "0.4", "0.8"],
        ["0.4", "0.5", "1.25"],
        ["4.0", "5.0", "1.25"],
    ]
    assert medians.splitlines() == [
        "CPU ms per session-second, 50 sessions: median ratio 0.800 (0.800 to 0.800 in 2 pairs)",
        "CPU ms per session-second, 300 sessions: median ratio 0.800 (0.800 to 0.800 in 2 pairs)",
        "delivery p50 ms, 200 sessions: median ratio 1.250 (1.250 to 1.250 in 2 pairs)",
        "delivery p99 ms, 200 sessions: median ratio 1.250 (1.250 to 1.250 in 2 pairs)",
    ]


def test_a_checkout_that_does_not_keep_up_has_no_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = make_checkout(tmp_path / "old", cpu_ms=0.5, p50_ms=0.4)
    new = make_checkout(tmp_path / "new", cpu_ms=0.1, p50_ms=0.4, frames=0.5)
    compare.main([str(old), str(new), "--pairs", "1", "--sessions", "50", "--latency-sessions"])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "CPU ms per session-second, 50 sessions: no ratio, a checkout did not keep up"
    )


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    new = make_checkout(tmp_path / "new", cpu_ms=0.4, p50_ms=0.5)
    with pytest.raises(SystemExit, match=r"ended with status 1$|does not contain the package"):
        compare.main([str(tmp_path), str(new)])
    assert not (tmp_path / "log").exists()


def test_the_median_is_that_of_the_ratios() -> None:
    rows = [
        compare.PairRow(pair=pair, figure="CPU", old=old, new=new)
        for pair, (old, new) in enumerate([(1.0, 1.1), (2.0, 1.0), (1.0, 0.9), (None, 1.0)])
    ]
    assert [row.ratio for row in rows] == [1.1, 0.5, 0.9, None]
    (median,) = compare.medians_of(rows)
    assert (median.median, median.lowest, median.highest, median.pairs) == (0.9, 0.5, 1.1, 3)


@pytest.mark.parametrize("figure", ["CPU", "delivery"])
def test_each_figure_has_medians_of_its_own(figure: str) -> None:
    rows = [compare.PairRow(pair=1, figure=name, old=1.0, new=len(name)) for name in ("CPU", "delivery")]
    assert {row.figure: row.median for row in compare.medians_of(rows)}[figure] == len(figure)
