"""The driver on a launcher that makes measurements up: budgets, order, every way to be killed."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from sweeping import FakeLauncher, Killed, composed, drive

from harness.errors import InputError
from harness.records import read_jsonl, read_record
from harness.records.footprint import Footprint
from harness.search.planning.needs import MeasuredConfig, MethodMemory
from harness.search.sweep_folder import confirm_seed

TWO = ("method=full,lora", "name=s", "search.trials=5", "confirm.finalists=1", "confirm.seeds=2")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """{fingerprint: record} and the jobs, in order, of a sweep that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    launcher = FakeLauncher()
    records = drive(launcher, *TWO, f"runs_dir={folder}")
    return {record.fingerprint: record for record in records}, launcher.submitted


def study(method="lora"):
    return optuna.load_study(study_name=f"s/{method}", storage="sqlite:///runs/s/study.db")


def on_disk():
    records = [read_record(path.parent) for path in Path("runs/s").rglob("record.json")]
    return {record.fingerprint: record for record in records}


def counted(method, budget=5):
    """Every trial of the study told once, none left over."""
    assert study(method).metric_names == ["validation.bleu", "forgetting.kl"]
    told = [t for t in study(method).trials if "repeats" not in t.user_attrs]
    assert all((Path("runs/s") / t.user_attrs["folder"]).is_dir() for t in told)
    assert len(told) == budget and all(t.state.is_finished() for t in told)
    assert len({t.user_attrs["fingerprint"] for t in told}) == budget


def test_equal_budgets_and_search_before_confirm(undisturbed):
    records, jobs = undisturbed
    stages = [job.config.stage for job in jobs]
    assert stages == ["search"] * 10 + ["confirm"] * 4
    for method in ("full", "lora"):
        mine = [job for job in jobs if job.config.method["name"] == method]
        assert len(mine) == 7
        assert [job.trial for job in mine] == [0, 1, 2, 3, 4, 0, 1]
        assert {job.config.seed for job in mine[:5]} == {0}
        assert [job.config.seed for job in mine[5:]] == [1001, 1002], "fresh ones"
        assert len({job.configuration for job in mine[5:]}) == 1
        best = max(
            (r for r in records.values() if r.method == method and r.stage == "search"),
            key=lambda r: r.value("validation.bleu"),
        )
        assert {job.configuration for job in mine[5:]} == {best.configuration}
        assert [job.keep_adapter for job in mine] == [False] * 5 + [True, False]
        assert not any(job.asks_pruner for job in mine)
    assert len(records) == len({job.fingerprint for job in jobs}) == 14


def test_the_longest_trials_begin_first_so_that_workers_end_together():
    """Of a search by the plan's measurements, of finalists by their own trials, seed by seed."""

    def takes(job):
        seconds = 1.0 if job.config.method["name"] == "full" else 9.0
        return ("record", {"cost": {"train_seconds": seconds, "base_seconds": 50.0 / seconds}})

    steps = [Footprint("cpu", 9.0, 10, 1.0, step_seconds=seconds) for seconds in (1.0, 9.0)]
    needs = {
        name: MethodMemory([MeasuredConfig({}, found, None)], {}, [])
        for name, found in zip(("full", "lora"), steps, strict=True)
    }
    launcher = FakeLauncher(fault=takes)
    drive(launcher, *TWO, "search.trials=2", needs=needs)
    assert [job.method for job in launcher.submitted] == ["lora", "full"] * 4


def test_confirm_seeds_are_never_those_of_the_search():
    for seed in (0, 1, 1001, 5000):
        sweep, _ = composed("method=full", f"seed={seed}", "confirm.seeds=20")
        seeds = [confirm_seed(sweep, i) for i in range(sweep.confirm.seeds)]
        assert len(set(seeds)) == 20 and seed not in seeds


def test_no_second_stage():
    launcher = FakeLauncher()
    drive(launcher, *TWO, "confirm.finalists=0")
    assert {job.config.stage for job in launcher.submitted} == {"search"}


def test_several_finalists():
    launcher = FakeLauncher()
    drive(launcher, *TWO, "confirm.finalists=3")
    confirmed = [job for job in launcher.submitted if job.config.stage == "confirm"]
    assert len(confirmed) == 2 * 3 * 2
    assert len({(job.config.method["name"], job.configuration) for job in confirmed}) == 6
    for method in ("full", "lora"):
        mine = [job.trial for job in confirmed if job.config.method["name"] == method]
        assert mine == list(range(6))


