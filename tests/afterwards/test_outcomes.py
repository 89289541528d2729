"""Outcomes of a trial's model after training: merged, interpolated, analysed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from running import job
from safetensors.torch import load_file

from harness.afterwards import wanted
from harness.afterwards.interpolate import interpolate, weights
from harness.errors import InputError
from harness.evaluation.base_reference import _key
from harness.models.pool import checksums
from harness.records import read_record
from harness.trials.run import run_trial

ASKED = (
    "training.max_steps=6",
    "training.eval_every=6",
    "training.learning_rate=5e-3",
    "evaluation.merged=true",
    "evaluation.interpolation=[0,0.5,1]",
    "evaluation.update_analysis=true",
)
NAMES = ["merged", "interpolated 0", "interpolated 0.5", "interpolated 1", "update"]


@pytest.fixture(scope="module")
def run(bench, trial_config, tmp_path_factory):
    """`run("lora")`: (record, folder) of a trial of that method that was asked for all of it."""
    done = {}

    def ran(method, *overrides):
        key = (method, *overrides)
        if key not in done:
            folder = tmp_path_factory.mktemp(method)
            config = trial_config(f"method={method}", *ASKED, *overrides)
            done[key] = (
                run_trial(job(folder, bench.cache, config, keep_adapter=True), bench),
                folder,
            )
        return done[key]

    return ran


def values(outcome):
    return {name: m.value for name, m in outcome.measurements.items() if "logit" not in name}


LORA = ("lora", "method.r=4", "method.lora_alpha=8")


@pytest.mark.parametrize("method", [LORA, ("full",), ("adalora",)], ids=lambda method: method[0])
def test_merged_is_the_tuned_model_and_the_ends_are_base_and_tuned(run, method):
    record, folder = run(*method)
    assert list(record.afterwards) == NAMES
    assert record == read_record(folder)
    merged = record.afterwards["merged"]
    assert merged.bytes is not None and merged.bytes > 1e6
    # The stated tolerance, in logits of order 10.
    assert merged.measurements["merged.max_logit_difference"].value < 1e-4
    assert merged.measurements["merged.max_logit_difference"].n > 20
    for name, measured in record.measurements.items():
        assert values(merged)[name] == pytest.approx(measured.value, rel=1e-3, abs=1e-6), name
    assert values(record.afterwards["interpolated 1"]) == values(merged)
    base = values(record.afterwards["interpolated 0"])
    assert {name: base[name] for name in record.base if name in base} == {
        name: m.value for name, m in record.base.items() if name in base
    }
    forgetting = {name: value for name, value in base.items() if name.startswith("forgetting.")}
    assert forgetting and set(forgetting.values()) == {0.0}
    half = values(record.afterwards["interpolated 0.5"])
    assert 0 < half["forgetting.kl"] < values(merged)["forgetting.kl"]


def test_what_is_written_is_w0_plus_scaled_ba(run, lend):
    """W = W₀ + (α/r)·BA, by hand from the adapter's own file."""
    record, folder = run(*LORA)
    adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    written = load_file(folder / "merged" / "model.safetensors")
    with lend() as base:
        start = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    name = "model.layers.1.mlp.down_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    by_hand = start[f"{name}.weight"] + 8 / 4 * b @ a
    assert float((written[f"{name}.weight"] - by_hand).abs().max()) < 1e-6
    assert float((by_hand - start[f"{name}.weight"]).abs().max()) > 1e-4
    assert (folder / "merged" / "tokenizer_config.json").exists()
    # And the update is of rank 4 in all 28 layers, nothing else moved.
    update = json.loads((folder / "update.json").read_text())
    assert len(update["matrices"]) == 28 and update["other_tensors_changed"] == 0
    assert {row["rank"] for row in update["matrices"]} == {4}
    row = next(row for row in update["matrices"] if row["name"] == f"{name}.weight")
    assert (row["layer"], row["kind"]) == (1, "mlp.down_proj")
    change = (2 * b @ a).double()
    assert row["norm"] == pytest.approx(float(change.norm()), rel=1e-4)
    assert row["singular_values"] == pytest.approx(
        torch.linalg.svdvals(change)[:4].tolist(), rel=1e-3
    )
    summary = record.afterwards["update"].measurements
    moved = sum(row["norm"] ** 2 for row in update["matrices"])
    whole = sum(float(p.double().square().sum()) for p in start.values())
    assert summary["update.relative_norm"].value == pytest.approx((moved / whole) ** 0.5, rel=1e-4)
    assert summary["update.effective_rank"].n == 28


