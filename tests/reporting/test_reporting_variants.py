"""Variants of one method: a table of their own, one line in the figure against rank."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_run import PROFILES, Maker

from harness.reporting import build_report
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.families import families
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.tables.variants import variant_tables

RANKS = (2, 8, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    maker = Maker(tmp_path_factory.mktemp("runs") / "ranks", n=40)
    lora = replace(PROFILES[1], named="lora")
    labels = [f"r{rank}" for rank in RANKS]
    maker.sweep(methods=[*labels, "full"])
    for label, rank in zip(labels, RANKS, strict=True):
        for number, rate in enumerate((3e-4, 6e-4)):
            maker.trial(replace(lora, method=label), number, rate=rate, size=rank)
        for seed in (101, 102):
            maker.trial(replace(lora, method=label), seed, "confirm", seed, size=rank)
    maker.trial(PROFILES[0], 0)
    maker.trial(PROFILES[0], 0, stage="confirm", seed=101)
    return maker.folder


def test_a_row_a_variant_and_a_column_a_variant(folder):
    run = load_run(folder)
    (title, rows), (_, across) = variant_tables(run, candidate_set(run))
    assert title == "Variants of lora"
    at = rows.headers.index("r")
    assert [row[at].text for row in rows.rows] == ["2", "8", "32"]
    assert "Validation loss" in rows.headers
    assert [row[0].text for row in rows.rows] == ["r2", "r8", "r32"]  # as the sweep lists them
    assert across.headers == ("", "r=2", "r=8", "r=32")
    column = rows.headers.index("test BLEU")
    assert [c.text for c in across.rows[0][1:]] == [row[column].text for row in rows.rows]


def test_the_figure_against_rank_has_one_line_for_the_family(folder, tmp_path):
    run = load_run(folder)
    assert families(run) == {"lora": "r2", "full": "full"}
    report = build_report(folder, tmp_path)
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Variants of lora" in page
    assert "Variants of lora" in (report / "report.md").read_text(encoding="utf-8")
    assert "against rank for lora." in page


def test_none_where_each_method_is_there_once(sweep_folder):
    run = load_run(sweep_folder)
    assert variant_tables(run, candidate_set(run)) == []
