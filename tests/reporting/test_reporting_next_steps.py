"""The model that is handed on: of the recommended configuration, the seed that validation prefers."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from harness.errors import InputError
from harness.export.chosen_trial import choose
from harness.records import append_jsonl, read_record
from harness.reporting.evidence.folders.run_folder import FinishedTrial, load_run
from harness.reporting.verdict.next_steps import kept_model, next_steps


@pytest.fixture
def copy(sweep_folder, tmp_path):
    return shutil.copytree(sweep_folder, tmp_path / "runs" / "demo")


def test_the_seed_is_chosen_on_validation_whatever_the_test_says(copy):
    choice = choose(copy, None)
    assert choice.is_recommended and choice.row.record.seed == 101
    assert "the only one whose model was kept" in choice.why
    chosen = choice.recommendation.chosen
    folders = {row.record.seed: row.folder for row in chosen.rows}
    (folders[102] / "adapter").mkdir()
    for seed, value in ((101, 9.5), (102, 9.25)):
        watched = {"validation.perplexity": value}
        at_the_end = {"validation.perplexity": 100.0 if seed == 102 else 1.0}
        rows = [
            {"kind": "evaluation", "step": 220, "measurements": watched},
            {"kind": "evaluation", "step": 220, "measurements": at_the_end, "final": True},
        ]
        append_jsonl(folders[seed] / "metrics.jsonl", rows)
    kept = choose(copy, None)
    assert kept.row.record.seed == 102
    assert "9.50 and 9.25" in kept.why and "the test split had no part" in kept.why
    # A selected step's value is that of the model, wherever the curve went on to.
    selected = {"selected": {"step": 80, "validation.perplexity": 8.0}}
    record = read_record(folders[101])
    first = replace(record, provenance=record.provenance | selected)
    rows = [FinishedTrial(first, folders[101]), *[r for r in chosen.rows if r.record.seed == 102]]
    assert kept_model(replace(chosen, rows=tuple(rows))).row.record.seed == 101


def test_next_steps_name_what_there_is(copy, tmp_path):
    run = load_run(copy)
    chosen = choose(copy, None).recommendation.chosen
    export, again = next_steps(run, chosen)
    own = next(row.folder for row in chosen.rows if row.record.seed == 101)
    assert f"seed 101, in {own}/adapter" in export.what
    assert export.command == f"python -m harness.export {copy}"
    assert again.command.startswith("python -m harness.trial method=")
    other = FinishedTrial(run.rows[0].record, tmp_path / "runs" / "other" / "trials" / "lora" / "x")
    named = next_steps(replace(run, rows=(*run.rows, other)), chosen)[0].command
    assert named == f"python -m harness.export {copy} {own.parent.name}/{own.name}"
    for row in chosen.rows:
        shutil.rmtree(row.folder / "adapter", ignore_errors=True)
    assert [step.what for step in next_steps(run, chosen)] == ["Train it again:"]
    assert next_steps(run, None) == []
    with pytest.raises(InputError, match=r"no trial of it kept its model.*harness\.trial method="):
        choose(copy, None)