def test_the_files_of_a_trial(undisturbed):
    jobs = FakeLauncher()
    drive(jobs, *TWO)
    folder = Path("runs/s/trials/lora") / jobs.submitted[-1].fingerprint
    assert {path.name for path in folder.iterdir()} == {"record.json", "config.yaml"}
    assert "learning_rate" in (folder / "config.yaml").read_text()


# -- faults


def test_a_lost_worker_costs_one_attempt(undisturbed):
    lost = []

    def fault(job):
        if job.trial == 2 and job.config.stage == "search" and job.attempt == 1:
            lost.append(job.fingerprint)
            return "exits"
        return None

    records = drive(FakeLauncher(fault=fault), *TWO)
    assert len(lost) == 2
    for record in records:
        assert record.attempt == (2 if record.fingerprint in lost else 1)
        assert record.status == "complete"
    assert {r.fingerprint for r in records} == set(undisturbed[0])
    counted("lora")


def test_after_its_retries_a_trial_is_given_up():
    launcher = FakeLauncher(fault=lambda job: "exits" if job.trial == 1 else None)
    records = drive(launcher, *TWO, "launcher.retries=1", "method=lora", "confirm.seeds=1")
    (given_up,) = [record for record in records if record.status == "failed"]
    assert given_up.attempt == 2 and given_up.trial == 1 and given_up.measurements == {}
    assert "exited 2 times" in given_up.reason and "-9" in given_up.reason
    assert sum(job.trial == 1 for job in launcher.submitted) == 2
    assert study().trials[1].state.name == "FAIL" and study().trials[1].values is None
    counted("lora")
    again = FakeLauncher()
    drive(again, *TWO, "launcher.retries=1", "method=lora", "confirm.seeds=1")
    assert again.submitted == [], "given up is given up"


def test_a_trial_for_which_the_system_has_no_memory_is_infeasible():
    launcher = FakeLauncher(fault=lambda job: "out of memory" if job.trial == 1 else None)
    records = drive(launcher, *TWO, "launcher.retries=1", "method=lora", "confirm.seeds=1")
    (given_up,) = [record for record in records if record.status != "complete"]
    assert given_up.status == "infeasible" and given_up.trial == 1
    assert "killed by the system, which had no memory left" in given_up.reason
    counted("lora")


def test_a_trial_that_hangs_is_given_up_with_the_reason():
    launcher = FakeLauncher(fault=lambda job: "hangs" if job.trial == 1 else None)
    records = drive(launcher, *TWO, "launcher.retries=1", "method=lora", "confirm.seeds=1")
    (given_up,) = [record for record in records if record.status == "failed"]
    assert "exited 2 times" in given_up.reason
    assert "hung: no progress for 5 minutes" in given_up.reason


def test_one_that_ran_out_of_memory_among_its_devices_is_not_tried_again():
    launcher = FakeLauncher(fault=lambda job: "no room" if job.trial == 1 else None)
    records = drive(launcher, *TWO, "launcher.retries=2", "method=lora", "confirm.seeds=1")
    (too_large,) = [record for record in records if record.status == "infeasible"]
    assert too_large.trial == 1 and too_large.measurements == {}
    assert "out of memory" in too_large.reason and "training.batch_size" in too_large.reason
    assert sum(job.trial == 1 for job in launcher.submitted) == 1


def test_attempts_are_counted_across_drivers():
    """A trial that also crashes the driver is not given new attempts for ever."""

    def fault(job):
        if job.trial != 1:
            return None
        return "exits" if job.attempt == 1 else "killed before"

    arguments = (*TWO, "launcher.retries=1", "method=lora", "confirm.seeds=1")
    first = FakeLauncher(fault=fault)
    with pytest.raises(Killed):
        drive(first, *arguments)
    second = FakeLauncher(fault=lambda job: "exits" if job.trial == 1 else None)
    records = drive(second, *arguments)
    assert [job.attempt for job in second.submitted if job.trial == 1] == [2]
    assert [record.attempt for record in records if record.status == "failed"] == [2]


def test_a_rejection_ends_the_sweep():
    launcher = FakeLauncher(fault=lambda job: ("rejects", "method.r=4096 cannot be used"))
    with pytest.raises(InputError, match="4096"):
        drive(launcher, *TWO)


