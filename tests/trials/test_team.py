"""One trial over two real processes equals the same trial in one, but for the order of sums."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from running import NO_LIMITS, job
from teaming import assert_alike, rows, weights

from harness.data.tokens.batches import collate, count_labels
from harness.training import loop
from harness.training.distributed.team import (
    ALONE,
    LeaderExit,
    OutOfMemory,
    RankSignal,
    Team,
    TeamBroken,
)
from harness.training.loop import Interrupted
from harness.trials.follower import follow
from harness.trials.run import run_trial

STEPS = ("training.max_steps=6", "training.eval_every=4", "training.batch_size=3")
CASES = {
    "lora": ("method=lora", "training.learning_rate=1e-3"),
    "full": ("method=full", "training.learning_rate=1e-3", "training.optimizer=sgd"),
    "with a penalty and a budget": ("method=adalora", "training.learning_rate=1e-3"),
    "thawed layer by layer, after a stage before": (
        *("method=ulmfit", "method.lm_steps=3", "method.unfreeze_every_steps=1"),
        "training.optimizer=sgd",
    ),
    "held and disturbed": (
        *("method=lora", "training.optimizer=sgd", "training.learning_rate=0.05"),
        *("training.neftune_alpha=5", "training.token_mask_probability=0.1"),
        *("training.loss_average=sequence", "data.padding_quantile=0.9"),
        *("retention.replay_share=0.34", "retention.kl_weight=0.5"),
        *("retention.l2_sp_weight=0.1", "retention.ewc_weight=10", "retention.ewc_samples=2"),
    ),
}


@pytest.mark.parametrize("overrides", CASES.values(), ids=list(CASES))
def test_two_processes_train_as_one_does(run, small_trial, overrides):
    config = small_trial(*overrides, *STEPS)
    one, two = run("one", config, ranks=1), run("two", config)
    assert_alike(one, two)


# -- what the ranks decide


def after(n):
    """stopping(): true from the n-th time it is asked, that is before step n."""
    asked = []
    return lambda: asked.append(1) or len(asked) > n


def plain(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder)]


def followed(run, *jobs):
    """Steps of the second process, with or without notice that the first has ended."""

    def second(team):
        for own in jobs:
            with suppress(Interrupted, LeaderExit):
                follow(own, run.bench(team))

    return second


def test_stopped_and_gone_on_with_as_if_nothing_had_been(run, pair, small_trial, tmp_path, cache):
    """Bit for bit with as many processes, dropout and all; to rounding with another number."""
    dropping = small_trial("method=lora", "method.lora_dropout=0.2", *STEPS)
    exact = small_trial(*CASES["lora"], *STEPS)
    whole = {"same": run("whole", dropping), "fewer": run("alone", exact, ranks=1)}
    for name, config, ranks in (("same", dropping, 2), ("fewer", exact, 1)):
        own = job(tmp_path / name, cache, config, keep_adapter=True)
        with pair(followed(run, own)) as team, pytest.raises(Interrupted):
            run_trial(own, run.bench(team), stopping=after(3))
        assert len(rows(own.path)) == 3
        run(name, config, ranks)
    assert plain(whole["same"]) == plain(tmp_path / "same")
    for name, tensor in weights(whole["same"]).items():
        assert torch.equal(tensor, weights(tmp_path / "same")[name]), name
    assert_alike(whole["fewer"], tmp_path / "fewer")


def test_the_first_one_ends_a_trial_and_the_next_begins(run, pair, small_trial, tmp_path, cache):
    """By limits before training, what the method prepares being time, and by the driver's word."""
    config = small_trial(*CASES["lora"], *STEPS)
    named = {"too large": {"trainable_parameters": 10}, "too long": {"minutes": 1e-9}, "pruned": {}}
    jobs = [
        job(tmp_path / name, cache, config, limits=replace(NO_LIMITS, **limits))
        for name, limits in named.items()
    ]
    with pair(followed(run, *jobs)) as team:
        found = [run_trial(own, run.bench(team), lambda step, values: False) for own in jobs]
    assert [record.status for record in found] == ["infeasible", "infeasible", "pruned"]
    assert [record.provenance["steps"] for record in found] == [0, 0, 4]
    assert found[0].provenance["devices_per_trial"] == 2


@pytest.mark.parametrize("rows_that_fit", [1, 0])
def test_out_of_memory_on_one_device_is_that_of_both(
    run, pair, small_trial, tmp_path, cache, rows_that_fit
):
    config = small_trial(*CASES["lora"], *STEPS, "training.batch_size=4")
    own = job(tmp_path / "x", cache, config)
    real = loop.logits_at

    def limited(model, input_ids, *about):
        if len(input_ids) > rows_that_fit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(model, input_ids, *about)

    def second(team):
        loop.logits_at = limited  # in this process alone
        with suppress(OutOfMemory):
            follow(own, run.bench(team))

    with pair(second) as team:
        record = run_trial(own, run.bench(team))
    if rows_that_fit:
        assert record.status == "complete" and record.provenance["micro_batch_size"] == 1
        assert len(record.provenance["warnings"]) == 2
    else:
        assert record.status == "infeasible" and "one example" in record.reason


def test_a_process_that_exits_ends_the_others(run, pair, small_trial, tmp_path, cache):
    """It is no failed trial: there is no record, and the task is tried again."""
    own = job(tmp_path / "x", cache, small_trial(*CASES["lora"], *STEPS))
    real = loop.logits_at

    def second(team):
        calls = []

        def exit_at_third(*about):
            calls.append(1)
            if len(calls) == 3:
                os._exit(0)
            return real(*about)

        loop.logits_at = exit_at_third
        follow(own, run.bench(team))

    with pair(second) as team, pytest.raises(TeamBroken):
        run_trial(own, run.bench(team))
    assert not (own.path / "record.json").exists()


def test_labels_are_counted_as_batches_are_made(encoded):
    for longest in (None, 12):
        for indices in ([0, 1, 2], [5], [3, 1]):
            made = collate(encoded, indices, 0, longest)
            assert count_labels(encoded, indices, longest) == len(made.targets)


def test_shares_of_a_step_are_all_of_it():
    lengths = np.array([5, 9, 2, 7, 7])
    shares = [Team(rank, 3).share([4, 0, 1, 3, 2], lengths) for rank in range(3)]
    assert shares == [[1, 0], [3, 2], [4]]
    assert ALONE.agree(RankSignal.PRUNE) is RankSignal.PRUNE and ALONE.sums([1.5]) == [1.5]
