"""Importance of settings: searches whose truth is known, and the refusal where trials are few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_run import build

from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.evidence.searched.importance import FEWEST, importances
from harness.reporting.evidence.searched.settings import searched
from harness.reporting.tables.searched.importance_table import importance_table

TRIALS = 60


def made_up(seed: int) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    return {
        "rate": np.exp(rng.uniform(-9, -4, TRIALS)).tolist(),
        "r": rng.choice([4, 8, 16, 32], TRIALS).tolist(),
        "schedule": rng.choice(["linear", "cosine"], TRIALS).tolist(),
    }


@pytest.mark.parametrize("key", ["rate", "r", "schedule"])
def test_both_find_the_setting_that_alone_matters(key):
    settings = made_up(0)
    codes = {value: place for place, value in enumerate(sorted(set(settings[key])))}
    found = importances(settings, [codes[value] for value in settings[key]])
    for name in ("variance", "top"):
        first = max(found, key=lambda one: getattr(one, name).value)
        shares = [getattr(one, name) for one in found]
        assert first.key == key and getattr(first, name).value > 0.6
        assert sum(share.value for share in shares) == pytest.approx(1)
        assert all(0 <= share.low <= share.value <= share.high <= 1 for share in shares)


def test_only_the_order_counts():
    """Of outcomes and of numbers, so neither a diverged trial nor a scale can be all that is seen."""
    settings = made_up(1)
    outcome = [-abs(np.log(rate) + 6) for rate in settings["rate"]]
    other = settings | {"rate": [float(np.log(rate)) for rate in settings["rate"]]}
    worst = [value if value > min(outcome) else -np.inf for value in outcome]
    assert importances(other, worst) == importances(settings, outcome)


def test_nothing_to_compare_gives_nothing():
    settings = made_up(2)
    assert importances({"rate": settings["rate"], "r": [8] * TRIALS}, settings["rate"]) == []
    assert importances(settings, [1.0] * TRIALS) == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "demo"
    build(folder, n=4, trials=FEWEST, methods=2)
    return load_run(folder)


def test_a_row_a_setting_where_trials_suffice(run):
    table = importance_table(run)
    rows = [[cell.text for cell in row] for row in table.rows]
    assert {(row[0], row[1], row[3]) for row in rows} == {
        ("lora", outcome, setting)
        for outcome in ("validation BLEU", "forgetting (KL)")
        for setting in ("method.r", "training.learning_rate")
    }, "full varied one setting alone"
    assert {row[2] for row in rows} == {str(FEWEST)}, "the diverged trial counts"
    assert "not estimated" not in table.note and "where it looked" in table.note
    own = searched(run, "lora")
    assert own.outcomes("validation.bleu", "maximize").count(-np.inf) == 1


def test_few_trials_are_refused_with_their_number(run):
    few = replace(run, rows=tuple(row for row in run.rows if row.record.trial != 3))
    table = importance_table(few)
    assert table.rows == ()
    assert f"fewer than {FEWEST} complete or diverged trials of a method (lora {FEWEST - 1})" in (
        table.note
    )
