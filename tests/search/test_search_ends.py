"""In which order methods are searched, and when a search ends: budgets in any currency, and stops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from sweeping import FakeLauncher, Killed, composed, drive, measurement

from harness.config.search_space import Choice, Interval
from harness.search.early_stop import Stopping
from harness.search.untried import untried, widest_gap
from harness.statistics.pareto import hypervolume, reference_point

TWO = ("method=full,lora", "name=s", "search.trials=6", "confirm.finalists=0")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def methods(launcher):
    return [job.method for job in launcher.submitted]


def test_methods_take_turns():
    """So that a sweep that is cut off has seen all of them equally far; and it goes on so."""
    launcher = FakeLauncher(fault=lambda job: "killed before" if job.trial == 3 else None)
    with pytest.raises(Killed):
        drive(launcher, *TWO)
    assert methods(launcher) == ["full", "lora"] * 3 + ["full"]
    rest = FakeLauncher()
    drive(rest, *TWO)
    assert methods(rest) == ["full", "lora"] * 3


@pytest.mark.parametrize("seed", range(4))
def test_nobody_waits_where_the_sampler_repeats_what_is_running(seed):
    class Watched(FakeLauncher):
        def poll(self):
            assert not self.has_room() or len(self.submitted) == 4
            return super().poll()

    few = ("method=lora", f"name=s{seed}", f"seed={seed}", "confirm.finalists=0", "search.trials=4")
    launcher = Watched(slots=2)
    drive(launcher, *few, "method.r=choice(2,4,8,16,32)", "training.learning_rate=1e-3")
    assert len({job.fingerprint for job in launcher.submitted}) == len(launcher.submitted) == 4


def test_no_barrier_between_methods():
    """While one method's last trial is running, the other workers are on the next method."""
    idle = []

    class Slow(FakeLauncher):
        """The first trial of all takes as long as the others together."""

        def poll(self):
            idle.append(self.slots - len(self._running))
            self._running.sort(key=lambda each: each[1] is self.submitted[0], reverse=True)
            return super().poll()

    drive(Slow(slots=3), *TWO)
    assert not any(idle[:-2]), "all three work until no trial is left to begin"


@pytest.mark.parametrize(
    ("budget", "cost"),
    [
        ("search.seconds=25", {"train_seconds": 10.0}),
        ("search.tokens=2500", {"train_seconds": 10.0, "tokens_per_second": 100.0}),
        ("search.gpu_hours=0.25", {"train_seconds": 300.0, "evaluation_seconds": 60.0}),
    ],
)
def test_budgets_in_other_currencies(budget, cost):
    """Three trials reach what is set, each method has its own, failed trials have spent it too."""

    def fault(job):
        status = "failed" if job.trial == 1 else "complete"
        return "record", {"cost": cost, "status": status}

    launcher = FakeLauncher(fault=fault)
    drive(launcher, *TWO, budget)
    assert sorted(methods(launcher)) == ["full"] * 3 + ["lora"] * 3
    stopped = json.loads(Path("runs/s/stopped.json").read_text())
    assert {name: stop["trials"] for name, stop in stopped.items()} == {"full": 3, "lora": 3}
    assert "used up" in stopped["lora"]["reason"]
    again = FakeLauncher()
    drive(again, *TWO, budget)
    assert again.submitted == []


def test_stopped_is_stopped():
    """The front does not grow: both end early, and a resumed sweep knows it even without the study.

    LoRA goes on until it has tried each of its ranks.
    """
    flat = {"validation.bleu": 5.0, "forgetting.kl": 0.1}

    def fault(job):
        worse = {"validation.bleu": -1.0 * job.trial, "forgetting.kl": 0.1 * job.trial}
        values = {name: flat[name] + worse[name] for name in flat}
        return "record", {"measurements": {n: measurement(v) for n, v in values.items()}}

    asked = (*TWO, "search.trials=30", "search.stop=expected", "search.stop_trials=4")
    launcher = FakeLauncher(fault=fault)
    drive(launcher, *asked)
    assert methods(launcher).count("full") == 7  # 4 + 2 objectives + 1
    ranks = [job.config.method["r"] for job in launcher.submitted if job.method == "lora"]
    assert 7 <= len(ranks) < 30 and ranks.index(ranks[-1]) == len(ranks) - 1
    assert {*ranks} == {2, 4, 8, 16, 32, 64}
    reason = json.loads(Path("runs/s/stopped.json").read_text())["full"]["reason"]
    assert "not grown by more than 1 % over the last 4 trials" in reason
    Path("runs/s/study.db").unlink()
    again = FakeLauncher()
    drive(again, *asked)
    assert again.submitted == []


def trials_of(rows):
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    return [
        optuna.create_trial(
            params={"x": x}, distributions=space, values=values, user_attrs={"standard_error": 0.5}
        )
        for x, values in rows
    ]


def judge(folder, trials, *ways, untried=None):
    sweep, _ = composed("method=full")
    search = replace(sweep.search, stop="expected", stop_trials=5)
    objectives = dict(zip(("validation.bleu", "forgetting.kl"), ways, strict=False))
    stopping = Stopping(folder / "stopped.json", "full", search, objectives)
    return stopping.expects_nothing(lambda: trials, lambda: untried)


