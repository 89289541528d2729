"""A trial from job to record: how it may end, and that nothing is made up."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from running import NO_LIMITS, job

from harness.errors import InputError
from harness.records import read_jsonl, read_record
from harness.training import loop
from harness.trials.run import Workbench, run_trial

STEPS = ("training.max_steps=8", "training.eval_every=2")
COSTS = {
    "train_seconds",
    "evaluation_seconds",
    "base_seconds",
    "overhead_seconds",
    "peak_memory_gb",
    "tokens_per_second",
    "trainable_parameters",
    "total_parameters",
    "trainable_percent",
    "percent_at_rate",
}


def of_kind(folder, kind):
    return [row for row in read_jsonl(folder / "metrics.jsonl") if row["kind"] == kind]


def test_complete(bench, trial_config, tmp_path, splits):
    config = trial_config("method=lora", "method.r=4", *STEPS)
    record = run_trial(job(tmp_path, bench.cache, config, keep_adapter=True), bench)
    assert record.status == "complete"
    assert record == read_record(tmp_path)
    assert record.reason is None
    wanted = {"perplexity", "bits_per_byte", "bleu", "chrf"}
    assert {f"validation.{name}" for name in wanted} <= set(record.measurements)
    assert {f"validation.{name}" for name in wanted} <= set(record.base)
    assert not [name for name in record.measurements if name.startswith("test.")]
    domains = list(splits.general)
    for kind in ("kl", "nll"):
        assert {f"forgetting.{kind}.{d}" for d in domains} <= set(record.measurements)
    worst = record.measurements["forgetting.nll.worst_domain"]
    assert worst.value == max(record.measurements[f"forgetting.nll.{d}"].value for d in domains)
    assert set(record.cost) >= COSTS
    assert record.cost["trainable_parameters"] == 163_840 // 4  # r=16 has four times as many
    assert record.cost["trainable_parameters_final"] == 163_840 // 4
    assert record.cost["adapter_bytes"] == 4 * 163_840 // 4
    assert record.cost["total_parameters"] == 984_192 + 163_840 // 4
    rows = of_kind(tmp_path, "train")
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["step"] for row in of_kind(tmp_path, "evaluation")] == [0, 2, 4, 6, 8]
    final = of_kind(tmp_path, "evaluation")[-1]["measurements"]
    assert final == {name: m.value for name, m in record.measurements.items()}
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    predictions = read_jsonl(tmp_path / "predictions.jsonl")
    assert len(predictions) == len(splits.validation) == 5
    assert all(row["base"] is not None for row in predictions)
    share = {"unfinished": record.measurements, "base_unfinished": record.base}
    for mark, measured in share.items():
        marked = [row[mark] for row in predictions]
        assert 100 * sum(marked) / len(marked) == measured["validation.unfinished"].value
    items = {row["measurement"]: row["statistics"] for row in read_jsonl(tmp_path / "items.jsonl")}
    assert set(record.measurements) <= set(items)
    json.dumps(record.to_json(), allow_nan=False)


def test_the_size_that_match_derived_is_in_the_record(bench, trial_config, tmp_path):
    """An MLP writes the prefix while training; what is kept is the prefix."""
    config = trial_config(
        "method=prefix_tuning",
        "method.encoder_hidden_size=4",
        "method.match.trainable_parameters=9000",
        "training.max_steps=2",
    )
    record = run_trial(job(tmp_path, bench.cache, config, keep_adapter=True), bench)
    mlp = (128 + 1) * 4 + (4 + 1) * 1024  # 4 layers of keys and values, 128 wide
    n = (9000 - mlp) // 128
    assert record.provenance["derived"] == {"num_virtual_tokens": n}
    assert record.config["method"]["num_virtual_tokens"] == 10  # as it was asked for
    trained = mlp + n * 128
    assert record.cost["trainable_parameters"] == trained
    assert record.cost["trainable_parameters_final"] == n * 1024
    assert record.cost["adapter_bytes"] == 4 * n * 1024
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    assert 0 < file.stat().st_size - 4 * n * 1024 < 1000  # the header
    total = record.cost["total_parameters"]
    assert total == 984_192 + trained
    assert record.cost["trainable_percent"] == pytest.approx(100 * trained / total, abs=1e-5)


def test_items_give_the_measurements_again(bench, small_trial, tmp_path):
    """Per-example statistics aggregate to the recorded scores."""
    import numpy as np

    from harness.statistics.scores import aggregate

    record = run_trial(
        job(tmp_path, bench.cache, small_trial("method=prompt_tuning", *STEPS)), bench
    )
    for row in read_jsonl(tmp_path / "items.jsonl"):
        name = row["measurement"]
        value = float(aggregate(name, np.asarray(row["statistics"])))
        measured = record.measurements[name]
        assert value == pytest.approx(measured.value, rel=1e-5, abs=2e-6), name
        assert measured.n == len(row["statistics"])


def test_confirm_opens_the_test_split_and_the_tasks(bench, small_trial, tmp_path):
    config = small_trial("method=lora", "stage=confirm", *STEPS)
    record = run_trial(job(tmp_path, bench.cache, config), bench)
    assert record.status == "complete"
    measured = set(record.measurements)
    assert "test.bleu" in measured
    assert not [name for name in measured if name.startswith("validation.")]
    assert "forgetting.tasks" in measured
    assert len([name for name in measured if name.startswith("forgetting.tasks.")]) >= 3
    kl = record.measurements["forgetting.kl"]
    assert "text:general-test" in kl.signature
    # The curve is still the validation split's: test is opened once, at the end.
    curve = of_kind(tmp_path, "evaluation")[0]["measurements"]
    assert "validation.perplexity" in curve
    assert not [name for name in curve if name.startswith("test.")]
    assert [row.get("final") for row in of_kind(tmp_path, "evaluation")] == [*4 * [None], True]


def test_nobody_is_asked_before_the_method_lets_its_curve_be_compared(bench, small_trial, tmp_path):
    asked = []
    config = small_trial("method=adalora", "method.initial_warmup_fraction=0.5", *STEPS)
    run_trial(
        job(tmp_path, bench.cache, config, asks_pruner=True),
        bench,
        lambda step, values: bool(asked.append(step)),  # stops at once
    )
    assert asked == [6], "4 of 8 steps are warm-up"
    rows = of_kind(tmp_path, "evaluation")
    early = [row["step"] for row in rows if row.get("comparable") is False]
    assert early == [2, 4]


def test_pruned_at_the_second_evaluation(bench, small_trial, tmp_path):
    asked = []

    def decide(step, values):
        asked.append((step, values["forgetting.kl"]))
        return step < 4

    config = small_trial("method=lora", *STEPS)
    record = run_trial(job(tmp_path, bench.cache, config, asks_pruner=True), bench, decide)
    assert record.status == "pruned"
    assert record.reason == "stopped at step 4 of 8"
    assert [step for step, _ in asked] == [2, 4]
    assert 0 < asked[0][1] < asked[1][1]
    assert record.measurements == {}
    assert [row["step"] for row in of_kind(tmp_path, "train")] == [1, 2, 3, 4]


def test_diverged_has_its_step_and_no_made_up_number(bench, small_trial, tmp_path, monkeypatch):
    real, calls = loop.logits_at, []

    def poisoned(*arguments):
        calls.append(1)
        return real(*arguments) * (math.nan if len(calls) == 4 else 1.0)

    monkeypatch.setattr(loop, "logits_at", poisoned)
    record = run_trial(job(tmp_path, bench.cache, small_trial("method=lora", *STEPS)), bench)
    assert record.status == "diverged"
    assert "nan at step 4" in record.reason
    assert record.measurements == {}
    assert record.value("forgetting.kl") is None
    assert [row["step"] for row in of_kind(tmp_path, "train")] == [1, 2, 3]
    assert not (tmp_path / "checkpoint").exists()
    assert record == read_record(tmp_path)


def test_a_rate_that_is_far_too_high_measures_or_diverges_but_invents_nothing(
    bench, small_trial, tmp_path
):
    rate = ("training.learning_rate=1e6", "training.max_grad_norm=null", "training.optimizer=sgd")
    record = run_trial(job(tmp_path, bench.cache, small_trial("method=full", *rate, *STEPS)), bench)
    assert record.status == "diverged"
    assert record.measurements == {}


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"trainable_parameters": 1000}, "163,840 trainable parameters; limits.trainable_param"),
        ({"minutes": 1e-5}, "minutes; limits.minutes=1e-05"),
        ({"peak_memory_gb": 0.001}, "GB in training; limits.peak_memory_gb=0.001"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_limits(bench, trial_config, tmp_path, limit, reason):
    work = job(tmp_path, bench.cache, trial_config("method=lora", "method.r=16", *STEPS))
    record = run_trial(replace(work, limits=replace(NO_LIMITS, **limit)), bench)
    assert record.status == "infeasible"
    assert reason in record.reason
    assert record.measurements == {}
    # Said at the first evaluation, before training: what the method prepares counts as its time.
    assert of_kind(tmp_path, "train") == []


def test_out_of_memory_at_one_example_is_infeasible(bench, small_trial, tmp_path, monkeypatch):
    def never(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(loop, "logits_at", never)
    record = run_trial(job(tmp_path, bench.cache, small_trial("method=lora", *STEPS)), bench)
    assert record.status == "infeasible"
    assert "one example at a time" in record.reason
    assert record.measurements == {}


def test_out_of_memory_of_the_optimizers_state_is_infeasible(
    bench, small_trial, tmp_path, monkeypatch
):
    def no_room(self, closure=None):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    monkeypatch.setattr(torch.optim.AdamW, "step", no_room)
    record = run_trial(job(tmp_path, bench.cache, small_trial("method=lora", *STEPS)), bench)
    assert record.status == "infeasible"
    assert "out of memory" in record.reason


def test_halved_micro_batch_is_in_the_record(bench, small_trial, tmp_path, monkeypatch):
    config = small_trial("method=lora", "training.batch_size=8", *STEPS)
    expected = run_trial(job(tmp_path / "a", bench.cache, config), bench)
    real = loop.logits_at

    def limited(model, input_ids, *rest):
        if len(input_ids) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(model, input_ids, *rest)

    monkeypatch.setattr(loop, "logits_at", limited)
    record = run_trial(job(tmp_path / "b", bench.cache, config), bench)
    assert record.status == "complete"
    assert record.provenance["warnings"] == [
        "out of memory: micro-batch halved to 4, the effective batch is unchanged"
    ]
    assert expected.provenance["warnings"] == []
    for name in ("validation.perplexity", "forgetting.kl"):
        assert record.value(name) == pytest.approx(expected.value(name), rel=1e-3)


@pytest.mark.parametrize("method", ["full", "ulmfit"])
def test_training_quantized_weights_is_refused(small_trial, method):
    """Said when it is composed: nothing was loaded."""
    with pytest.raises(InputError, match=r"trains the base's own weights"):
        small_trial(f"method={method}", "model.quantization=nf4")


def test_the_same_trial_twice_gives_the_same_record(bench, small_trial, tmp_path):
    """Warm and cold alike: what an earlier trial did to the bench does not show."""
    config = small_trial("method=lora", "method.lora_dropout=0.3", *STEPS)
    first = run_trial(job(tmp_path / "a", bench.cache, config), bench)
    run_trial(job(tmp_path / "x", bench.cache, small_trial("method=full", *STEPS)), bench)
    again = run_trial(job(tmp_path / "b", bench.cache, config), bench)
    cold = Workbench("cpu", tmp_path / "cache")
    fresh = run_trial(job(tmp_path / "c", tmp_path / "cache", config), cold)
    assert first.measurements == again.measurements == fresh.measurements
    assert first.base == again.base == fresh.base


def test_trials_on_the_same_texts_share_them(bench, small_trial):
    config = small_trial("method=lora")
    first = bench.inputs(config)
    assert bench.inputs(replace(config, seed=config.seed + 1)) is first
    assert bench.inputs(replace(config, stage="confirm")).final.split == "test"
    assert bench.inputs(config).final.split == "validation"


def test_quantization_loss_and_forgetting_are_told_apart(bench, small_trial, tmp_path):
    """A QLoRA adapter that does not move: far from the full base, not from the quantized one."""
    still = ("training.max_steps=1", "training.learning_rate=1e-30", "training.eval_every=1")
    config = small_trial("method=qlora", *still)
    record = run_trial(job(tmp_path, bench.cache, config), bench)
    assert record.status == "complete"
    assert record.value("forgetting.kl") > 1e-4
    assert abs(record.value("forgetting.nll")) > 1e-6
    assert record.value("forgetting_from_quantized.kl") == 0.0
    assert record.value("forgetting_from_quantized.nll") == 0.0
    assert record.provenance["model"]["quantization"] == "nf4"


def test_a_base_quantized_by_the_user_is_its_own_base(bench, small_trial, tmp_path):
    still = ("training.max_steps=1", "training.learning_rate=1e-30", "training.eval_every=1")
    config = small_trial("method=lora", "model.quantization=nf4", *still)
    record = run_trial(job(tmp_path, bench.cache, config), bench)
    assert record.status == "complete"
    assert record.value("forgetting.kl") == 0.0
    assert "forgetting_from_quantized.kl" not in record.measurements
