"""A sweep on a budget, on a launcher that makes measurements up: divided, raced, killed, topped up."""

from __future__ import annotations

import math
import re
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from sweeping import CONTENT, FakeLauncher, Killed, composed, record_of

from harness.allowance.budget_argument import Account
from harness.allowance.costs import CostTable
from harness.allowance.cuts import possible_cuts
from harness.allowance.division import Cuts, MethodCost, Typed, divide
from harness.allowance.ledger import read_ledger, worker_seconds
from harness.data.rows.splits import Splits
from harness.errors import InputError
from harness.records import Measurement, read_record, write_record
from harness.records.footprint import Footprint
from harness.reporting.evidence.candidate_set import candidate_set
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.evidence.race_file import read_race
from harness.search.driver import Driver
from harness.search.planning.needs import MeasuredConfig, MethodMemory
from harness.search.screen.terminal import Terminal
from harness.search.sweep_folder import SweepFolder, describe

MINUTE = 60.0  # of every trial
TRUTH = {"full": 40.0, "lora": 39.5, "ia3": 20.0}
STEPS = "training.max_steps=100"  # typed, so that the plan keeps them
THREE = ("method=full,lora,ia3", "name=s", "search.sampler=random", STEPS)
FEW = ("search.trials=1", "confirm.finalists=1", "budget=0.4gpuh")  # 24 trials, 3 of the search
LITTLE = ("confirm.finalists=1", "budget=0.35gpuh")  # 21 trials


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made_up(job):
    """The same for the same job: quality by method, with noise of its seed and of its settings."""
    config = asdict(job.config)
    noise = math.sin(1000 * job.config.seed * sum(job.method.encode())) + 0.1 * math.sin(
        1e4 * config["training"]["learning_rate"]
    )
    split = "test" if job.config.stage == "confirm" else "validation"
    value = TRUTH[job.method] + noise
    score = Measurement(value, "points", 100, (value - 0.5, value + 0.5), "made up")
    moved = Measurement(0.5, "nats/token", 100, (0.4, 0.6), "made up")
    return {
        "measurements": {f"{split}.bleu": score, "forgetting.kl": moved},
        "cost": {"train_seconds": MINUTE * (config["training"]["max_steps"] or 100) / 100},
    }


def splits():
    return Splits(
        train=(), validation=(), test=(), general={}, general_test={}, replay=(),
        fingerprint=CONTENT[1], counts={}, labels=(),
    )  # fmt: skip


def drive(launcher, *arguments):
    """As ``harness.sweep`` does, but for the worker's answers before the first trial."""
    sweep, plans = composed(*arguments)
    plans = list(plans.values())
    steps = Footprint("cpu", 8.0, 100, 1.0, micro_batch_size=1, step_seconds=MINUTE / 100)
    needs = {p.method: MethodMemory([MeasuredConfig({}, steps, None)], {}, []) for p in plans}
    folder = SweepFolder(sweep)
    account = Account(sweep, folder, arguments, time.monotonic())
    sweep = account.sweep
    folder.open()
    try:
        resumed = (folder.path / "sweep.yaml").exists()
        data = splits()
        plans, data = account.cut(plans, data)
        costs = CostTable(sweep, plans, needs, data)
        if not resumed:
            sweep = account.divide(costs, possible_cuts(plans, data), 1)
            plans, data = account.cut(plans, data)
            needs = account.cut_needs(needs)
            costs = CostTable(sweep, plans, needs, data)
        funds = account.funds(costs, 1, resumed)
        models = {plan.method: CONTENT[0] for plan in plans}
        if not resumed:
            folder.remember(describe(sweep, plans, models, CONTENT[1], arguments))
        terminal = Terminal(sweep)
        terminal.expect({}, 1, funds.on_screen())
        driver = Driver(
            sweep, plans, folder, launcher, terminal, models=models, data=CONTENT[1], funds=funds,
        )  # fmt: skip
        return driver.run(needs)
    finally:
        folder._lock.close()


def raced(*arguments, fault=lambda job: None):
    launcher = FakeLauncher(fault=lambda job: fault(job) or ("record", made_up(job)))
    return drive(launcher, *THREE, *arguments), launcher.submitted