def test_a_front_that_grows_is_not_stopped(tmp_path):
    growing = [(0.1, [n, 1 / (n + 1)]) for n in range(20)]
    assert judge(tmp_path, trials_of(growing), "maximize", "minimize") is None
    stuck = growing[:6] + [(0.1, [1.0, 0.9])] * 5
    assert judge(tmp_path, trials_of(stuck), "maximize", "minimize") is not None
    assert judge(tmp_path, trials_of(stuck), "maximize", "minimize", untried="method.r") is None
    assert judge(tmp_path, trials_of(stuck[:-1]), "maximize", "minimize") is None


@pytest.mark.parametrize(
    ("dimension", "values", "gap"),
    [
        (Interval(0.0, 1.0), [], 1.0),
        (Interval(0.0, 1.0), [0.2, 0.9], 0.7),
        (Interval(1e-5, 1e-2, log=True), [1e-5, 1e-3, 1e-2], 2 / 3),
        (Interval(1, 3, integer=True), [1, 2, 3], 0.0),
        (Interval(1, 3, integer=True), [3], 2 / 3),
        (Interval(2, 64, log=True, integer=True), [*range(2, 65)], 0.0),
        (Interval(0, 8, integer=True, step=4), [0, 8], 1 / 3),
    ],
)
def test_the_widest_part_of_a_range_that_was_not_tried(dimension, values, gap):
    assert widest_gap(dimension, values) == pytest.approx(gap)


def test_a_setting_is_untried_while_a_third_of_it_is():
    space = {"x": Interval(0.0, 1.0), "r": Choice((4, 8))}
    tried = [{"x": x, "r": 4} for x in (0.1, 0.4, 0.7)]
    assert untried(space, tried[:2]) == "x"
    assert untried(space, tried) == "r"
    assert untried(space, [*tried, {"x": 0.1, "r": 8}]) is None


def test_the_largest_gain_in_quality_is_not_overlooked(tmp_path):
    """The newest trial is the best by far, and the most forgetful: the worst of all in forgetting."""
    rows = [(0.1, [20 + n / 10, 0.02 + n / 1000]) for n in range(12)]
    late = [*rows, (0.9, [75.0, 0.9])]
    assert judge(tmp_path, trials_of(rows), "maximize", "minimize") is None, "it still grows"
    settled = rows + [(0.2, [19.0, 0.5])] * 6
    assert judge(tmp_path, trials_of(settled), "maximize", "minimize") is not None
    gained = [*settled[:-1], late[-1]]
    assert judge(tmp_path, trials_of(gained), "maximize", "minimize") is None
    over = [*settled, late[-1]] + [(0.2, [19.0, 0.5])] * 6
    assert judge(tmp_path, trials_of(over), "maximize", "minimize") is not None


def test_the_corner_is_where_the_base_is_and_no_dominated_trial_moves_it():
    ways = ["maximize", "minimize"]
    points = [[70.0, 0.2], [80.0, 1.0], [60.0, 0.1]]
    base = [10.0, 0.0]
    assert reference_point(points, ways, base) == pytest.approx([10 - 7, 1.1])
    assert reference_point(points, ways) == pytest.approx([60 - 2, 1.09])
    assert reference_point(points, ways, [None, 0.0]) == reference_point(points, ways)
    for beaten in ([2.0, 50.0], [0.0, 0.05]):  # by a trial, and by the base
        assert reference_point([*points, beaten], ways, base) == pytest.approx([3, 1.1])
    assert reference_point([[5.0, 1.0], [3.0, 2.0]], ways) == pytest.approx([2.8, 2.1])
    covered = [hypervolume([p], ways, reference_point(points, ways, base)) for p in points]
    assert min(covered) > 0, "the ends count too"


def test_one_objective_ends_when_the_regret_left_is_small(tmp_path):
    """A parabola that has been tried everywhere; not one that has been tried at one end only."""
    everywhere = [(x, [100 - 400 * (x - 0.5) ** 2]) for x in np.linspace(0, 1, 40)]
    assert "standard error" in judge(tmp_path, trials_of(everywhere), "maximize")
    assert judge(tmp_path, trials_of(everywhere[:19]), "maximize") is None, "too few"
    one_end = [(x, [100 - 400 * (x - 0.9) ** 2]) for x in np.linspace(0, 0.3, 40)]
    assert judge(tmp_path, trials_of(one_end), "maximize") is None


def test_volumes_in_three_dimensions_by_counting():
    rng = np.random.default_rng(0)
    points = rng.random((12, 3))
    grid = rng.random((40_000, 3))
    inside = (points[None] <= grid[:, None]).all(2).any(1).mean()
    found = hypervolume(points, ["minimize"] * 3, [1.0] * 3)
    assert found == pytest.approx(inside, abs=0.01)
    flat = hypervolume(points[:, :2], ["minimize"] * 2, [1.0] * 2)
    assert hypervolume(np.c_[points[:, :2], np.zeros(12)], ["minimize"] * 3, [1.0] * 3) == (
        pytest.approx(flat)
    )
