"""Progress of a sweep: time left, the best so far, and the same read from the folder."""

from __future__ import annotations

import fcntl
import io
import json
import time
from dataclasses import replace

import pytest
from rich.console import Console
from sweeping import composed, record_of

from harness.records import append_jsonl, write_json, write_record
from harness.search.screen.live import head, screen
from harness.search.screen.progress import Planned, RunningTrial, SweepProgress
from harness.search.screen.spending import Budget, duration
from harness.status import main
from harness.trials.job import Job

OBJECTIVES = {"validation.bleu": "maximize", "forgetting.kl": "minimize"}


def record(method="lora", stage="search", seconds=10.0, status="complete", name="a"):
    _, plans = composed("method=lora,full")
    config = plans[method].trial({}, stage=stage)
    return replace(
        record_of(_job(config, method)),
        method=method,
        stage=stage,
        fingerprint=name,
        status=status,
        reason=None if status == "complete" else "out of range",
        cost={"train_seconds": 0.6 * seconds, "evaluation_seconds": 0.4 * seconds},
    )


def _job(config, method):
    return Job(
        folder="nowhere", cache="nowhere", method=method, config=config, limits=None, trial=0,
        attempt=1, fingerprint="a", configuration="c", overrides=(), searched={},
    )  # fmt: skip


@pytest.fixture
def progress():
    planned = {"lora": Planned(4, 2, 20.0), "full": Planned(4, 2, 40.0)}
    return SweepProgress(OBJECTIVES, planned, workers=2)


def test_before_the_first_trial_the_plan_tells_the_time_left(progress):
    assert progress.seconds_left() == (6 * 20 + 6 * 40) / 2


def test_trials_that_ended_correct_the_plan_also_of_other_methods(progress):
    progress.end(record("lora", seconds=10.0))
    assert progress.seconds_left() == (5 * 10 + 6 * 20) / 2, "all take half as long as foreseen"


def test_a_running_trial_counts_by_the_steps_that_are_left(progress):
    running = RunningTrial("lora", "search", "r=8", 100)
    running.move({"step": 75, "loss": 2.0, "tokens": 300, "seconds": 0.5})
    progress.running["lora", "x"] = running
    assert progress.seconds_left() == (5 * 20 + 0.25 * 20 + 6 * 40) / 2
    assert running.tokens_per_second == 600


def test_without_a_plan_or_an_ended_trial_nothing_is_said():
    assert SweepProgress(OBJECTIVES).seconds_left() is None
    assert SweepProgress(OBJECTIVES, {"lora": Planned(1, 0)}).seconds_left() is None


def test_at_the_end_nothing_is_left(progress):
    for name in ("lora", "full"):
        for i in range(6):
            progress.end(record(name, "search" if i < 4 else "confirm", name=str(i)))
    assert progress.seconds_left() == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (40, "40 s"), (720, "12 min"), (12_600, "3.5 h"), (200_000, "2.3 days")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_budget_is_shown_by_what_is_spent_of_it(tmp_path, progress, capsys):
    """By the clock, also where another process reads it; or by the seconds of trials."""
    progress.end(record(seconds=10.0))
    progress.budget = Budget("2h", 7200.0, 7200.0, 600.0, time.time() - 120)
    assert head(progress) == "search 1 · 12 min of 2h spent"
    assert progress.share_done == pytest.approx(0.1, abs=1e-3)
    assert progress.seconds_left() == pytest.approx(6480, abs=5)
    folder = folder_of(tmp_path, progress)
    with (folder / "lock").open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main([str(folder), "json=true"]) == 0
        found = json.loads(capsys.readouterr().out)
    assert found["budget"] == {"typed": "2h", "share_spent": pytest.approx(0.1, abs=1e-3)}
    assert found["trials"]["search"] == {"ended": 1, "planned": None}
    progress.budget = Budget("3usd", 3.0, 3600.0, 350.0, None)
    assert head(progress) == "search 1 · 0.3 of 3usd spent"
    assert progress.seconds_left() == (3600 - 360) / 2, "of two workers"


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_screen_fits_and_says_what_runs(progress, width):
    progress.end(record(status="diverged"))
    progress.end(record(name="b"))
    progress.running["lora", "x"] = RunningTrial(
        "lora", "search", "r=8 [red]", 100, 40, 2.345, 5100.0
    )
    console = Console(width=width, file=io.StringIO())
    console.print(screen(progress))
    text = " ".join(console.file.getvalue().split())
    assert "search 2/8" in text and "1 diverged" in text and "about" in text
    assert "40/100" in text and "2.345" in text and "5,100" in text and "[red]" in text
    assert "best so far: lora" in text
    assert all(len(line) <= width for line in console.file.getvalue().splitlines())


def folder_of(tmp_path, progress):
    folder = tmp_path / "runs" / "s"
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(
        "objectives: {validation.bleu: maximize, forgetting.kl: minimize}\n"
        "command: python -m harness.sweep method=lora name=s\n"
    )
    (folder / "lock").write_text("process 7")
    progress.write(folder)
    write_record(folder / "trials/lora/a", record())
    running = folder / "trials/lora/b"
    running.mkdir()
    write_json(
        running / "spec.json", {"config": {"training": {"max_steps": 50}, "stage": "search"}}
    )
    append_jsonl(running / "metrics.jsonl", [{"kind": "train", "step": 20, "loss": 3.5}])
    (running / "alive").touch()
    (folder / "trials/lora/torn").mkdir()
    (folder / "trials/lora/torn/record.json").write_text('{"status": "comp')
    return folder


def test_from_another_shell_while_it_runs_and_after_it_was_killed(tmp_path, progress, capsys):
    folder = folder_of(tmp_path, progress)
    with (folder / "lock").open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main([str(folder), "json=true"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["state"], found["owner"]) == ("running", "process 7")
        assert found["trials"]["search"] == {"ended": 1, "planned": 8}
        assert [(run["step"], run["steps"], run["loss"]) for run in found["running"]] == [
            (20, 50, 3.5)
        ]
        assert found["seconds_left"] > 0
        assert main([str(folder)]) == 0
        assert "is running (process 7), last progress" in capsys.readouterr().out
    assert main([str(folder)]) == 1
    (folder / "sweep.yaml").rename(folder / "later")
    with (folder / "lock").open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main([str(folder)]) == 0
        assert "is being planned (process 7)" in capsys.readouterr().out
    (folder / "later").rename(folder / "sweep.yaml")
    assert main([str(folder)]) == 1
    text = capsys.readouterr().out
    assert "was stopped" in text and "Resume it: python -m harness.sweep method=lora name=s" in text


def test_after_the_end_it_names_the_report(tmp_path, progress, capsys):
    folder = folder_of(tmp_path, progress)
    report = tmp_path / "reports" / "s"
    report.mkdir(parents=True)
    (report / "index.html").touch()
    progress.write(folder, report)
    assert main([str(folder)]) == 0
    text = capsys.readouterr().out
    assert "has ended" in text and f"Report: {report}" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/where"], "no such folder"),
        (["."], "no folder of a sweep"),
        ([], "Name the folder of one sweep"),
        (["jsn=true", "x"], "Did you mean json"),
        (["json=yes", "x"], "json='yes' cannot be used: it must be true or false"),
    ],
)
def test_what_cannot_be_used_is_one_message(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
