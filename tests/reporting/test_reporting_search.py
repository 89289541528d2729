"""The table of search trials: how a pruned trial stood among the others, where that was recorded."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.figures.explorer import explorer
from harness.reporting.figures.front_and_rank import capacity_figure
from harness.reporting.figures.style import palette
from harness.reporting.tables.search import search_table
from harness.search.pruning.asha import Standing


@pytest.fixture(scope="module")
def run(sweep_folder):
    return load_run(sweep_folder)


def with_standing(run, status: str):
    """Return ``run`` in which every trial of that status has the pruner's standing in its record."""
    standing = asdict(Standing(3, 6, 7, 2, {"forgetting.kl": 0.5}, {"forgetting.kl": 0.1}))
    rows = [
        replace(
            row,
            record=replace(row.record, provenance=row.record.provenance | {"pruned": standing}),
        )
        if row.record.status == status
        else row
        for row in run.rows
    ]
    return replace(run, rows=tuple(rows))


def test_a_pruned_trial_has_its_rank_and_the_evaluation(run):
    table = search_table(with_standing(run, "pruned"), candidate_set(run))
    assert table.headers[-1] == "Stopped"
    stopped = {row[3].text: row[-1].text for row in table.rows}
    assert stopped.pop("pruned") == "rank 6 of 7 at evaluation 3"
    assert {"complete", "diverged"} <= set(stopped) and set(stopped.values()) == {"–"}
    assert "Its rank is among the trials of its method" in table.note


@pytest.mark.parametrize("status", ["complete", "nothing"])
def test_no_column_where_no_standing_of_a_pruned_trial_is_known(run, status):
    table = search_table(with_standing(run, status), candidate_set(run))
    assert "Stopped" not in table.headers and "rank" not in table.note
    assert all(len(row) == len(table.headers) for row in table.rows)


def test_the_costs_of_a_pack_are_not_compared_with_those_of_trials_alone(run):
    """A trial of a pack has a share of its time and no memory; nothing is drawn for it."""

    def packed(row):
        record = row.record
        if record.method != "lora" or record.stage == "confirm":
            return row
        cost = {name: value for name, value in record.cost.items() if "memory" not in name}
        provenance = record.provenance | {"pack": {"trials": 3}}
        return replace(row, record=replace(record, cost=cost, provenance=provenance))

    together = replace(run, rows=tuple(map(packed, run.rows)))
    candidates = candidate_set(together)
    table = search_table(together, candidates)
    assert "have shares of their time" in table.note
    assert "have shares of their time" not in search_table(run, candidates).note
    look = palette(run.sweep.methods)
    assert capacity_figure(together, candidates, look) is not None
    points = explorer(together, candidates, None, look, "validation.bleu")["points"]
    costs = {"train_seconds", "peak_memory_gb"}
    searched = [p["values"].keys() & costs for p in points if p["stage"] == "search"]
    assert any(searched), "those of other methods are"
    mine = [
        p["values"].keys() & costs
        for p in points
        if p["stage"] == "search" and p["method"] == "lora"
    ]
    assert mine and not any(mine)