def on_disk():
    return [read_record(path.parent) for path in Path("runs/s").rglob("record.json")]


def stage(records, name):
    return [record for record in records if record.stage == name]


def test_the_budget_is_kept_and_every_method_gets_as_many_trials(capsys):
    records, _ = raced("budget=1gpuh")
    lines = capsys.readouterr().out.splitlines()
    assert "search: as many trials as the budget allows" in lines[0]
    spent = [float(words) for words in re.findall(r"([\d.]+) of 1gpuh spent", "\n".join(lines))]
    assert len(spent) == len(records) and spent == sorted(spent) and 0.8 < spent[-1] <= 1.0
    assert not re.search(r"search \d+/", "\n".join(lines)), "no total is known before the end"
    searched = stage(records, "search")
    counts = {m: sum(r.method == m for r in searched) for m in TRUTH}
    assert len({*counts.values()}) == 1 and min(counts.values()) >= 2, counts
    assert len(stage(records, "confirm")) >= 6
    assert 50 <= len(records) <= 60, "an hour of a device is 60 trials of a minute"
    assert read_ledger(Path("runs/s")).purchases[0].ended


def test_the_hopeless_drops_out_and_the_pair_that_decides_gets_the_seeds():
    raced(*FEW)
    race, candidates = read_race(Path("runs/s")), candidate_set(load_run(Path("runs/s")))
    method = {c.configuration: c.method for c in candidates.members}
    assert {method[name] for name in race.dropped} == {"ia3"}, race
    seeds = {method[name]: n for name, n in race.seeds.items()}
    assert seeds["ia3"] == 2 and max(seeds["full"], seeds["lora"]) > 3
    assert candidates.looks == race.looks > 1


def test_typed_keys_are_left_alone():
    records, _ = raced("budget=1gpuh", "search.trials=2", "confirm.finalists=1", "confirm.seeds=3")
    assert len(stage(records, "search")) == 6 and len(stage(records, "confirm")) == 9


def test_trials_that_take_longer_than_planned_are_fewer():
    def fault(job):
        return "record", made_up(job) | {"cost": {"train_seconds": 3 * MINUTE}}

    launcher = FakeLauncher(fault=fault)
    records = drive(launcher, *THREE, "budget=1gpuh")
    assert worker_seconds(records) <= 3600
    assert len(stage(records, "search")) >= 3


@pytest.mark.parametrize(
    ("when", "record_is_there"), [(1, True), (5, False), (12, True), (17, False)]
)
def test_a_killed_driver_loses_nothing_and_pays_nothing_twice(when, record_is_there):
    undisturbed = {r.fingerprint for r in raced(*LITTLE, "runs_dir=other")[0]}
    begun = []

    def fault(job):
        begun.append(job)
        if len(begun) == when:
            if record_is_there:
                write_record(job.path, record_of(job, **made_up(job)))
            raise Killed

    try:
        raced(*LITTLE, fault=fault)
        pytest.fail("it was to be killed")
    except Killed:
        pass
    raced(*LITTLE)
    assert {record.fingerprint for record in on_disk()} == undisturbed
    assert read_race(Path("runs/s")) == read_race(Path("other/s"))


def test_more_is_bought_for_the_pair_that_decides():
    raced(*FEW)
    before = {record.fingerprint for record in on_disk()}
    assert len(before) < 24, "it ended before its budget was spent"
    assert "is probably right" in read_ledger(Path("runs/s")).purchases[0].ended
    time_out = sum(record.cost["train_seconds"] for record in on_disk())
    records, _ = raced(*FEW[:2], "budget=+0.1gpuh")
    new = [record for record in records if record.fingerprint not in before]
    assert new and {record.stage for record in new} == {"confirm"}
    assert {record.method for record in new} <= {"full", "lora"}
    spent = sum(record.cost["train_seconds"] for record in on_disk()) - time_out
    assert spent <= 0.1 * 3600
    assert [p.budget for p in read_ledger(Path("runs/s")).purchases] == ["0.4gpuh", "+0.1gpuh"]


