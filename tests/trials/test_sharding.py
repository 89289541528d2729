"""A trial whose model is split over two real processes equals the same trial in one."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from itertools import chain

import pytest
import torch
from running import after, job
from sweeping import composed
from teaming import assert_alike, rows, weights

from harness import methods
from harness.errors import InputError
from harness.records import read_record
from harness.training import loop
from harness.training.distributed.shardable import check_shardable
from harness.training.distributed.team import NoRoom, Team, TeamBroken
from harness.training.loop import Interrupted
from harness.trials.check import check
from harness.trials.follower import follow
from harness.trials.run import Workbench, run_trial

STEPS = (
    *("training.max_steps=6", "training.eval_every=4", "training.batch_size=3"),
    *("evaluation.max_new_tokens=2", "data.validation_limit=2", "evaluation.watched_examples=2"),
)
LORA = ("method=lora", "training.learning_rate=1e-3")
CASES = {
    "full": ("method=full", "training.learning_rate=1e-3"),
    "lora": LORA,
    "dora, held and disturbed": (
        *("method=dora", "training.learning_rate=1e-3", "training.gradient_checkpointing=true"),
        *("training.neftune_alpha=5", "training.loss_average=sequence"),
        *("retention.replay_share=0.34", "retention.kl_weight=0.5"),
    ),
    "full, in bfloat16": (
        *("method=full", "training.learning_rate=1e-4", "model.dtype=bfloat16"),
        "training.precision=bf16",
    ),
    "after a stage before": (
        *("method=ulmfit", "method.unfreezing=last", "method.lm_steps=2"),
        "training.optimizer=sgd",
    ),
}


def wide(name):
    """Return what bfloat16 may change: one other token in five short answers is half a point."""
    return 1.0 if name.endswith(("bleu", "chrf", "unfinished")) else 0.01


@pytest.mark.parametrize("overrides", CASES.values(), ids=list(CASES))
def test_parts_train_as_the_whole_does(run, small_trial, pool, overrides):
    """And what was frozen has the bits it had: the base is lent again, and not loaded anew."""
    config = small_trial(*overrides, *STEPS)
    one = run("one", config, ranks=1)
    before = [pooled.base for pooled in pool._kept.values()]
    two = run("two", config, shards=True)
    exact = config.model.dtype == "float32"
    assert_alike(one, two, rel=1e-5 if exact else 0.02)
    assert [pooled.base for pooled in pool._kept.values()] == before
    assert len(before) == (overrides[0] in ("method=lora", "method=dora"))
    expected, found = read_record(one), read_record(two)
    assert found.status == "complete" and found.provenance["sharding"] == "fsdp"
    assert expected.measurements.keys() == found.measurements.keys()
    for name, measured in expected.measurements.items():
        assert found.measurements[name].value == pytest.approx(
            measured.value, rel=1e-4 if exact else 0.02, abs=1e-6 if exact else wide(name)
        )


def plain(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder)]


def test_stopped_and_gone_on_with(run, pair, small_trial, tmp_path, cache):
    """Bit for bit as parts again, dropout and all; to rounding from parts to whole, and back."""
    dropping = small_trial("method=lora", "method.lora_dropout=0.2", *STEPS)
    exact = small_trial(*LORA, *STEPS)
    through = run("through", dropping, shards=True)
    whole = run("whole", exact, ranks=1)
    goes_on = {
        "same": (dropping, 2, True),
        "to one": (exact, 1, False),
        "from one": (exact, 2, True),
    }
    for name, (config, ranks, shards) in goes_on.items():
        own = job(tmp_path / name, cache, config, keep_adapter=True)

        def second(team, own=own):
            with suppress(Interrupted):
                follow(own, run.bench(team))

        if name == "from one":
            with pytest.raises(Interrupted):
                run(name, config, ranks=1, stopping=after(3))
        else:
            with pair(second, shards=True) as team, pytest.raises(Interrupted):
                run_trial(own, run.bench(team), stopping=after(3))
        assert len(rows(own.path)) == 3
        run(name, config, ranks, shards)
    assert plain(through) == plain(tmp_path / "same")
    for name, tensor in weights(through).items():
        assert torch.equal(tensor, weights(tmp_path / "same")[name]), name
    assert_alike(whole, tmp_path / "to one")
    assert_alike(whole, tmp_path / "from one")


def held_bytes(model, optimizer):
    """Return the bytes of weights, gradients and optimizer state in this process."""

    def local(tensors):
        here = [getattr(t, "_local_tensor", t).untyped_storage() for t in tensors]
        return sum({storage.data_ptr(): storage.nbytes() for storage in here}.values())

    parameters = list(model.parameters())
    states = chain.from_iterable(state.values() for state in optimizer.state.values())
    gradients = [p.grad for p in parameters if p.grad is not None]
    return {"weights": local(parameters), "gradients": local(gradients), "state": local(states)}


def test_each_process_holds_half(run, pair, small_trial, tmp_path, cache, monkeypatch):
    """Measured at the end of a step's optimizer, when gradients are still there."""
    build, wrap_for_training = loop.build_optimizer, loop.wrap_for_training
    held = []

    def watched(model, team, device):
        held.append((model, wrap_for_training(model, team, device), team))
        return held[-1][1]

    def building(*about):
        optimizer, warnings = build(*about)

        def measure(optimizer, *arguments):
            model, own, team = held[-1]
            found = held_bytes(own.model, optimizer)
            found["plain"] = 0 if model is own.model else held_bytes(model, optimizer)["weights"]
            (tmp_path / f"{team.shards}-{team.rank}.json").write_text(json.dumps(found))

        optimizer.register_step_post_hook(measure)
        return optimizer, warnings

    monkeypatch.setattr(loop, "wrap_for_training", watched)
    monkeypatch.setattr(loop, "build_optimizer", building)
    config = small_trial("method=full", "training.max_steps=2", "training.eval_every=9")
    for shards in (False, True):
        run(f"{shards}", config, shards=shards)
    whole, *_, first, second = (
        json.loads((tmp_path / f"{shards}-{rank}.json").read_text())
        for shards in (False, True)
        for rank in (0, 1)
    )
    assert whole["gradients"] == whole["weights"] and whole["state"] > 2 * whole["weights"]
    for part in (first, second):
        assert part["plain"] == 0
        for name in ("weights", "gradients", "state"):
            assert 0.45 * whole[name] < part[name] < 0.55 * whole[name], name


