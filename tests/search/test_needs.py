"""Exactly the configurations that do not fit are left out, on a simulated device."""

from __future__ import annotations

import itertools

import pytest
from sweeping import FakeLauncher, composed, drive

from harness.errors import InputError
from harness.records.footprint import Footprint
from harness.records.plan_file import FILE
from harness.search.limits import check_reachable
from harness.search.planning.memory_fit import find_needs, has_size
from harness.search.planning.needs import read_needs, write_needs

ROOM = 10.0  # GB
SWEEP = ("name=s", "search.trials=4", "confirm.finalists=0", "tracking=none")
RANKS = "method.r=choice(2,4,8,16,32,64)"


def made_up(a_rank=0.0, a_row=0.0, base=1.0, kinds=None):
    """A measure of so many GB for each rank, row and kind of layers; and what it was asked for."""
    asked = []

    def measure(pairs):
        found = []
        for plan, values in pairs:
            config = plan.trial(values)
            asked.append(dict(values))
            layers = config.method.get("target_modules")
            gb = base + a_rank * (config.method.get("r") or 0) + a_row * config.training.batch_size
            gb += (kinds or {}).get(layers if isinstance(layers, str) else "list", 0.0)
            found.append(Footprint("toy", ROOM, 100, gb, step_seconds=0.1))
        return found

    return measure, asked


def needs_of(measure, *arguments, sharing=1):
    sweep, plans = composed(*SWEEP, *arguments)
    return find_needs(list(plans.values()), sweep, sharing, measure), plans, sweep


def test_what_fits_is_measured_twice_and_left_alone():
    measure, asked = made_up(a_rank=0.1)
    needs, plans, _ = needs_of(measure, "method=lora", RANKS)
    assert [values["method.r"] for values in asked] == [8, 64]
    assert needs["lora"].cut(plans["lora"]).space == plans["lora"].space
    assert not needs["lora"].left_out


@pytest.mark.parametrize(("a_rank", "left"), [(0.2, (2, 4, 8, 16, 32)), (0.5, (2, 4, 8, 16))])
def test_a_choice_is_cut_where_it_ends_to_fit(a_rank, left):
    needs, plans, _ = needs_of(made_up(a_rank=a_rank)[0], "method=lora", RANKS)
    cut = needs["lora"].cut(plans["lora"])
    assert cut.space["method.r"].values == left
    assert cut.space["training.learning_rate"] == plans["lora"].space["training.learning_rate"]
    assert "method.r" in needs["lora"].left_out[0] and "only choice(2" in needs["lora"].left_out[0]


def test_each_number_by_itself_with_the_others_at_their_smallest():
    """Against trying every configuration: a value stays exactly if some configuration with it fits."""
    ranks, rows = (2, 4, 8, 16, 32, 64), (1, 4, 16, 64)
    measure, _ = made_up(a_rank=0.2, a_row=0.15)
    batches = f"training.batch_size=choice({','.join(map(str, rows))})"
    needs, plans, _ = needs_of(measure, "method=lora", RANKS, batches)
    plan = plans["lora"]
    fitting = {
        (r, n)
        for r, n in itertools.product(ranks, rows)
        if measure([(plan, {"method.r": r, "training.batch_size": n})])[0].peak_gb <= ROOM
    }
    cut = needs["lora"].cut(plan).space
    assert set(cut["method.r"].values) == {r for r, _ in fitting} != set(ranks)
    assert set(cut["training.batch_size"].values) == {n for _, n in fitting} != set(rows)


def test_intervals_of_whole_and_of_real_numbers():
    whole = "method.r=tag(int,interval(1,64))"
    needs, plans, _ = needs_of(made_up(a_rank=0.2)[0], "method=lora", whole)
    cut = needs["lora"].cut(plans["lora"]).space["method.r"]
    assert (cut.low, cut.high) == (1, 45), "1 + 0.2 r ≤ 10"

    def measure(pairs):  # of masks: the more is trained the more it takes
        found = [plan.trial(values).method["keep_ratio"] for plan, values in pairs]
        return [Footprint("toy", ROOM, 100, 1 + 20 * share) for share in found]

    real = "method.keep_ratio=tag(log,interval(0.001,1.0))"
    needs, plans, _ = needs_of(measure, "method=random_mask", real)
    cut = needs["random_mask"].cut(plans["random_mask"]).space["method.keep_ratio"]
    assert cut.low == 0.001 and 0.3 < cut.high <= 0.45, "what is not known to fit is left out"


def test_of_kinds_those_that_fit_stay():
    kinds = "method.target_modules=choice(all-linear,[q_proj])"
    measure, _ = made_up(kinds={"all-linear": 20.0})
    needs, plans, _ = needs_of(measure, "method=lora", kinds)
    cut = needs["lora"].cut(plans["lora"]).space["method.target_modules"]
    assert [list(value) for value in cut.values] == [["q_proj"]]


