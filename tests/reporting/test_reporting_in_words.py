"""Gain, loss and runner-up of the choice, in words."""

from __future__ import annotations

import json
import math


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
