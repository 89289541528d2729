"""Gain, loss and runner-up of the choice, in words."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from sweeping import composed

from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.candidates import LARGE_FORGETTING
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.verdict.price import multiple, times_text
from harness.reporting.verdict.recommendation import recommend

CONDITION = " only if what the model could do before does not matter"


def test_the_words_are_the_numbers_of_the_report(report_folder):
    report = json.loads((report_folder / "report.json").read_text("utf-8"))
    said = report["recommendation"]["meaning"]
    chosen = next(
        row for row in report["leaderboard"] if row["label"] == report["recommendation"]["chosen"]
    )
    quality = report["quality"]["measurement"]
    gained = next(line for line in said if line.startswith("Gained: "))
    assert f"{chosen['measurements'][quality]['value']:.1f}" in gained
    assert f"{chosen['base'][quality]:.1f} (untouched base)" in gained
    rise = chosen["measurements"]["forgetting.nll"]["value"]
    elsewhere = next(line for line in said if line.startswith("Elsewhere: "))
    assert f"perplexity on general text is {math.exp(rise):.2f} " in elsewhere
    second = next(
        row for row in report["leaderboard"] if row["eligible"] and row["label"] != chosen["label"]
    )
    assert f"Runner-up: {second['label']}," in said[-1]


@pytest.mark.parametrize(
    ("limit", "said", "otherwise"),
    [
        (None, "", ""),  # null: never
        (100.0, "", ""),
        (1.02, CONDITION, "prompt_tuning tokens=8, lr=3e-4 is the best that stays below × 1.02"),
        (1.001, CONDITION, "below × 1.001. prompt_tuning tokens=8, lr=3e-4 comes nearest"),
    ],
)
def test_a_large_price_stands_in_the_headline_with_the_best_that_is_cheaper(
    sweep_folder, limit, said, otherwise
):
    run = load_run(sweep_folder)
    run = replace(run, sweep=replace(run.sweep, report={"large_forgetting": limit}))
    advice = recommend(run, candidate_set(run))
    assert advice.chosen is not None
    factor = math.exp(advice.chosen.estimates["forgetting.nll"].value)
    assert (f"general text × {factor:.2f}):" in advice.headline) == bool(said)
    assert said in advice.headline
    lines = [line for line in advice.meaning if line.startswith("If it matters: ")]
    assert len(lines) == bool(otherwise) and otherwise in "".join(lines)


def test_the_default_limit_is_a_doubling_and_a_factor_has_the_digits_it_needs():
    sweep, _ = composed("method=lora")
    assert sweep.report.large_forgetting == LARGE_FORGETTING == 2.0
    written = [times_text(multiple(rise)) for rise in (0.026, math.log(2), 6.1547, 40.0, 1e9)]
    assert written[:3] == ["× 1.03", "× 2.00", "× 471"]
    assert written[3:] == ["× more than 1,000,000"] * 2