def test_all_failed():
    launcher = FakeLauncher(fault=lambda job: ("record", {"status": "failed", "measurements": {}}))
    records = drive(launcher, *TWO)
    assert len(records) == 10 and {record.stage for record in records} == {"search"}


@pytest.mark.parametrize(
    ("moment", "lost"),
    [
        ("killed before", "nothing"),
        ("killed after", "nothing"),
        ("killed after", "the study"),
        ("killed before", "garbage in the study"),
    ],
)
@pytest.mark.parametrize("at", [("lora", "search", 2), ("lora", "confirm", 1)])
def test_killed_and_started_again(undisturbed, moment, lost, at):
    """A restarted driver runs only the missing trials, if killed before or after a record."""

    def fault(job):
        where = (job.config.method["name"], job.config.stage, job.trial)
        return moment if where == at else None

    first = FakeLauncher(fault=fault)
    with pytest.raises(Killed):
        drive(first, *TWO)
    before = on_disk()
    if lost == "the study":
        Path("runs/s/study.db").unlink()
    elif lost == "garbage in the study":
        Path("runs/s/study.db").write_bytes(b"garbage" * 999)
    second = FakeLauncher()
    records = drive(second, *TWO)
    assert {job.fingerprint for job in second.submitted} == set(undisturbed[0]) - set(before)
    assert {r.fingerprint: r.measurements for r in records} == {
        fingerprint: record.measurements for fingerprint, record in undisturbed[0].items()
    }
    assert {r.fingerprint: r.trial for r in records} == {
        fingerprint: record.trial for fingerprint, record in undisturbed[0].items()
    }
    counted("full"), counted("lora")
    third = FakeLauncher()
    drive(third, *TWO)
    assert third.submitted == []


def test_a_torn_record_is_made_again(undisturbed, capsys):
    drive(FakeLauncher(), *TWO)
    torn = [
        path
        for path in Path("runs/s").rglob("record.json")
        if (record := read_record(path.parent)).trial == 1 and record.method == "lora"
    ]
    assert len(torn) == 2  # of the search and of the confirm stage
    for path in torn:
        path.write_text(path.read_text()[:100])
    again = FakeLauncher()
    records = drive(again, *TWO)
    assert "not readable" in capsys.readouterr().err
    assert {str(job.path) for job in again.submitted} == {str(path.parent) for path in torn}
    assert {r.fingerprint for r in records} == set(undisturbed[0])
    counted("lora")


# -- several workers


def test_several_in_flight():
    launcher = FakeLauncher(slots=3)
    records = drive(launcher, *TWO)
    assert launcher.most == 3
    assert sum(record.stage == "search" for record in records) == 10
    counted("lora"), counted("full")


def test_several_in_flight_killed():
    def fault(job):
        return "killed before" if job.trial == 3 and job.config.method["name"] == "lora" else None

    with pytest.raises(Killed):
        drive(FakeLauncher(slots=3, fault=fault), *TWO)
    launcher = FakeLauncher(slots=3)
    records = drive(launcher, *TWO)
    assert sum(record.stage == "search" for record in records) == 10
    counted("lora"), counted("full")


# -- spaces with an end


def test_a_finite_space_ends():
    finite = ("method=lora", "name=s", "training.learning_rate=1e-3", "confirm.finalists=1")
    launcher = FakeLauncher()
    drive(launcher, *finite, "method.r=choice(2,4,8)", "search.trials=50")
    searched = [job for job in launcher.submitted if job.config.stage == "search"]
    assert sorted(job.config.method["r"] for job in searched) == [2, 4, 8]
    counted("lora", budget=3)
    again = FakeLauncher()
    drive(again, *finite, "method.r=choice(2,4,8)", "search.trials=50")
    assert again.submitted == []
    Path("runs/s/study.db").unlink()
    drive(again, *finite, "method.r=choice(2,4,8)", "search.trials=50")
    assert again.submitted == []


def test_nothing_to_search():
    launcher = FakeLauncher()
    drive(launcher, "method=lora", "name=s", "training.learning_rate=1e-3", "method.r=4")
    assert [job.config.stage for job in launcher.submitted] == ["search"] + ["confirm"] * 3


