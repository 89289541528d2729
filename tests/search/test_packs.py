"""Packs: which trials a worker is given together, and what happens to each when one is lost."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from sweeping import FakeLauncher, composed, drive

from harness.errors import InputError
from harness.records import read_record
from harness.records.footprint import Footprint
from harness.search.packs import MOST, MOST_ON_A_CPU, check_packs, pack_sizes, packs_in_words
from harness.search.planning.needs import UNKNOWN, MeasuredConfig, MethodMemory

SWEEP = (
    *("method=lora,full", "name=s", "search.trials=7", "search.sampler=random"),
    *("confirm.finalists=1", "confirm.seeds=2", "launcher.pack=3"),
)
GPU = Footprint(
    device="a GPU",
    available_gb=24.0,
    total_steps=100,
    peak_gb=6.0,
    weights_gb=4.0,
    gradients_gb=0.1,
    optimizer_gb=0.2,
    activations_gb=1.5,
    micro_batch_size=8,
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def sizes_of(launcher, method):
    return [len(task) for task in launcher.tasks if task[0].method == method]


def test_search_trials_of_a_method_go_together_and_nothing_else_changes():
    alone, packed = FakeLauncher(), FakeLauncher()
    expected = drive(alone, *SWEEP, "launcher.pack=1", "name=alone")
    records = drive(packed, *SWEEP)
    assert sizes_of(packed, "lora") == [3, 3, 1, 1, 1], "confirmations are alone"
    assert sizes_of(packed, "full") == [1] * 9
    assert {r.fingerprint: r.value("validation.bleu") for r in records} == {
        r.fingerprint: r.value("validation.bleu") for r in expected
    }
    assert not Path("runs/s/packs").exists() or not list(Path("runs/s/packs").rglob("record.json"))


def test_workers_share_what_is_left():
    launcher = FakeLauncher(slots=2)
    drive(launcher, *SWEEP, "method=lora", "launcher.pack=7", "confirm.finalists=0")
    assert sizes_of(launcher, "lora") == [1] * 7, (
        "search trials are in the report: each has its costs"
    )
    launcher = FakeLauncher(slots=2)
    drive(launcher, *SWEEP, "method=lora", "launcher.pack=7", "name=t")
    assert sizes_of(launcher, "lora")[:3] == [4, 2, 1]


def test_trials_of_other_batches_are_in_other_packs():
    launcher = FakeLauncher()
    searched = "training.batch_size=choice(2,4)"
    drive(launcher, *SWEEP, "method=lora", searched, "search.trials=9")
    packs = [{job.config.training.batch_size for job in task} for task in launcher.tasks]
    assert all(len(batches) == 1 for batches in packs) and max(sizes_of(launcher, "lora")) > 1
    assert {4, 2} == set.union(*packs)
    assert sum(sizes_of(launcher, "lora")) == 9 + 2


@pytest.mark.parametrize("retries", [0, 2])
def test_a_worker_lost_in_a_pack_costs_each_trial_an_attempt_and_no_trial(retries):
    """Those that had ended are kept; the others go on alone, once at least."""

    def fault(job):
        return "exits" if job.trial == 1 and job.attempt == 1 and job.method == "lora" else None

    launcher = FakeLauncher(fault=fault)
    records = drive(launcher, *SWEEP, f"launcher.retries={retries}")
    mine = [r for r in records if r.method == "lora" and r.stage == "search"]
    assert [(r.trial, r.attempt, r.status) for r in mine] == [
        (number, 2 if number in (1, 2) else 1, "complete") for number in range(7)
    ]
    lost = [[job.trial for job in task] for task in launcher.tasks if task[0].method == "lora"]
    assert lost[:4] == [[0, 1, 2], [1], [2], [3, 4, 5]]


def test_a_trial_that_is_lost_alone_too_is_given_up():
    launcher = FakeLauncher(fault=lambda job: "out of memory" if job.trial == 1 else None)
    drive(launcher, *SWEEP, "method=lora", "launcher.retries=1", "confirm.seeds=1")
    tasks = [[job.trial for job in task] for task in launcher.tasks]
    assert tasks[:3] == [[0, 1, 2], [1], [2]]
    found = [read_record(path.parent) for path in Path("runs/s").rglob("record.json")]
    assert [(r.trial, r.attempt) for r in found if r and r.status == "infeasible"] == [(1, 2)]


def test_a_driver_that_is_killed_forms_no_pack_with_a_trial_that_has_begun(monkeypatch):
    from sweeping import Killed

    launcher = FakeLauncher(fault=lambda job: "killed before" if job.trial == 4 else None)
    with pytest.raises(Killed):
        drive(launcher, *SWEEP, "method=lora")
    begun = next(job for job in launcher.submitted if job.trial == 5)
    (begun.path / "checkpoint").mkdir()
    again = FakeLauncher()
    records = drive(again, *SWEEP, "method=lora")
    assert [[job.trial for job in task] for task in again.tasks][:2] == [[4], [5]]
    assert len(records) == 7 + 2


def auto(*arguments, footprint=GPU, sharing=1):
    sweep, plans = composed("method=lora,qlora,full,dora", "search.sampler=random", *arguments)
    memory = MethodMemory([MeasuredConfig({}, footprint, None)], {}, [])
    needs = dict.fromkeys(plans, memory)
    return sweep, pack_sizes(sweep, list(plans.values()), needs, sharing)


ALONE = {"lora": 1, "qlora": 1, "full": 1, "dora": 1}


def test_auto_takes_what_fits_beside_the_first():
    # 0.9 · 24 GB less 6 GB are 15.6 GB; one more takes 1.5 + 0.2 + 3 · 0.1 = 2 GB.
    assert auto()[1] == ALONE | {"lora": MOST, "qlora": MOST}
    assert auto(sharing=2)[1]["lora"] == 1 + 2  # 4.8 GB
    assert auto(footprint=replace(GPU, available_gb=8.0))[1]["lora"] == 1
    assert auto("search.sampler=tpe", "search.trials=12")[1]["lora"] == 3
    assert auto("search.sampler=tpe", "search.trials=3")[1]["lora"] == 1


def test_auto_on_a_cpu_only_with_small_batches():
    cpu = replace(GPU, device="cpu")
    assert auto(footprint=cpu)[1] == ALONE
    assert auto(footprint=replace(cpu, micro_batch_size=1))[1]["lora"] == MOST_ON_A_CPU


def test_auto_without_measured_steps_is_one_at_a_time():
    sweep, plans = composed("method=lora")
    assert pack_sizes(sweep, list(plans.values()), {"lora": UNKNOWN}, 1) == {"lora": 1}


OWN_COSTS = (
    *("limits.minutes=5", "limits.peak_memory_gb=8", "search.seconds=60", "search.gpu_hours=1"),
    *("launcher.devices_per_trial=2", "launcher.isolate=true", "confirm.finalists=0", "budget=2h"),
)


@pytest.mark.parametrize("setting", [*OWN_COSTS, "launcher=slurm"])
def test_where_a_trial_needs_costs_of_its_own_there_are_no_packs(setting):
    sweep, found = auto(setting)
    assert found == ALONE and packs_in_words(sweep, found) is None
    check_packs(sweep)
    asked, _ = composed("method=lora", setting, "launcher.pack=8")
    with pytest.raises(
        InputError, match=r"launcher\.pack=8 .* auto or 1 with " + re.escape(setting)
    ):
        check_packs(asked)


def test_the_plan_tells_who_trains_together():
    sweep, found = auto("launcher.pack=4")
    assert found == ALONE | {"lora": 4, "qlora": 4}
    words = packs_in_words(sweep, found) or ""
    assert (
        "up to 4 search trials of lora or 4 search trials of qlora train together; those" in words
    )
    assert "those of full, dora one by one" in words
    sweep, plans = composed("method=full", "launcher.pack=4")
    found = pack_sizes(sweep, list(plans.values()), {"full": UNKNOWN}, 1)
    assert "launcher.pack=4 has no effect" in str(packs_in_words(sweep, found))
    with pytest.raises(InputError, match=r"launcher\.pack=0"):
        composed("method=full", "launcher.pack=0")
