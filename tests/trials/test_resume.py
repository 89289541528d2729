"""Stopped in the middle and run again, a trial ends bit for bit where it would have ended."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from running import after, job, rows

from harness.config.strict import from_mapping
from harness.training.loop import Interrupted
from harness.trials.run import run_trial

# 12 steps; AdaLoRA shrinks its budget in steps 1 to 8 and holds it from 9 on.
CASES = {
    "full": (["method=full", "training.learning_rate=1e-3"], 5),
    "ulmfit before all is thawed": (["method=ulmfit", "training.learning_rate=1e-3"], 3),
    "ulmfit after": (["method=ulmfit", "method.unfreeze_every_steps=1"], 8),
    "lora with dropout": (["method=lora", "method.lora_dropout=0.2"], 5),
    "dropout, 8-bit": (
        ["method=lora", "method.lora_dropout=0.2", "training.optimizer=adamw_8bit", "method.r=64"],
        5,
    ),
    "full, 8-bit": (["method=full", "training.optimizer=adamw_8bit"], 4),
    "full, adafactor": (["method=full", "training.optimizer=adafactor"], 4),
    "full, sgd in bf16": (
        ["method=full", "training.optimizer=sgd", "training.precision=bf16"],
        4,
    ),
    "qlora": (["method=qlora"], 5),
    "adalora, full budget": (["method=adalora", "training.learning_rate=1e-2"], 1),
    "adalora, shrinking": (["method=adalora", "training.learning_rate=1e-2"], 5),
    "adalora, before the last cut": (["method=adalora", "training.learning_rate=1e-2"], 9),
    "adalora, final budget": (["method=adalora", "training.learning_rate=1e-2"], 10),
    "prompt tuning": (["method=prompt_tuning"], 6),
    "held in every way": (
        [
            "method=full",
            "training.batch_size=4",
            "retention.replay_share=0.25",
            "retention.kl_weight=0.5",
            "retention.l2_sp_weight=0.01",
            "retention.ewc_weight=10",
            "retention.ewc_samples=4",
        ],
        5,
    ),
    "dropout, held beside the batch": (
        ["method=lora", "method.lora_dropout=0.2", "retention.kl_weight=0.5"],
        7,
    ),
    "fisher mask": (["method=importance_mask", "method.samples=8"], 5),
    "forest": (
        ["method=forest_importance", "method.masks=8", "method.samples=8", "method.trees=10"],
        5,
    ),
    "accumulation and smoothing": (
        [
            "method=lora",
            "method.use_rslora=true",
            "training.batch_size=4",
            "training.gradient_accumulation_steps=2",
            "training.label_smoothing=0.1",
        ],
        7,
    ),
}


@pytest.fixture(scope="module")
def uninterrupted(bench, small_trial, tmp_path_factory):
    """The record and rows of a configuration run in one go; each only once."""
    known = {}

    def run(overrides):
        key = tuple(overrides)
        if key not in known:
            folder = tmp_path_factory.mktemp("whole")
            record = run_trial(job(folder, bench.cache, small_trial(*overrides)), bench)
            assert record.status == "complete", record.reason
            known[key] = record, rows(folder)
        return known[key]

    return run


COMMON = [
    *("training.max_steps=12", "training.eval_every=4", "training.weight_decay=0.01"),
    *("training.batch_size=2", "evaluation.max_new_tokens=3"),
]


@pytest.mark.parametrize(("overrides", "stop"), CASES.values(), ids=CASES)
def test_resumed_equals_uninterrupted(bench, small_trial, tmp_path, uninterrupted, overrides, stop):
    overrides = [*COMMON, *overrides]
    expected, expected_rows = uninterrupted(overrides)
    work = job(tmp_path, bench.cache, small_trial(*overrides))
    with pytest.raises(Interrupted, match=f"after step {stop}"):
        run_trial(work, bench, stopping=after(stop))
    assert not (tmp_path / "record.json").exists()
    assert (tmp_path / "checkpoint" / f"step-{stop}").is_dir()
    record = run_trial(replace(work, attempt=2), bench)
    assert record.status == "complete"
    assert record.measurements == expected.measurements
    assert rows(tmp_path) == expected_rows
    assert not (tmp_path / "checkpoint").exists()
    assert record.provenance["steps"] == 12


def test_stopped_twice(bench, small_trial, tmp_path, uninterrupted):
    overrides = [*COMMON, "method=adalora", "training.learning_rate=1e-2"]
    expected, expected_rows = uninterrupted(overrides)
    work = job(tmp_path, bench.cache, small_trial(*overrides))
    for stop in (2, 5):
        with pytest.raises(Interrupted):
            run_trial(work, bench, stopping=after(stop))
    record = run_trial(work, bench)
    assert record.measurements == expected.measurements
    assert rows(tmp_path) == expected_rows


class Killed(BaseException):
    """Like SIGKILL: nobody gets to write anything more."""


def killed_at(step, values):
    if step == 8:
        raise Killed
    return True


@pytest.mark.parametrize("tear", ["nothing", "newest cut", "newest empty", "all"])
def test_killed_with_and_without_a_corrupt_checkpoint(
    bench, small_trial, tmp_path, uninterrupted, capsys, tear
):
    """Checkpoints at 3 and 6, killed at 8: from 6, or from 3 if 6 is torn, or from the start."""
    overrides = [*COMMON, "method=lora", "method.lora_dropout=0.2", "training.checkpoint_every=3"]
    expected, expected_rows = uninterrupted(overrides)
    work = job(tmp_path, bench.cache, small_trial(*overrides))
    with pytest.raises(Killed):
        run_trial(work, bench, decide=killed_at)
    checkpoints = tmp_path / "checkpoint"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-3", "step-6"]
    newest = checkpoints / "step-6"
    if tear == "newest cut":
        data = (newest / "tensors.safetensors").read_bytes()
        (newest / "tensors.safetensors").write_bytes(data[:-7])
    elif tear == "newest empty":
        shutil.rmtree(newest)
        newest.mkdir()
    elif tear == "all":
        for path in checkpoints.iterdir():
            (path / "manifest.json").unlink()
    capsys.readouterr()
    seen = []
    record = run_trial(work, bench, decide=lambda step, values: seen.append(step) or True)
    assert seen == {"nothing": [8], "all": [4, 8]}.get(tear, [4, 8])
    assert ("is damaged" in capsys.readouterr().err) == (tear != "nothing")
    assert record.measurements == expected.measurements
    assert rows(tmp_path) == expected_rows


def test_asked_to_stop_during_an_evaluation(
    bench, small_trial, tmp_path, uninterrupted, monkeypatch
):
    """It is given up at its next batch; neither its steps nor the evaluation are missing later."""
    from harness.records import heartbeat
    from harness.trials import curve_watch

    monkeypatch.setattr(heartbeat, "ASK_SECONDS", 0.0)
    evaluating, real = [], curve_watch.evaluate_during_training

    def evaluate(*about):
        evaluating.append(1)
        found = real(*about)
        evaluating.append(-1)
        return found

    monkeypatch.setattr(curve_watch, "evaluate_during_training", evaluate)
    overrides = [*COMMON, *CASES["lora with dropout"][0]]
    expected, expected_rows = uninterrupted(overrides)
    evaluating.clear()
    work = job(tmp_path, bench.cache, small_trial(*overrides))
    with pytest.raises(Interrupted, match="stopped in the evaluation after step 4"):
        run_trial(work, bench, stopping=lambda: evaluating == [1])  # after the first steps
    assert [row["step"] for row in rows(tmp_path) if row["kind"] == "evaluation"] == [0]
    assert (tmp_path / "checkpoint" / "step-4").is_dir()
    record = run_trial(replace(work, attempt=2), bench)
    assert record.measurements == expected.measurements
    assert rows(tmp_path) == expected_rows


def test_asked_to_stop_in_the_measurements_at_the_end(bench, small_trial, tmp_path, monkeypatch):
    """A checkpoint after the last step, where steps take longer than it: none is repeated."""
    from harness.records import heartbeat
    from harness.training import resume
    from harness.trials import run

    monkeypatch.setattr(resume, "LAST_SECONDS", 0.0)
    trial = job(tmp_path, bench.cache, small_trial(*COMMON, "method=lora"))
    with monkeypatch.context() as patch:

        def measure(*about):
            raise heartbeat.WorkStopped

        patch.setattr(run, "measure", measure)
        with pytest.raises(Interrupted, match="stopped during the measurements"):
            run_trial(trial, bench)
    before = [row for row in rows(tmp_path) if row["kind"] == "train"]
    state = torch.load(tmp_path / "checkpoint" / "step-12" / "state.pt", weights_only=True)
    assert state["optimizer"] is None, "no further step needs it"
    steps, real = [], torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *about: steps.append(1) or real(self, *about)
    )
    record = run_trial(replace(trial, attempt=2), bench)
    assert record.status == "complete" and record.provenance["steps"] == 12
    assert len(before) == 12 and steps == [], "no step was repeated"
    assert not (tmp_path / "checkpoint").exists()


def test_a_job_survives_its_json(bench, small_trial, tmp_path):
    import json

    from harness.trials.job import Job

    work = job(tmp_path, bench.cache, small_trial("method=qlora"), searched={"method.r": "x"})
    assert Job.from_json(json.loads(json.dumps(work.to_json()))) == work
    assert from_mapping(type(work.config), work.to_json()["config"]) == work.config
