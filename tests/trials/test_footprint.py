"""Memory estimates from a few steps, against numbers counted by hand."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from running import job
from test_out_of_memory import scarce

from harness.models.pool import checksums
from harness.records import read_record
from harness.records.footprint import Footprint, beside_each_other
from harness.training.allocation import AllocationMeter
from harness.trials.cost import Clock
from harness.trials.footprints import measured_steps
from harness.trials.footprints.evaluation_seconds import scoring
from harness.trials.footprints.measured_steps import footprints
from harness.trials.run import run_trial
from harness.trials.tuning import Tuning, Watch

PLAIN = ("training.batch_size=4", "training.max_steps=6", "training.optimizer=adamw")


@pytest.fixture
def measure(bench, small_trial, tmp_path):
    def measured(*overrides, devices=1):
        config = small_trial(*PLAIN, *overrides)
        spec = {"configs": [asdict(config)], "devices": devices}
        return footprints(spec, tmp_path, bench)[0]

    return measured


def test_the_meter_counts_to_the_byte():
    meter = AllocationMeter("cpu")
    kept = torch.ones(250_000)
    gone = torch.ones(1_000_000)
    del gone
    assert meter.lap() == (1_000_000, 5_000_000)
    more = torch.ones(500)
    assert meter.lap() == (2000, 2000)
    meter.close()
    assert len(kept) + len(more) == 250_500


def test_full_fine_tuning_is_sixteen_bytes_a_parameter(measure, lend_small):
    """Weights, gradients and AdamW's two moments in 32 bits: 4, 4 and 8."""
    with lend_small() as base:
        n = sum(parameter.numel() for parameter in base.model.parameters())
    found = measure("method=full")
    assert found["weights_gb"] * 1e9 == pytest.approx(4 * n, rel=1e-3)  # and buffers
    assert found["gradients_gb"] * 1e9 == 4 * n
    assert found["optimizer_gb"] * 1e9 == pytest.approx(8 * n, rel=1e-3)
    assert found["infeasible"] is None and found["total_steps"] == 6
    assert found["step_seconds"] > 0 and found["answering_seconds"] > 0


def test_an_adapter_is_counted_beside_what_it_leaves_alone(measure, lend_small):
    with lend_small() as base:
        weights = sum(4 * parameter.numel() for parameter in base.model.parameters())
    one, two = (measure("method=lora", f"method.r={r}") for r in (4, 8))
    for part, bytes_each in (("gradients_gb", 4), ("optimizer_gb", 8)):
        assert two[part] == pytest.approx(2 * one[part], rel=0.01)
        assert one[part] * 1e9 == pytest.approx(
            bytes_each * (one["weights_gb"] * 1e9 - weights) / 4, rel=0.02
        )
    assert two["activations_gb"] < 1.2 * one["activations_gb"]


def test_the_optimizer_that_keeps_nothing(measure):
    assert measure("method=full", "training.optimizer=sgd")["optimizer_gb"] < 1e-4


def test_activations_grow_with_the_micro_batch_and_not_with_the_effective_one(measure):
    one, wide = (measure("method=lora", f"training.batch_size={n}") for n in (8, 32))
    long = measure("method=lora", "training.batch_size=8", "training.gradient_accumulation_steps=4")
    assert 3 < wide["activations_gb"] / one["activations_gb"] < 4.5
    assert long["activations_gb"] < 1.3 * one["activations_gb"]


def test_over_two_devices_each_has_half_of_the_step(measure):
    alone, half = measure("method=lora"), measure("method=lora", devices=2)
    assert half["activations_gb"] < 0.75 * alone["activations_gb"]


def test_layers_that_thaw_are_counted_when_all_have(measure):
    long = "training.max_steps=40"
    full, gradual = measure("method=full", long), measure("method=ulmfit", long)
    assert gradual["optimizer_gb"] == pytest.approx(full["optimizer_gb"], rel=0.01)


