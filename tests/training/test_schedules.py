"""Slanted triangular rates worked by hand, and properties that hold for every length of run."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from harness.training import schedules


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0003125),
        (1, 0.000409375),
        (50, 0.00515625),
        (99, 0.009903125),
        (100, 0.01),
        (101, 0.009989236111),
        (550, 0.00515625),
        (999, 0.000323263889),
        (1000, 0.0003125),
    ],
)
def test_stlr_is_the_papers_where_the_cut_is_whole(step, rate):
    assert 0.01 * schedules.stlr(step, 1000) == pytest.approx(rate, rel=1e-8)


def test_stlr_stays_within_its_triangle():
    for total in range(1, 201):
        rates = [schedules.stlr(step, total, 0.1, 32) for step in range(total + 1)]
        assert min(rates) >= 1 / 32, total  # as printed, T=105 ends below zero
        peak = math.floor(total * 0.1)
        assert rates[peak] == max(rates) == 1.0, total
        assert rates[:peak] == sorted(rates[:peak]), total
        falling = rates[peak:]
        assert all(high > low for high, low in pairwise(falling)), total
        assert rates[-1] == pytest.approx(1 / 32), total


@pytest.mark.parametrize("total", [1, 5, 9])
def test_stlr_of_a_run_too_short_to_rise(total):
    assert schedules.stlr(0, total) == 1.0


def test_cosine_is_torchs_own():
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=17, eta_min=0)
    for step in range(17):
        assert schedules.cosine(step, 17) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        scheduler.step()


def test_linear_is_transformers_own():
    import torch
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, 13)
    for step in range(13):
        assert schedules.linear(step, 13) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "stlr"])
@pytest.mark.parametrize("warmup", [0, 4, 50])
def test_every_schedule_warms_up_and_never_stops(trial_config, schedule, warmup):
    config = replace(
        trial_config("method=full").training, schedule=schedule, warmup_steps=warmup, ratio=32
    )
    rates = [schedules.factor(config, step, 20) for step in range(20)]
    assert all(0 < rate <= 1 for rate in rates)
    rising = rates[: min(warmup, 20)]
    assert rising == pytest.approx([(step + 1) / (warmup + 1) for step in range(len(rising))])
    if warmup < 20 and schedule != "stlr":
        assert rates[warmup] == 1.0


@pytest.mark.parametrize("warmup", [0, 3])
def test_the_lowest_rate_is_transformers_own(trial_config, warmup):
    """Cosine with min_lr_rate; a polynomial of power 1 that ends at lr_end. After the warm-up."""
    import torch
    from transformers import (
        get_cosine_with_min_lr_schedule_with_warmup,
        get_polynomial_decay_schedule_with_warmup,
    )

    theirs = {
        "cosine": lambda o: get_cosine_with_min_lr_schedule_with_warmup(
            o, warmup, 20, min_lr_rate=0.1
        ),
        "linear": lambda o: get_polynomial_decay_schedule_with_warmup(o, warmup, 20, lr_end=0.1),
    }
    for schedule, scheduler_for in theirs.items():
        training = trial_config("method=full").training
        config = replace(
            training, schedule=schedule, warmup_steps=warmup, min_learning_rate_ratio=0.1
        )
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = scheduler_for(optimizer)
        for step in range(20):
            if step >= warmup:
                (rate,) = scheduler.get_last_lr()
                assert schedules.factor(config, step, 20) == pytest.approx(rate), (schedule, step)
            optimizer.step()
            scheduler.step()


def test_a_lowest_rate_of_zero_changes_no_bit(trial_config):
    for schedule, shape in (("linear", schedules.linear), ("cosine", schedules.cosine)):
        config = replace(trial_config("method=full").training, schedule=schedule, warmup_steps=0)
        assert config.min_learning_rate_ratio == 0
        for step in range(37):
            assert schedules.factor(config, step, 37) == shape(step, 37)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.1, 0.5])
@pytest.mark.parametrize("total", [7, 100, 333])
def test_a_share_warms_up_as_long_as_in_transformers(trial_config, share, total):
    from transformers import TrainingArguments

    config = replace(trial_config("method=full").training, warmup_share=share, warmup_steps=99)
    expected = TrainingArguments(output_dir="x", warmup_steps=share, report_to=[])
    assert schedules.warmup_steps(config, total) == expected.get_warmup_steps(total)
