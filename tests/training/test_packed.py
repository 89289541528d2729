"""A pack against the product's own loop: every member is what it would have been alone."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from running import adapted, fit

from harness.evaluation.likelihood import sequence_nll
from harness.models.quantization import Quantization
from harness.training.checkpoint import CheckpointFolder
from harness.training.criterion import Criterion
from harness.training.hooks import Diverged, Hooks, Interrupted
from harness.training.packed.layers import NotPackable
from harness.training.packed.loop import train_together
from harness.training.packed.member import Member
from harness.training.precision.autocast import accelerator_for

STEPS = 8
LOSS, WEIGHT = 1e-5, 1e-5  # as docs/several_gpus.md states: relative, and of each entry
# All that members may differ in.
OWN = (
    ("method.r=2", "training.learning_rate=3e-3", "method.lora_dropout=0.2", "seed=1"),
    ("method.r=8", "method.lora_alpha=4", "training.max_grad_norm=0.2", "seed=2"),
    ("method.r=5", "method.use_rslora=true", "training.schedule=cosine", "seed=3"),
    ("method.r=3", "method.lora_plus_ratio=8", "training.weight_decay=0.1", "seed=1"),
    ("method.r=4", "method.freeze_a=true", "training.max_grad_norm=null", "seed=4"),
)


@pytest.fixture(scope="module")
def configs(small_trial):
    return [small_trial("method=lora", "training.batch_size=4", *own) for own in OWN]


@pytest.fixture
def alone(lend_small, configs, encoded, tmp_path):
    """Return the rows of a configuration trained alone, and weights and scores after some steps."""

    def trained(number, *steps, scores=None):
        kept = {}

        def on_step(done, row):
            if row["step"] in steps:
                kept[row["step"]] = weights_of(done.model)
            if scores is not None and row["step"] % (STEPS // 4) == 0:
                scores.append(score(done.model, encoded))
                done.model.train()

        with lend_small() as base:
            folder = tmp_path / f"alone-{number}"
            done = fit(base, configs[number], encoded, folder, STEPS, on_step=on_step)
            return done.rows, kept

    return trained


def score(model, data):
    """Return the mean NLL of ``data``, by which a pruner would compare runs."""
    model.eval()
    return float(sequence_nll(model, data, 16, "cpu")[0].sum() / data.n_labels.sum())


def weights_of(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if "lora_" in n}


def member(base, config, data, folder, rows, go=lambda step: True, stop_before=math.inf):
    """Return a member that appends the rows of its steps to ``rows``."""
    done = adapted(base, config, data, STEPS)
    hooks = Hooks(
        on_begin=lambda step: None,
        on_step=rows.append,
        on_evaluation=go,
        on_checkpoint=lambda: None,
        stopping=lambda: len(rows) >= stop_before,
    )
    criterion = Criterion(data, config.training, config.seed, config.retention)
    about = (done.model, done.method, done.plan, config.training, config.seed, criterion)
    return Member(base.model, *about, CheckpointFolder(folder), hooks)


def ends_of(members):
    """Return the final weights of members, and leave the base as it was."""
    ends = []
    for each in members:
        with each.alone() as model:
            ends.append(weights_of(model))
    return ends


def same(rows, expected):
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for row, by_itself in zip(rows, expected, strict=True):
        assert set(row) == set(by_itself)
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(by_itself[name], rel=LOSS), (row["step"], name)


def same_weights(weights, expected):
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        assert torch.allclose(weight, expected[name], rtol=0, atol=WEIGHT), name


def test_each_member_is_its_run_alone(lend_small, configs, encoded, alone, tmp_path):
    """So are its scores during training, and so the runs that a pruner would stop."""
    rows, scores = [[] for _ in configs], [[] for _ in configs]
    with lend_small() as base:
        members = []

        def go(number, step):
            if step:
                scores[number].append(score(members[number].model, encoded))
            return True

        for number, config in enumerate(configs):
            watched = partial(go, number)
            about = (base, config, encoded, tmp_path / str(number), rows[number])
            members.append(member(*about, go=watched))
        train_together(members, encoded, accelerator_for("no", "cpu"))
        ends = ends_of(members)
    expected = [[] for _ in configs]
    for number, end in enumerate(ends):
        by_itself, kept = alone(number, STEPS, scores=expected[number])
        same(rows[number], by_itself)
        same_weights(end, kept[STEPS])
        assert scores[number] == pytest.approx(expected[number][:3], rel=LOSS)
    for rung in range(3):
        ranks = [np.argsort([own[rung] for own in found]).tolist() for found in (scores, expected)]
        assert ranks[0] == ranks[1]


def test_on_a_base_in_four_bits_too(pool, configs, encoded, tmp_path):
    model = replace(configs[0].model, compute_dtype="float32")
    rows = [[], []]
    with pool.lend(model, Quantization("nf4", True)) as base:
        members = [member(base, configs[k], encoded, tmp_path, rows[k]) for k in (0, 1)]
        train_together(members, encoded, accelerator_for("no", "cpu"))
    for number in (0, 1):
        with pool.lend(model, Quantization("nf4", True)) as base:
            same(
                rows[number],
                fit(base, configs[number], encoded, tmp_path / f"alone-{number}", STEPS).rows,
            )


def test_others_leave_and_a_stopped_pack_goes_on_alone(
    lend_small, configs, encoded, alone, tmp_path
):
    """Member 0 is pruned after 4 steps, 3 diverges, 1 fails; after 6 steps the pack is stopped."""
    rows = [[] for _ in configs]
    faulty = replace(configs[3].training, learning_rate=1e38)
    chosen = [*configs[:3], replace(configs[3], training=faulty)]

    class Failed(Exception):
        pass

    def go(number, step):
        if number == 1 and step:
            raise Failed
        return number != 0

    with lend_small() as base:
        members = [
            member(
                base,
                config,
                encoded,
                tmp_path / str(number),
                rows[number],
                go=lambda step, number=number: step == 2 or go(number, step),
                stop_before=6,
            )
            for number, config in enumerate(chosen)
        ]
        with pytest.raises(Interrupted):
            train_together(members, encoded, accelerator_for("no", "cpu"))
        ends = ends_of(members)
    assert [type(each.error) for each in members] == [type(None), Failed, type(None), Diverged]
    assert [each.progress.pruned for each in members] == [True, False, False, False]
    by_itself, kept = alone(0, 4)
    same(rows[0], by_itself[:4])
    same_weights(ends[0], kept[4])
    expected, kept = alone(2, 6, STEPS)
    same(rows[2], expected[:6])
    with lend_small() as base, pytest.raises(NotPackable, match="checkpoint"):
        member(base, configs[2], encoded, tmp_path / "2", [])
    with lend_small() as base:  # the ordinary loop goes on from it
        done = fit(base, configs[2], encoded, tmp_path / "2", STEPS)
        same(done.rows, expected[6:])
        same_weights(weights_of(done.model), kept[STEPS])


REFUSED = {
    "DoRA": ("method.use_dora=true",),
    "a changed base": ("method.init=pissa", "method.r=2"),
    "noise": ("training.neftune_alpha=5",),
    "a penalty": ("retention.l2_sp_weight=0.1",),
}


@pytest.mark.parametrize("case", REFUSED)
def test_runs_that_cannot_be_packed_are_refused(case, lend_small, small_trial, encoded, tmp_path):
    config = small_trial("method=lora", *REFUSED[case])
    with lend_small() as base, pytest.raises(NotPackable):
        member(base, config, encoded, tmp_path, [])


def test_a_base_with_dropout_of_its_own_is_refused(lend_small, configs, encoded, tmp_path):
    with lend_small() as base:
        for module in base.model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.1
        pack = [member(base, c, encoded, tmp_path, []) for c in configs[:2]]
        with pytest.raises(NotPackable, match="random"):
            train_together(pack, encoded, accelerator_for("no", "cpu"))
        for module in base.model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.0


def test_a_base_in_eight_bits_is_refused(pool, configs, encoded, tmp_path):
    with (
        pool.lend(configs[0].model, Quantization("int8", False)) as base,
        pytest.raises(NotPackable, match="int8"),
    ):
        member(base, configs[0], encoded, tmp_path, [])
