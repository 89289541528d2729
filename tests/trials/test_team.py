"""One trial over two real processes equals the same trial in one, but for the order of sums."""

from __future__ import annotations

import os
import traceback
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
from running import NO_LIMITS, job
from safetensors.torch import load_file
from torch import distributed

from harness.data.batches import collate, count_labels
from harness.records import read_jsonl
from harness.training import loop
from harness.training.loop import Interrupted
from harness.training.team import ALONE, Left, OutOfMemory, Say, Team, TeamBroken
from harness.trials.follow import follow
from harness.trials.run import Workbench, run_trial


@pytest.fixture
def pair(tmp_path, pool):
    """`with pair(second) as team`: this process is rank 0; a fork of it runs `second(team)`."""

    @contextmanager
    def begun(second):
        file = str(tmp_path / f"meet-{len(list(tmp_path.iterdir()))}")
        child = os.fork()
        rank = 0 if child else 1
        if rank:
            code = 1
            try:
                meet(file, rank)
                second(Team(rank, 2))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        meet(file, rank)
        try:
            yield Team(rank, 2)
        finally:
            distributed.destroy_process_group()
            _, status = os.waitpid(child, 0)
        assert status == 0

    def meet(file, rank):
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        store = distributed.FileStore(file, 2)
        distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60)
        )

    return begun


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(tmp_path, cache, pool, pair):
    """`run(name, config, ranks=2)` → the folder of a finished trial."""

    def bench(team):
        made = Workbench("cpu", cache, team)
        made.pool = pool
        return made

    def finished(name, config, ranks=2, stopping=lambda: False, **changes):
        own = job(tmp_path / name, cache, config, keep_adapter=True, **changes)
        if ranks == 1:
            run_trial(own, bench(ALONE), stopping=stopping)
        else:
            with pair(lambda team: follow(own, bench(team))) as team:
                run_trial(own, bench(team), stopping=stopping)
        return own.path

    finished.bench = bench
    return finished


def rows(folder, kind="train"):
    return [row for row in read_jsonl(folder / "metrics.jsonl") if row["kind"] == kind]


def weights(folder):
    (file,) = (folder / "adapter").glob("*.safetensors")
    return load_file(file)


def assert_alike(one, other):
    """To 1e-5: each loss, each norm of a gradient, and the weights as one vector.

    (Not each weight: Adam makes a step of a gradient that is next to nothing, sign and all.)
    """
    assert len(rows(one)) == len(rows(other)) > 0
    for a, b in zip(rows(one), rows(other), strict=True):
        assert a.keys() == b.keys() and a["tokens"] == b["tokens"]
        for name in a.keys() - {"kind", "seconds"}:
            assert a[name] == pytest.approx(b[name], rel=1e-5, abs=1e-7), (a["step"], name)
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    whole, apart = (
        torch.cat([f(name).flatten().double() for name in expected])
        for f in (lambda name: expected[name], lambda name: expected[name] - found[name])
    )
    assert apart.norm() <= 1e-5 * whole.norm()


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
def test_two_processes_train_as_one_does(run, trial_config, overrides):
    config = trial_config(*overrides, *STEPS)
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
    """What the second process does: one after another, told or not that the first has ended."""

    def second(team):
        for own in jobs:
            with suppress(Interrupted, Left):
                follow(own, run.bench(team))

    return second


def test_stopped_and_gone_on_with_as_if_nothing_had_been(run, pair, trial_config, tmp_path, cache):
    """Bit for bit with as many processes, dropout and all; to rounding with another number."""
    dropping = trial_config("method=lora", "method.lora_dropout=0.2", *STEPS)
    exact = trial_config(*CASES["lora"], *STEPS)
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


def test_the_first_one_ends_a_trial_and_the_next_begins(run, pair, trial_config, tmp_path, cache):
    """By a limit before training, one in its middle, and the driver's word."""
    config = trial_config(*CASES["lora"], *STEPS)
    named = {"too large": {"trainable_parameters": 10}, "too long": {"minutes": 1e-9}, "pruned": {}}
    jobs = [
        job(tmp_path / name, cache, config, limits=replace(NO_LIMITS, **limits))
        for name, limits in named.items()
    ]
    with pair(followed(run, *jobs)) as team:
        found = [run_trial(own, run.bench(team), lambda step, values: False) for own in jobs]
    assert [record.status for record in found] == ["infeasible", "infeasible", "pruned"]
    assert [record.provenance["steps"] for record in found] == [0, 4, 4]
    assert found[0].provenance["devices_per_trial"] == 2


@pytest.mark.parametrize("rows_that_fit", [1, 0])
def test_out_of_memory_on_one_device_is_that_of_both(
    run, pair, trial_config, tmp_path, cache, rows_that_fit
):
    config = trial_config(*CASES["lora"], *STEPS, "training.batch_size=4")
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


def test_a_process_that_dies_breaks_the_others(run, pair, trial_config, tmp_path, cache):
    """It is no failed trial: there is no record, and the task is tried again."""
    own = job(tmp_path / "x", cache, trial_config(*CASES["lora"], *STEPS))
    real = loop.logits_at

    def second(team):
        calls = []

        def dies(*about):
            calls.append(1)
            if len(calls) == 3:
                os._exit(0)
            return real(*about)

        loop.logits_at = dies
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
    assert ALONE.agree(Say.PRUNE) is Say.PRUNE and ALONE.sums([1.5]) == [1.5]
