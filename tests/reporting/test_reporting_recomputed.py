"""Statistics of a report, recomputed from its own CSV and JSON with numpy and scipy alone."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
from scipy import stats


@pytest.fixture(scope="module")
def report(report_folder) -> dict[str, Any]:
    return json.loads((report_folder / "report.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def markdown(report_folder) -> str:
    return (report_folder / "report.md").read_text("utf-8").replace("−", "-").replace("\\", "")


@pytest.fixture(scope="module")
def rows(report_folder) -> dict[str, dict[str, str]]:
    text = (report_folder / "leaderboard.csv").read_text("utf-8")
    return {row["label"]: row for row in csv.DictReader(io.StringIO(text))}


def table(markdown: str, title: str) -> list[dict[str, str]]:
    """Return the rows of the table under a heading, by header."""
    part = markdown.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def test_scores_are_means_of_the_trials(report, rows, markdown):
    """Over seeds, of the recorded values; and the same number in JSON, CSV and the table."""
    shown = {row["Method"]: row for row in table(markdown, "Leader board")}
    for candidate in report["leaderboard"]:
        trials = [
            trial
            for trial in report["trials"]
            if trial["stage"] == "confirm" and trial["configuration"] == candidate["configuration"]
        ]
        assert len(trials) == len(candidate["seeds"]) == 2
        own = rows[candidate["label"]]
        for name, measured in candidate["measurements"].items():
            values = [trial["measurements"][name] for trial in trials]
            assert measured["value"] == pytest.approx(np.mean(values), rel=1e-6, abs=1e-9), name
            assert float(own[name]) == measured["value"]
            assert float(own[f"{name}.low"] or "nan") == pytest.approx(
                measured["low"] if measured["low"] is not None else np.nan, nan_ok=True
            )
        bleu = candidate["measurements"]["test.bleu"]
        text = f"{bleu['value']:.1f} [{bleu['low']:.1f}, {bleu['high']:.1f}]"
        assert text in shown[candidate["method"]].values()


def test_differences_intervals_and_p_values(report, rows, markdown):
    """Student's t alone, and the studentized range over all pairs, from each difference and error."""
    assert len(report["comparisons"]) == len(rows) - 1
    for found in report["comparisons"]:
        name = found["measurement"]
        gap = float(rows[found["candidate"]][name]) - float(rows[found["best"]][name])
        assert found["difference"] == pytest.approx(gap)
        error, df = np.hypot(found["error"]["items"], found["error"]["seeds"]), found["error"]["df"]
        half = stats.t.ppf(0.975, df) * error
        assert (found["low"], found["high"]) == pytest.approx((gap - half, gap + half))
        t = abs(gap) / error
        assert found["p_value"] == pytest.approx(2 * stats.t.sf(t, df))
        family = stats.studentized_range.sf(t * np.sqrt(2), len(rows), df)
        assert found["p_family"] == pytest.approx(family, abs=2e-3)
        assert found["different"] == (family < 0.05) or abs(family - 0.05) < 0.01
        best = report["leaderboard"][0]
        assert found["best"] == best["label"]


def test_the_dashed_line_joins_the_points_that_no_other_beats(report, rows, report_folder):
    points = np.array(
        [[float(row["test.bleu"]), -float(row["forgetting.kl"])] for row in rows.values()]
    )
    beaten = [
        any((other >= one).all() and (other > one).any() for other in points) for one in points
    ]
    expected = sorted(
        (-loss, bleu) for (bleu, loss), out in zip(points, beaten, strict=True) if not out
    )
    page = (report_folder / "index.html").read_text("utf-8")
    drawn = page.split('id="front"')[1].split("</svg>")[0]
    (line,) = re.findall(r'<path d="(M[^"]*)"[^>]*stroke-dasharray: ?4', drawn)
    at = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", line), dtype=float)
    assert len(at) == len(expected) > 1
    steps, moves = np.diff(np.array(expected), axis=0), np.diff(at, axis=0)
    assert (np.sign(moves) == np.sign(steps) * (1, -1)).all(), "SVG counts from the top"
    assert np.ptp(moves / steps, axis=0) == pytest.approx(0, abs=0.05), "one scale for all"


def test_the_order_of_the_search_against_that_of_the_test(report, markdown):
    before, after, ranks = [], [], []
    shown = {row[""]: row for row in table(markdown, "Did the order of the search hold?")}
    for candidate in report["leaderboard"]:
        (trial,) = [
            trial
            for trial in report["trials"]
            if trial["stage"] == "search" and trial["configuration"] == candidate["configuration"]
        ]
        before.append(trial["measurements"]["validation.bleu"])
        after.append(candidate["measurements"]["test.bleu"]["value"])
        ranks.append(shown[candidate["method"]])
    note = markdown.split("## Did the order of the search hold?\n")[1].split("\n## ")[0]
    kendall, spearman = stats.kendalltau(before, after)[0], stats.spearmanr(before, after)[0]
    said = [float(text) for text in re.findall(r"[τρ] (-?\d\.\d\d)", note)]
    assert said == pytest.approx([kendall, spearman], abs=0.0051)
    on_test = [int(row["on test"]) for row in ranks]
    assert on_test == stats.rankdata(-np.array(after), method="min").tolist()


def test_status_counts_and_the_expected_best(report, markdown):
    """The mean best of every subset of the trials that a method spent, by enumeration."""
    search = [trial for trial in report["trials"] if trial["stage"] == "search"]
    for row in table(markdown, "Search"):
        own = [trial for trial in search if trial["method"] == row["Method"]]
        assert int(row["Trials"]) == len(own)
        for status in ("complete", "pruned", "infeasible", "diverged", "failed"):
            assert int(row[status.title()]) == sum(trial["status"] == status for trial in own)
        scores = [
            t["measurements"]["validation.bleu"] if t["status"] == "complete" else None for t in own
        ]
        assert row["Best"] == f"{max(score for score in scores if score is not None):.1f}"
        sizes = {header: int(header.split()[-1]) for header in row if header.startswith("Expected")}
        assert sizes
        for header, n in sizes.items():
            draws = [
                [score for score in draw if score is not None]
                for draw in itertools.combinations(scores, n)
            ]
            assert np.mean([bool(draw) for draw in draws]) >= 0.95
            assert row[header] == f"{np.mean([max(draw) for draw in draws if draw]):.1f}"
