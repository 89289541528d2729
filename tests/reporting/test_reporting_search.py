"""The table of search trials: how a pruned trial stood among the others, where that was recorded."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders.run_folder import load_run
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