def test_what_does_not_fit_at_one_sequence_is_told_as_infeasible(measure, lend_small):
    with lend_small() as base:
        model = base.model  # the pool lends the same one again
    with scarce(model, lambda rows: True):
        found = measure("method=lora", "method.r=3")
    assert "one example at a time does not fit" in found["infeasible"]
    with scarce(model, lambda rows: rows in (3, 4)):  # five are answered at a time
        found = measure("method=lora", "method.r=5")
    assert found["infeasible"] is None and found["micro_batch_size"] == 2


def test_a_run_that_is_shorter_than_what_is_looked_at(measure):
    found = measure("method=lora", "training.max_steps=1")
    assert found["infeasible"] is None and found["total_steps"] == 1
    assert found["step_seconds"] > 0 and found["optimizer_gb"] > 0


def test_the_bytes_of_the_bases_log_probabilities_are_foretold(bench, small_trial, tmp_path):
    config = small_trial(*PLAIN)
    inputs = bench.inputs(config)
    held = bench.before(config, inputs)
    known = [r for ref in (held.watched, held.final) for r in (ref.general, ref.drift) if r]
    with bench.pool.lend(config.model, None) as base:
        of_job = job(tmp_path, bench.cache, config)
        tuning = Tuning(of_job, bench, inputs, base, Clock("cpu"), Watch(), dry=True)
        foretold = scoring(tuning, inputs, evaluations=1).reference_bytes
    assert foretold == sum(one.nbytes for one in known) > 0


def test_one_that_diverges_is_not_left_out_for_want_of_memory(measure):
    found = measure("method=full", "training.learning_rate=1e30", "training.max_grad_norm=null")
    assert found["infeasible"] is None and found["micro_batch_size"] == 0


def test_what_was_measured_with_too_little_memory_is_measured_again(measure, lend_small):
    with lend_small() as base:
        model = base.model
    for fails in (lambda rows: True, lambda rows: rows in (3, 4)):
        with scarce(model, fails):
            assert measure("method=lora", "method.r=9")["micro_batch_size"] < 4
    assert measure("method=lora", "method.r=9")["micro_batch_size"] == 4


def test_a_trial_after_it_is_the_trial_without_it(
    bench, small_trial, tmp_path, lend_small, measure
):
    config = small_trial(*PLAIN, "method=lora", "method.lora_dropout=0.3")
    run_trial(job(tmp_path / "a", bench.cache, config), bench)
    with lend_small() as base:
        before = checksums(base.model)
    measure("method=lora", "method.lora_dropout=0.3", "method.r=6")
    run_trial(job(tmp_path / "b", bench.cache, config), bench)
    with lend_small() as base:
        assert checksums(base.model) == before
    first, second = (read_record(tmp_path / name) for name in "ab")
    assert first is not None and second is not None
    values = [{n: m.value for n, m in r.measurements.items()} for r in (first, second)]
    assert values[0] == values[1]


def test_measured_once_a_cache(measure, bench):
    kept = bench.cache / "footprints"
    first = measure("method=lora", "method.r=7")
    n = len(list(kept.iterdir()))
    assert measure("method=lora", "method.r=7") | {"available_gb": 0} == first | {"available_gb": 0}
    assert len(list(kept.iterdir())) == n


def test_nothing_is_left_in_the_tasks_folder(measure, tmp_path):
    measure("method=full", "training.checkpoint_every=1", "training.select_checkpoint=best")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_peak_includes_what_others_leave_in_the_process(
    bench, small_trial, tmp_path, monkeypatch
):
    """The second configuration leaves 0.5 GB more than the first, which may be trained after it."""
    left = iter([1.0, 1.5])
    monkeypatch.setattr(measured_steps, "resident_gb", lambda _: next(left))
    own = (*PLAIN, "seed=977")  # not measured by another test
    configs = [asdict(small_trial(*own, f"method={name}")) for name in ("lora", "full")]
    found = footprints({"configs": configs, "devices": 1}, tmp_path, bench)
    alone = [Footprint(**values) for values in found]
    first, second = beside_each_other(alone)
    assert beside_each_other(alone[:1]) == alone[:1]
    for peak in ("peak_gb", "evaluation_peak_gb"):
        added = getattr(first, peak) - getattr(alone[0], peak)
        assert added == pytest.approx(0.5, abs=0.02)  # and the base
        assert getattr(second, peak) == getattr(alone[1], peak)
