"""Too little memory: smaller pieces of the same step, and where one example does not fit, the end.

The error is a real one of the CPU's allocator, raised in the middle of a forward pass.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from running import fit, job

from harness.records import read_jsonl
from harness.trials.run import Workbench, run_trial

STEPS = ("training.max_steps=4", "training.eval_every=2", "training.batch_size=8")
DROPOUT = ("method=lora", "method.lora_dropout=0.3", *STEPS)


@contextmanager
def scarce(model, fails):
    """``fails(rows)``: whether a forward pass over so many sequences finds no memory."""
    seen = []

    def allocate(module, inputs, named):
        ids, positions = named.get("input_ids"), named.get("position_ids")
        rows = len(named["inputs_embeds"] if ids is None else ids)
        if rows == 1 and positions is not None:  # texts end to end
            rows = max(1, int((positions == 0).sum()))
        seen.append(rows)
        if fails(rows):
            torch.empty(2**58, dtype=torch.uint8)

    handle = model.register_forward_pre_hook(allocate, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.fixture(scope="module")
def bench(tmp_path_factory, pool):
    bench = Workbench("cpu", tmp_path_factory.mktemp("cache"))
    bench.pool = pool
    return bench


def losses(folder):
    return [row["loss"] for row in read_jsonl(folder / "metrics.jsonl") if row["kind"] == "train"]


def test_halved_it_is_the_run_with_that_micro_batch(lend_small, small_trial, encoded, tmp_path):
    """To the bit, dropout included: the step that failed leaves no random number used up."""
    config = small_trial(*DROPOUT)
    halves = {"batch_size": 4, "gradient_accumulation_steps": 2}
    with lend_small() as base:
        expected = fit(base, config, encoded, tmp_path / "a", steps=4, **halves)
    with lend_small() as base, scarce(base.model, lambda rows: rows > 4) as seen:
        done = fit(base, config, encoded, tmp_path / "b", steps=4)
    assert done.losses == expected.losses
    assert seen == [8] + [4, 4] * 4, "the effective batch is still 8"
    assert done.progress.micro_batch_size == 4 and "halved to 4" in done.progress.warnings[0]


def test_later_it_is_halved_from_there_on(lend_small, small_trial, encoded, tmp_path):
    config = small_trial("method=full", *STEPS)
    with lend_small() as base:
        expected = fit(base, config, encoded, tmp_path / "a", steps=4)
    calls = []
    with lend_small() as base, scarce(base.model, lambda rows: calls.append(1) or len(calls) == 3):
        done = fit(base, config, encoded, tmp_path / "b", steps=4)
    assert done.losses[:2] == expected.losses[:2]
    assert done.losses == pytest.approx(expected.losses, rel=1e-5)


def test_what_never_fits_is_infeasible_and_the_worker_goes_on(
    bench, small_trial, tmp_path, lend_small
):
    config = small_trial(*DROPOUT)
    before = run_trial(job(tmp_path / "a", bench.cache, config), bench)
    training = []
    with lend_small() as base:
        model = base.model

    def while_training(rows):
        training.append(torch.is_grad_enabled())
        return training[-1]

    with scarce(model, while_training):
        record = run_trial(job(tmp_path / "b", bench.cache, config), bench)
    assert any(training), "the same base is lent"
    assert record.status == "infeasible" and "one example at a time" in record.reason
    assert record.measurements == {} and record.provenance["micro_batch_size"] == 1
    assert [w.split(",")[0] for w in record.provenance["warnings"]] == [
        f"out of memory: micro-batch halved to {n}" for n in (4, 2, 1)
    ]
    assert not (tmp_path / "b" / "checkpoint").exists()
    again = run_trial(job(tmp_path / "c", bench.cache, config), bench)
    assert again.measurements == before.measurements
    assert losses(tmp_path / "c") == losses(tmp_path / "a")


def test_in_the_optimizer_no_gradient_stays_in_the_base(
    bench, small_trial, tmp_path, lend_small, monkeypatch
):
    """The base is unchanged and lent again: gradients would count as the next one's memory."""

    def step(self, *about, **named):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with lend_small() as base:
        model = base.model
    config = small_trial("method=full", *STEPS)
    record = run_trial(job(tmp_path, bench.cache, config), bench)
    assert record.status == "infeasible" and "CUDA out of memory" in record.reason
    with lend_small() as base:
        assert base.model is model, "it was kept"
        assert all(parameter.grad is None for parameter in model.parameters())


def test_in_the_measurements_at_the_end(bench, small_trial, tmp_path, lend_small, monkeypatch):
    from harness.trials import run

    def measure(*about):
        torch.empty(2**58, dtype=torch.uint8)

    monkeypatch.setattr(run, "measure", measure)
    config = small_trial(*DROPOUT)
    record = run_trial(job(tmp_path, bench.cache, replace(config, seed=5)), bench)
    assert record.status == "infeasible" and "final measurements" in record.reason
    assert "\n" not in record.reason


def test_other_errors_are_no_lack_of_memory(lend_small, small_trial, encoded, tmp_path):
    def fails(rows):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"), lend_small() as base, scarce(base.model, fails):
        fit(base, small_trial("method=full"), encoded, tmp_path, steps=1)