def test_full_fine_tuning_moves_everything_and_is_not_written_twice(run):
    record, folder = run("full")
    assert not (folder / "merged").exists()
    assert "adapter/" in record.afterwards["merged"].note
    update = json.loads((folder / "update.json").read_text())
    assert {row["kind"] for row in update["matrices"] if row["layer"] is None} == {"embed_tokens"}
    assert len(update["matrices"]) == 29 and update["other_tensors_changed"] == 9  # norms
    assert min(row["rank"] for row in update["matrices"]) > 16


def test_qlora_is_merged_into_the_base_at_full_precision(run):
    record, folder = run("qlora")
    merged = record.afterwards["merged"]
    assert "at full precision" in merged.note
    written = load_file(folder / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.float32}
    # The base's rounding is gone from it: not the model that was trained, and the ends say so.
    assert merged.measurements["merged.max_logit_difference"].value > 1e-2
    assert values(merged)["forgetting.kl"] != record.value("forgetting.kl")
    assert values(record.afterwards["interpolated 0"])["forgetting.kl"] == 0.0


def test_prompt_tuning_says_why_not(run):
    record, folder = run("prompt_tuning")
    assert list(record.afterwards) == ["merged", "interpolated", "update"]
    for outcome in record.afterwards.values():
        assert outcome.measurements == {} and outcome.bytes is None
        assert "not part of any weight" in outcome.note
    assert not (folder / "update.json").exists() and not (folder / "merged").exists()
    assert record == read_record(folder)


def test_nothing_unless_asked_and_kept(bench, trial_config, tmp_path):
    assert not wanted(trial_config("method=lora").evaluation)
    config = trial_config("method=lora", *ASKED, "training.max_steps=1")
    record = run_trial(job(tmp_path, bench.cache, config, keep_adapter=False), bench)
    assert record.status == "complete"
    assert record.afterwards == {}


def test_out_of_memory_costs_an_outcome_and_the_base_is_lent_again_as_it_was(
    run, bench, model_config, monkeypatch
):
    def no_room(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")

    with bench.pool.lend(model_config, None) as base:
        held, bits = base, checksums(base.model)
    monkeypatch.setattr("harness.afterwards.outcomes.evaluate", no_room)
    record, _ = run("lora", "method.r=1", "training.max_steps=1", "training.warmup_steps=0")
    assert record.status == "complete"
    assert record.afterwards["merged"].measurements == {}
    assert "out of memory" in record.afterwards["merged"].note
    assert record.afterwards["update"].measurements
    with bench.pool.lend(model_config, None) as base:
        assert base is held  # put back, not loaded again
        assert checksums(base.model) == bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_between_by_hand_and_the_ends_bit_for_bit(dtype):
    """θ_α = (1 − α)·θ₀ + α·θ₁."""
    torch.manual_seed(0)
    model, other = (torch.nn.Linear(7, 5).to(dtype) for _ in range(2))
    before, after = weights(model), weights(other)
    for share, expected in ((0, before), (1, after), (0.0, before), (1.0, after)):
        interpolate(model, before, after, share)
        assert all(torch.equal(p, expected[name]) for name, p in model.named_parameters())
    interpolate(model, before, after, 0.3)
    for name, p in model.named_parameters():
        by_hand = 0.7 * before[name].double() + 0.3 * after[name].double()
        assert torch.allclose(p.double(), by_hand, rtol=torch.finfo(dtype).eps, atol=1e-7)


def test_the_bases_own_measurements_do_not_depend_on_what_is_asked(trial_config, bench):
    config = trial_config("method=lora")
    texts = bench.inputs(config).final
    asked = replace(config.evaluation, merged=True, interpolation=[0.5], update_analysis=True)
    assert _key("base", texts, asked, None) == _key("base", texts, config.evaluation, None)
    other = replace(config.evaluation, max_new_tokens=7)
    assert _key("base", texts, other, None) != _key("base", texts, config.evaluation, None)


def test_shares_outside_0_and_1_are_refused(trial_config):
    with pytest.raises(InputError, match=r"evaluation.interpolation=1.5"):
        trial_config("method=lora", "evaluation.interpolation=[0.5,1.5]")