def test_repeats_are_not_run_nor_counted():
    """Six configurations, five of them wanted: the sampler repeats itself."""
    few = (
        *("method=lora", "name=s", "confirm.finalists=0", "search.trials=5"),
        *("method.r=choice(2,4,8)", "training.learning_rate=choice(1e-3,2e-3)"),
    )
    launcher = FakeLauncher()
    drive(launcher, *few)
    assert len({job.fingerprint for job in launcher.submitted}) == len(launcher.submitted) == 5
    counted("lora")
    whole = {job.fingerprint: job.trial for job in launcher.submitted}
    repeats = [t for t in study().trials if "repeats" in t.user_attrs]
    # The same, with the study lost after four: the repeats among them are found again.
    for last in [job for job in launcher.submitted if job.trial == max(whole.values())]:
        (last.path / "record.json").unlink()
    Path("runs/s/study.db").unlink()
    again = FakeLauncher()
    drive(again, *few)
    assert {job.fingerprint: job.trial for job in again.submitted} == {
        fingerprint: number
        for fingerprint, number in whole.items()
        if number == max(whole.values())
    }
    assert len([t for t in study().trials if "repeats" in t.user_attrs]) == len(repeats)


# -- pruning


def test_decisions_are_written_where_the_worker_reads_them():
    """Measurements of a running trial are answered with continue or stop, from the rung table."""

    def fault(job):
        folder = job.path
        bad = job.trial == 4
        for step in (5, 10, 15):
            row = {"validation.perplexity": 90.0 if bad else 9.0 - job.trial, "forgetting.kl": 0.1}
            row["forgetting.kl"] = 9.0 if bad else 0.1
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"kind": "train", "step": step, "loss": 1.0}) + "\n")
                line = {"kind": "evaluation", "step": step, "measurements": row}
                file.write(json.dumps(line) + "\n")
        waiting.append(job)
        return None

    waiting: list = []

    class Slow(FakeLauncher):
        """A job is looked at once more after its curve is there."""

        def poll(self):
            if self._running and self._running[-1][1] not in waiting:
                self.fault(self._running[-1][1])
                return []
            self.fault, kept = (lambda job: None), self.fault
            ended = super().poll()
            self.fault = kept
            return ended

    drive(Slow(fault=fault), "method=full", "name=s", "search.trials=5", "search.pruner=asha",
          "confirm.finalists=0")  # fmt: skip
    decisions = {
        record.trial: [json.loads(path.read_text())["go"] for path in sorted(folder.glob("dec*"))]
        for folder in Path("runs/s/trials/full").iterdir()
        if (record := read_record(folder))
    }
    assert decisions[0] == decisions[1] == [True] * 3, "too few to judge"
    assert decisions[4] == [True, False, False], "after steps 10, 15 and 5: the second is no rung"
    assert all(len(answers) == 3 for answers in decisions.values())


def test_what_cannot_be_compared_yet_is_not_judged():
    """A row that says so is neither answered nor put on a rung."""

    class Slow(FakeLauncher):
        def poll(self):
            path = self._running[-1][1].path / "metrics.jsonl"
            if not path.exists():
                rows = [
                    {"kind": "evaluation", "step": step, "measurements": values, **more}
                    for step, more in ((5, {"comparable": False}), (10, {}), (15, {}))
                    for values in [{"validation.perplexity": 9.0, "forgetting.kl": 0.1}]
                ]
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
                return []
            return super().poll()

    asked = ("method=full", "name=s", "search.trials=2", "confirm.finalists=0")
    drive(Slow(), *asked, "search.pruner=asha")
    assert {row["rung"] for row in read_jsonl(Path("runs/s/rungs.jsonl"))} == {"full/3"}
    assert {path.name for path in Path("runs/s").rglob("dec*.json")} == {
        "decision-10.json",
        "decision-15.json",
    }


def test_a_curve_that_begins_anew():
    """A lost attempt's rows are taken back: for a moment there are none."""

    class Slow(FakeLauncher):
        polls = 0

        def poll(self):
            self.polls += 1
            path = self._running[-1][1].path / "metrics.jsonl" if self._running else None
            if path and self.polls == 1:
                path.write_text('{"kind": "train", "step": 1, "loss": 1.0}\n')
                return []
            if path and self.polls == 2:
                path.write_text("")
                return []
            return super().poll()

    assert (
        len(drive(Slow(), "method=full", "name=s", "search.trials=1", "confirm.finalists=0")) == 1
    )
