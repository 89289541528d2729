"""The table of settings that matter, from a made-up search of one method."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_run import build

from harness.reporting.evidence.folders.run_folder import SweepRecords, load_run
from harness.reporting.tables.searched.effects_table import effects_table


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SweepRecords:
    folder = tmp_path_factory.mktemp("runs") / "effects"
    build(folder, n=12, trials=16, methods=2)
    return load_run(folder)


def searched_with(run: SweepRecords, sampler: str) -> SweepRecords:
    return replace(run, sweep=replace(run.sweep, search={"sampler": sampler}))


def test_a_row_for_each_searched_setting_and_objective(run):
    table = effects_table(searched_with(run, "random"))
    of_lora = [[cell.text for cell in row] for row in table.rows if row[0].text == "lora"]
    assert {(row[1], row[3]) for row in of_lora} == {
        (setting, outcome)
        for setting in ("method.r", "training.learning_rate")
        for outcome in ("validation BLEU", "forgetting (KL)")
    }
    assert {row[2] for row in of_lora} == {"16"}, "the diverged trial is counted: it ranks last"
    full = [row for row in table.rows if row[0].text == "full"]
    assert {row[2].text for row in full} == {"15"}, "one was infeasible: nothing is known of it"


def test_a_sampler_that_learns_is_not_tested(run):
    tested, learned = (effects_table(searched_with(run, name)) for name in ("random", "tpe"))
    assert [row[5].text for row in learned.rows] == [row[5].text for row in tested.rows]
    assert {row[7].text for row in learned.rows} == {"–"}
    assert {row[5].role for row in learned.rows} == {"number"}
    assert "Untested" in learned.note
    assert all(0 < float(row[7].text.removeprefix("< ")) <= 1 for row in tested.rows)


def test_few_trials_have_no_table(run):
    few = replace(run, rows=tuple(row for row in run.rows if row.record.trial < 8))
    assert not effects_table(searched_with(few, "random")).rows