def test_out_of_memory_on_one_device_ends_both(run, pair, small_trial, tmp_path, cache):
    own = job(tmp_path / "x", cache, small_trial(*LORA, *STEPS))
    real, calls = loop.logits_at, []

    def second(team):
        def limited(*about):
            calls.append(1)
            if len(calls) == 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return real(*about)

        loop.logits_at = limited  # in this process alone
        try:
            follow(own, run.bench(team))
        except NoRoom:
            os._exit(7)

    with pair(second, shards=True, fate=7) as team, pytest.raises(TeamBroken):
        run_trial(own, run.bench(team))
    assert read_record(own.path) is None


REFUSED = {
    "method=qlora": "method=lora",
    "model.quantization=nf4": "model.quantization=none",
    "method=adalora": "gradients",
    "method=ulmfit": "method.unfreezing=full",
    "method=importance_mask": "whole weights",
    "method=prompt_tuning": "virtual tokens",
    "method=peft": "share",
    "training.optimizer=adafactor": "adamw",
    "training.precision=fp16": "bf16",
    "retention.ewc_weight=1": "kl_weight",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_be_split_is_refused_with_what_works(small_trial, override):
    overrides = [override] if override.startswith("method=") else ["method=lora", override]
    config = small_trial(*overrides)
    with pytest.raises(InputError) as raised:
        check_shardable(config, methods.build(config.method))
    said = str(raised.value)
    assert "launcher.sharding=fsdp" in said and REFUSED[override] in said
    assert override.split("=")[0] in said and override.split("=")[1] in said


def test_one_device_has_nobody_to_share_with():
    assert composed("method=full")[0].launcher.sharding == "none"
    with pytest.raises(InputError, match=r"launcher\.sharding=.*devices_per_trial=1"):
        composed("method=full", "launcher.sharding=fsdp")
    two = composed("method=full", "launcher.sharding=fsdp", "launcher.devices_per_trial=2")
    assert two[0].launcher.sharding == "fsdp"


def test_it_is_refused_before_anything_is_spent(small_trial, tmp_path):
    spec = {"opens_test": False, "configs": [asdict(small_trial("method=adalora"))]}
    with pytest.raises(InputError, match=r"launcher\.sharding=fsdp .* method=adalora"):
        check(spec, Workbench("cpu", tmp_path, Team(0, 2, shards=True)))