def test_a_method_of_which_nothing_fits_is_told_once_and_never_begun(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    measure, _ = made_up(base=20.0)
    needs, _, _ = needs_of(measure, "method=lora")
    small, _, _ = needs_of(made_up()[0], "method=full")
    launcher = FakeLauncher()
    records = drive(launcher, *SWEEP, "method=lora,full", needs=needs | small)
    assert {job.method for job in launcher.submitted} == {"full"}
    (lora,) = [record for record in records if record.method == "lora"]
    assert lora.status == "infeasible" and lora.reason is not None
    assert "20.00 GB" in lora.reason and "10.00 GB" in lora.reason
    assert sum(record.method == "full" for record in records) == 4


def test_only_what_fits_is_begun_whoever_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = "search.configs=[{method.r: 64}, {method.r: 4}]"
    needs, _, _ = needs_of(made_up(a_rank=1.2)[0], "method=lora", RANKS, named)
    launcher = FakeLauncher()
    records = drive(launcher, *SWEEP, "method=lora", RANKS, named, needs=needs)
    ranks = [job.config.method["r"] for job in launcher.submitted]
    assert set(ranks) <= {2, 4} and ranks[0] == 4, "8 is the default, 64 was named"
    assert len(records) == 4
    assert "{'method.r': 64} of search.configs" in needs["lora"].left_out[1]


def test_earlier_trials_that_would_not_fit_here_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    earlier = drive(FakeLauncher(), *SWEEP, "name=earlier", "search.trials=8", "method=lora", RANKS)
    assert max(record.config["method"]["r"] for record in earlier) > 4
    needs, _, _ = needs_of(made_up(a_rank=1.2)[0], "method=lora", RANKS)
    launcher = FakeLauncher()
    warm = "search.warm_start=[runs/earlier]"
    drive(launcher, *SWEEP, "method=lora", RANKS, warm, needs=needs)
    assert {job.config.method["r"] for job in launcher.submitted} <= {2, 4}


def test_more_workers_than_a_device_holds_are_refused():
    two = ("method=lora", "launcher.workers=2")
    with pytest.raises(InputError, match=r"launcher\.workers=2 .* 6\.00 GB .* 1 a device"):
        needs_of(made_up(base=6.0)[0], *two, sharing=2)
    assert not needs_of(made_up(base=4.0)[0], *two, sharing=2)[0]["lora"].left_out


def test_the_users_limit_counts_like_the_devices():
    limit = ("method=lora", RANKS, "limits.peak_memory_gb=5")
    needs, plans, _ = needs_of(made_up(a_rank=0.2)[0], *limit)
    assert max(needs["lora"].cut(plans["lora"]).space["method.r"].values) == 16
    assert "limits.peak_memory_gb=5" in (needs["lora"].measured[1].too_large or "")


@pytest.mark.parametrize(("gb", "fits"), [(6.0, True), (2 * ROOM, False)])
def test_an_evaluation_counts_against_the_device_and_not_against_the_users_limit(gb, fits):
    def measure(asked):
        return [Footprint("toy", ROOM, 100, 1.0, evaluation_peak_gb=gb) for _ in asked]

    needs, *_ = needs_of(measure, "method=lora", "limits.peak_memory_gb=5")
    why = needs["lora"].none_fits
    assert (why is None) == fits
    assert fits or "in an evaluation; toy has" in str(why)


def test_limits_that_no_method_can_keep_are_refused_before_anything_is_spent():
    """By parameters and memory for sure; by time with room for a machine that is busy now."""

    def refused(*limits, trained=1000, seconds=1.0):
        def measure(asked):
            of = {"micro_batch_size": 8, "step_seconds": seconds, "trainable_parameters": trained}
            return [Footprint("toy", ROOM, 60, 1.0, **of) for _ in asked]

        needs, plans, _ = needs_of(measure, "method=lora,full", *limits)
        sweep, _ = composed("method=lora,full", *limits)
        try:
            check_reachable(sweep.limits, list(plans.values()), needs)
        except InputError as error:
            return str(error)
        return None

    assert refused("limits.trainable_parameters=1000", "limits.minutes=1") is None
    few = refused("limits.trainable_parameters=999")
    assert few and "lora: 1,000 trainable parameters; limits.trainable_parameters=999" in few
    small = refused("limits.peak_memory_gb=0.5")
    assert small and "1.00 GB in a measured step; limits.peak_memory_gb=0.5" in small
    assert refused("limits.minutes=1", seconds=4.9) is None, "a caution of the plan"
    slow = refused("limits.minutes=1", seconds=5.1)
    assert slow and slow.startswith("limits.minutes=1.0 cannot be used") and "about 6.1" in slow


def test_where_one_of_several_killed_the_worker_each_is_asked_for_alone():
    one_by_one, _ = made_up(a_rank=0.1)

    def measure(pairs):
        return None if len(pairs) > 1 else one_by_one(pairs)

    needs, _, _ = needs_of(measure, "method=lora,full", RANKS)
    assert len(needs["lora"].measured) == 2 and len(needs["full"].measured) == 1


def test_written_and_read_again(tmp_path):
    needs, plans, _ = needs_of(made_up(a_rank=0.2)[0], "method=lora,full", RANKS)
    write_needs(tmp_path, needs)
    assert read_needs(tmp_path, list(plans.values())) == needs
    (tmp_path / FILE).write_text('{"lora": {"measured": 3}}')
    assert read_needs(tmp_path, list(plans.values()))["lora"].measured == []


def test_switched_off_nothing_is_asked():
    measure, asked = made_up(base=99.0)
    needs, plans, _ = needs_of(measure, "method=lora", "launcher.measure=false")
    assert not asked and needs["lora"].cut(plans["lora"]).space == plans["lora"].space


def test_which_keys_have_a_size():
    assert all(map(has_size, ["method.r", "data.max_length", "training.batch_size"]))
    without = ["training.learning_rate", "method.lora_dropout", "method.lora_alpha"]
    assert not any(map(has_size, [*without, "training.weight_decay", "training.warmup_steps"]))
