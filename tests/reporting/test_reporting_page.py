"""The page: its scripts, its chart, its first screen."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
import vl_convert
from scripts_of_a_page import SCRIPT, chart_of, without_scripts
from synthetic_run import PROFILES, Maker

from harness.reporting import build_report
from harness.reporting.figures.style import COLOURS, KNOWN_METHODS, MARKERS, SHAPES, palette
from harness.reporting.formats import page_libraries
from harness.reporting.formats.page import OWN_SCRIPTS, order


@pytest.fixture(scope="module")
def page(report_folder) -> str:
    return (report_folder / "index.html").read_text("utf-8")


def test_scripts_are_allowed_by_their_digest_and_by_nothing_else(page):
    without_scripts(page)  # asserts each digest
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and "unsafe-eval" not in policy[1]
    assert "unsafe-inline" not in policy[1].split("style-src")[0]
    assert len(SCRIPT.findall(page)) == 4  # charts, tables, our own two


def test_libraries_define_what_the_page_calls(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    written = page_libraries.charts.__wrapped__()
    assert "window.vegaEmbed=" in written
    monkeypatch.setattr(vl_convert, "javascript_bundle", None)  # from here on it is read
    assert page_libraries.charts.__wrapped__() == written
    assert "globalThis.DataTable=" in page_libraries.tables()
    for script in (page_libraries.charts(), page_libraries.tables()):
        assert "</script" not in script.lower() and "<script" not in script.lower()


@pytest.mark.parametrize("script", OWN_SCRIPTS)
def test_every_element_that_the_script_asks_for_is_on_the_page(page, script):
    own = files("harness.reporting.formats").joinpath(script).read_text("utf-8")
    for name in re.findall(r'getElementById\("([^"]+)"\)', own):
        assert f'id="{name}"' in page, name


def test_the_chart_shows_the_numbers_of_the_report(page, report_folder):
    chart = chart_of(page)
    report = json.loads((report_folder / "report.json").read_text("utf-8"))
    finalists = {p["label"]: p for p in chart["points"] if p["stage"] not in ("search", "base")}
    for row in report["leaderboard"]:
        point = finalists.pop(row["label"])
        for name in (chart["x"], chart["y"]):
            measured = row["measurements"][name]
            assert point["values"][name][0] == measured["value"]
            assert point["values"][name][1:] in ([], [measured["low"], measured["high"]])
        assert (point["stage"] == "chosen") == (row["label"] == report["recommendation"]["chosen"])
        best = report["leaderboard"][0]["tied"]
        assert point["leading"] == bool(set(best or "") & set(row["tied"] or ""))
    assert not finalists
    searched = [
        t for t in report["trials"] if t["stage"] != "confirm" and t["status"] == "complete"
    ]
    assert sum(p["stage"] == "search" for p in chart["points"]) == len(searched)


def test_the_chart_of_settings_has_every_search_trial_and_no_score_that_was_not_measured(
    page, report_folder
):
    chart = chart_of(page, "settings")
    report = json.loads((report_folder / "report.json").read_text("utf-8"))
    searched = {(t["method"], t["trial"]): t for t in report["trials"] if t["stage"] != "confirm"}
    names = [objective["key"] for objective in chart["objectives"]]
    assert names == list(report["sweep"]["objectives"])
    seen = 0
    for method in chart["methods"]:
        keys = [setting["key"] for setting in method["settings"]]
        assert "training.learning_rate" in keys
        assert method["plane"] == ([0, 1] if len(keys) > 1 else None), "size, then rate"
        for trial in method["trials"]:
            told = searched[method["name"], trial["n"]]
            assert trial["status"] == told["status"]
            complete = told["status"] == "complete"
            own = [told["measurements"][name] if complete else None for name in names]
            assert trial["scores"] == own
            seen += 1
    assert seen == len(searched)
    assert {t["status"] for m in chart["methods"] for t in m["trials"]} > {"complete", "diverged"}


def test_a_script_in_a_label_stays_text(tmp_path):
    maker = Maker(tmp_path / "run", n=20)
    evil = "</script><script>alert(1)</script>"
    maker.sweep(methods=["lora"], name="demo", model=evil)
    for seed in (101, 102):
        maker.trial(PROFILES[0], seed, stage="confirm", seed=seed)
    text = (build_report(tmp_path / "run", tmp_path) / "index.html").read_text("utf-8")
    assert "<script" not in without_scripts(text).lower()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("78.4 [71.0, 85.8]", 78.4), ("−10.6 [−15.7, −5.4], p < 0.001", -10.6), ("0.98 M", 980_000),
        ("81,920", 81_920), ("2.1 min", 126), ("6.7 s", 6.7), ("1.11 GB", 1.11), ("lora", None),
        ("–", None), ("", None), ("3e-4", 3e-4), ("120 MB", 0.12),
    ],
)  # fmt: skip
def test_cells_are_sorted_by_their_number(text, number):
    assert order(text) == (None if number is None else pytest.approx(number))


def test_a_method_looks_the_same_in_every_report():
    alone, many = palette(["lora"]), palette(["variant", "adalora", "lora", "full", "other"])
    assert alone["lora"] == many["lora"]
    everything = palette([*KNOWN_METHODS, *(f"v{i}" for i in range(30))])
    assert len(set(everything.values())) == len(everything)
    assert len({palette([m])[m][0] for m in KNOWN_METHODS[:8]}) == len(COLOURS) == 8
    assert set(SHAPES) == set(MARKERS)


def test_known_methods_are_methods():
    conf = Path(__file__).parents[2] / "conf" / "method"
    assert [name for name in KNOWN_METHODS if not (conf / f"{name}.yaml").exists()] == []
