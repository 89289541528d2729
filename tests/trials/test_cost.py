"""Peaks of memory by phase: what an evaluation takes is not training's, nor is it held to its limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from running import NO_LIMITS

from harness.training.loop import Progress
from harness.trials.cost import Clock, Infeasible, check_limits


def use(megabytes: int) -> None:
    np.ones(megabytes * 10**6, np.uint8).sum()


def test_an_evaluations_peak_is_a_figure_of_its_own():
    clock = Clock("cpu")
    with clock.spent_on("base"):
        use(300)
    clock.base_is_ready()
    use(50)
    with clock.spent_on("evaluation"):
        use(200)
    use(100)
    cost = clock.cost(Progress(), None)
    training, evaluation = cost["peak_memory_gb"], cost["evaluation_peak_memory_gb"]
    assert 0.08 < evaluation - training < 0.12
    limit = replace(NO_LIMITS, peak_memory_gb=(training + evaluation) / 2)
    check_limits(limit, clock)
    with pytest.raises(Infeasible, match=r"GB in training; limits\.peak_memory_gb="):
        use(200)
        check_limits(limit, clock)


def test_what_was_not_evaluated_has_no_such_figure():
    assert "evaluation_peak_memory_gb" not in Clock("cpu").cost(Progress(), None)
