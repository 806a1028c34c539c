"""The kept figure: it is drawn from the kept report, and drawing is deterministic."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

import draw_figure
from load.report import Report

KEPT_REPORT = draw_figure.REPORT
KEPT_SVG = KEPT_REPORT.with_suffix(".svg")
SVG = "{http://www.w3.org/2000/svg}"

pytest.importorskip("matplotlib")


@pytest.fixture
def report() -> Report:
    return msgspec.json.decode(KEPT_REPORT.read_bytes(), type=Report)


def content_of(svg: Path) -> tuple[list[str], dict[str, list[float]]]:
    """Return the texts of a figure, and the coordinates of each peer's line.

    Two versions of matplotlib may write the rest in different ways.
    """
    root = ET.parse(svg).getroot()
    texts = ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]
    lines = {}
    for group in root.iter(f"{SVG}g"):
        if (peer := group.get("id")) in draw_figure.SERIES and (path := group.find(f"{SVG}path")) is not None:
            lines[peer] = [round(float(number), 1) for number in re.findall(r"[\d.]+", path.get("d", ""))]
    return texts, lines


def test_the_kept_figure_is_drawn_from_the_kept_report(tmp_path: Path) -> None:
    draw_figure.draw(KEPT_REPORT, tmp_path / "cost.svg")
    assert content_of(tmp_path / "cost.svg") == content_of(KEPT_SVG)


def test_the_kept_figure_shows_this_library_beside_its_peers(report: Report) -> None:
    points = draw_figure.points_of(report)
    assert points.keys() >= {"ours", "thin", "floor", "official"}
    assert {sessions for sessions, _ in points["official"]} == {50}
    texts, lines = content_of(KEPT_SVG)
    for peer, line in points.items():
        assert any(text.startswith(f"{draw_figure.SERIES[peer].label} {line[-1][1]:.2g} ms") for text in texts)
        assert len(lines[peer]) == 2 * len(line)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        draw_figure.draw(KEPT_REPORT, tmp_path / name / "cost.svg")
    assert (tmp_path / "first" / "cost.svg").read_bytes() == (tmp_path / "second" / "cost.svg").read_bytes()


def test_a_load_with_which_a_peer_does_not_keep_up_is_not_drawn(report: Report) -> None:
    rows = [{**row, "frames": 0.9} if row["peer"] == "ours" and row["sessions"] > 50 else row for row in report.rows]
    points = draw_figure.points_of(msgspec.structs.replace(report, rows=rows))
    assert [sessions for sessions, _ in points["ours"]] == [50]


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_a_file_that_is_not_a_report_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cost.json"
    path.write_bytes(content)
    with pytest.raises(SystemExit, match="is not a report of bench_sessions"):
        draw_figure.draw(path, tmp_path / "cost.svg")


def test_a_report_of_another_script_is_refused(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "cost.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(report, benchmark="bench_codec")))
    with pytest.raises(SystemExit, match="but of bench_codec"):
        draw_figure.draw(path, tmp_path / "cost.svg")


def test_a_report_without_a_row_to_draw_is_refused(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "cost.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(report, rows=[])))
    with pytest.raises(SystemExit, match="measure with fewer sessions"):
        draw_figure.draw(path, tmp_path / "cost.svg")


def test_labels_are_moved_apart_where_they_would_overlap() -> None:
    positions = draw_figure.separated({"ours": 1.0, "floor": 0.9, "thin": 10.0}, 1.5)
    assert positions == {"floor": 0.9, "ours": 0.9 * 1.5, "thin": 10.0}