def test_more_is_bought_for_a_sweep_that_had_no_budget():
    plain = ("search.trials=2", "confirm.finalists=1", "confirm.seeds=2")
    sweep, plans = composed(*THREE, *plain)
    folder = SweepFolder(sweep)
    folder.open()
    models = {m: CONTENT[0] for m in plans}
    launcher = FakeLauncher(fault=lambda job: ("record", made_up(job)))
    Driver(
        sweep, [*plans.values()], folder, launcher, Terminal(sweep), models=models, data=CONTENT[1]
    ).run()  # fmt: skip
    folder.remember(describe(sweep, [*plans.values()], models, CONTENT[1], plain))
    folder._lock.close()
    assert len(on_disk()) == 6 + 6
    raced(*plain, "budget=+0.1gpuh")
    assert 12 < len(on_disk()) <= 12 + 6
    assert len(stage(on_disk(), "search")) == 6


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (None, "budget=+30m", "there is no sweep in runs/s"),
        ("budget=0.2gpuh", "budget=2gpuh", r"was begun with budget=0\.2gpuh"),
        ("budget=0.2gpuh", "budget=null", r"was begun with budget=0\.2gpuh"),
        (None, "budget=2m", "is too little"),
    ],
)
def test_what_contradicts_the_folder_is_refused(first, then, words):
    if first is not None:
        raced(first)
    with pytest.raises(InputError, match=words):
        raced(then)


def test_the_smallest_sweep_that_is_named_fits():
    with pytest.raises(InputError, match=r"about budget=0\.16gpuh"):  # 3 + 6 minutes and a little
        raced("budget=0.1gpuh")
    records, _ = raced("budget=0.16gpuh")
    assert len(records) == 9


def test_fewer_test_items_are_planned_where_they_take_the_time():
    costs = [MethodCost(20.0, 110.0, training=10.0, answering=90.0)] * 3
    whole = divide(costs, 2400.0, Typed(), Cuts(1000))
    cut = divide(costs, 2400.0, Typed(), Cuts(1000, of_items=True))
    assert whole is not None and whole.items == 1000
    assert cut is not None and cut.items < 1000 and cut.chance > whole.chance + 0.05
    assert cut.runs > whole.runs or cut.trials > whole.trials
    few = divide(costs, 2400.0, Typed(), Cuts(60, of_items=True))
    assert few is not None and few.items == 60, "too few to leave any out"
    cheap = [MethodCost(110.0, 110.0, training=100.0, answering=1.0)] * 3
    kept = divide(cheap, 9000.0, Typed(), Cuts(1000, of_items=True, of_steps=True))
    assert kept is not None and kept.items == 1000, "they cost nothing"


def test_fewer_steps_are_planned_where_no_sweep_fits_with_all():
    costs = [MethodCost(60.0, 60.0, training=60.0)] * 3
    assert divide(costs, 400.0, Typed(), Cuts()) is None
    cut = divide(costs, 400.0, Typed(), Cuts(of_steps=True))
    assert cut is not None and cut.steps < 1 and cut.seconds <= 400
    enough = divide(costs, 7200.0, Typed(), Cuts(of_steps=True))
    assert enough is not None and enough.steps == 1.0


def test_a_sweep_with_fewer_steps_says_so_keeps_its_budget_and_is_resumed():
    given = ("method=full,lora,ia3", "name=s", "search.sampler=random", "budget=0.1gpuh")
    own = FakeLauncher(fault=lambda job: ("record", made_up(job)))
    records = drive(own, *given)
    shares = {job.config.training.max_steps or 100 for job in own.submitted}
    assert len(shares) == 1 and max(shares) < 100
    assert worker_seconds(records) <= 360
    assert all(f"training.max_steps={max(shares)}" in job.overrides for job in own.submitted)
    again = FakeLauncher(fault=lambda job: ("record", made_up(job)))
    assert drive(again, *given) and not again.submitted
    with pytest.raises(InputError, match=r"full 60 s, lora 60 s.*on a quiet machine less may do"):
        drive(FakeLauncher(), *given[:1], STEPS, "name=t", "budget=0.1gpuh")
