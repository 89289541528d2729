"""A whole sweep with real workers, once undisturbed and once through every kind of stop.

A worker's start costs seconds (torch, peft), so two sweeps are shared by all tests here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from sweeping import SMALL

from harness.launch.forking import NAME as FORKED
from harness.records import read_jsonl, read_record

ROOT = Path(__file__).parent.parent.parent
NAME = "s"
STEPS = 80  # what is stopped in its first quarter must not be done before the signal arrives
EVERY = 4  # steps between checkpoints
# The one kind of line on standard error: no remark of a library.
A_PHASE = re.compile(r"\d\d:\d\d:\d\d  [^|%]+ …")
COMMAND = [
    *SMALL,
    *("method=lora", f"name={NAME}", "search.trials=2", "confirm.finalists=1", "confirm.seeds=1"),
    *(f"training.max_steps={STEPS}", "training.batch_size=2", "method.target_modules=qv"),
    *(f"training.checkpoint_every={EVERY}", "training.eval_every=50"),
]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
ENVIRONMENT["TORCHDYNAMO_DISABLE"] = "1"  # nothing is compiled here, and a worker starts 2 s sooner


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """As a shell in front of a person would: behind an ``&`` Ctrl-C is ignored from the start."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.sweep", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str
    seconds: float


def finish(process: subprocess.Popen[str], seconds: float = 120) -> Done:
    began = time.monotonic()
    out, err = process.communicate(timeout=seconds)
    return Done(process.returncode, out, err, time.monotonic() - began)


def records(folder: Path) -> dict[str, object]:
    found = [
        read_record(path.parent) for path in folder.glob(f"runs/{NAME}/trials/*/*/record.json")
    ]
    return {record.fingerprint: record for record in found}


def worker_of(driver: subprocess.Popen[str]) -> psutil.Process:
    children = psutil.Process(driver.pid).children()
    (worker,) = [
        child
        for child in children
        if child.name() == FORKED.decode() or "harness.launch.worker" in child.cmdline()
    ]
    return worker


def training(folder: Path, without: set[Path], until: float = 60) -> Path:
    """The folder of a trial that is in the middle of its steps and has a checkpoint."""
    end = time.monotonic() + until
    while time.monotonic() < end:
        for trial in set(folder.glob(f"runs/{NAME}/trials/lora/*")) - without:
            steps = [row["step"] for row in read_jsonl(trial / "metrics.jsonl")]
            if (
                steps
                and 4 < max(steps) < STEPS // 4
                and list(trial.glob("checkpoint/step-*/manifest.json"))
            ):
                return trial
        time.sleep(0.01)
    raise AssertionError("no trial began to train")


def reached(trial: Path) -> tuple[int, int]:
    """The step of the newest whole checkpoint, 0 without one, and the last that was written down."""
    manifests = trial.glob("checkpoint/step-*/manifest.json")
    newest = max([int(path.parent.name.removeprefix("step-")) for path in manifests], default=0)
    return newest, max([row["step"] for row in read_jsonl(trial / "metrics.jsonl")], default=0)


def gone(process: psutil.Process, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        return False
    return True


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = finish(start(folder, *COMMAND))
    assert done.code == 0, done.out + done.err
    return folder, done


@dataclass
class Story:
    """Events of the disturbed sweep, in order."""

    folder: Path
    runs: list[Done]
    notes: dict[str, object]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """The same sweep: worker killed, Ctrl-C, driver killed, SIGTERM, files torn; then left alone."""
    folder = tmp_path_factory.mktemp("disturbed")
    story = Story(folder, [], {})

    driver = start(folder, *COMMAND)
    first = training(folder, set())
    worker = worker_of(driver)
    worker.kill()
    assert gone(worker, 10)
    story.notes["at the kill"] = reached(first)
    end = time.monotonic() + 60
    while time.monotonic() < end:  # the next attempt is on its way
        spec = json.loads((first / "spec.json").read_text())
        if spec["attempt"] == 2 and max(r["step"] for r in read_jsonl(first / "metrics.jsonl")) > 0:
            break
        time.sleep(0.05)
    while not (first / "record.json").exists() and time.monotonic() < end:
        time.sleep(0.02)
    story.notes["killed worker"] = first

    second = training(folder, {first})
    worker = worker_of(driver)
    driver.send_signal(signal.SIGINT)
    story.runs.append(finish(driver, 40))
    story.notes["worker after Ctrl-C"] = gone(worker, 5)
    story.notes["interrupted"] = second
    story.notes["after Ctrl-C"] = reached(second)
    story.notes["checkpoint after Ctrl-C"] = list(second.glob("checkpoint/step-*/manifest.json"))

    driver = start(folder, *COMMAND)
    end = time.monotonic() + 60
    kept = {path.parent.name for path in story.notes["checkpoint after Ctrl-C"]}
    while time.monotonic() < end and {p.name for p in second.glob("checkpoint/step-*")} <= kept:
        if (second / "record.json").exists():
            break  # on a busy machine its last steps may pass between two looks: the next trial will do
        time.sleep(0.01)
    worker = worker_of(driver)
    driver.kill()
    story.runs.append(finish(driver, 10))
    story.notes["worker after the driver was killed"] = gone(worker, 15)
    begun = [path.parent for path in folder.glob(f"runs/{NAME}/trials/lora/*/checkpoint")]
    story.notes["after the driver was killed"] = {trial.name: reached(trial) for trial in begun}
    story.notes["done by then"] = sorted(records(folder))

    driver = start(folder, *COMMAND)
    third = training(folder, {first, second})
    worker = worker_of(driver)
    driver.send_signal(signal.SIGTERM)
    story.runs.append(finish(driver, 40))
    story.notes["worker after SIGTERM"] = gone(worker, 5)
    story.notes["preempted"] = third
    story.notes["after SIGTERM"] = reached(third)

    story.notes["record after the worker was killed"] = read_record(first)
    (first / "record.json").write_text((first / "record.json").read_text()[:200])
    with (second / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    (folder / "runs" / NAME / "study.db").write_bytes(b"no database" * 500)
    story.runs.append(finish(start(folder, *COMMAND)))
    return story


def test_a_sweep_leaves_its_files(undisturbed):
    folder, done = undisturbed
    assert [line for line in done.err.splitlines() if not A_PHASE.fullmatch(line)] == []
    found = records(folder)
    assert sorted(record.stage for record in found.values()) == ["confirm", "search", "search"]
    for record in found.values():
        trial = folder / "runs" / NAME / "trials" / "lora" / record.fingerprint
        names = {path.name for path in trial.iterdir()}
        assert {"record.json", "config.yaml", "metrics.jsonl", "predictions.jsonl"} <= names
        assert "checkpoint" not in names, "it is done: nothing to go on from"
        assert ("adapter" in names) == (record.stage == "confirm")
        assert record.status == "complete" and record.attempt == 1
        assert {"train_seconds", "peak_memory_gb", "adapter_bytes"} <= set(record.cost)
        config = yaml.safe_load((trial / "config.yaml").read_text())
        assert config == json.loads(json.dumps(record.config))
        split = "test" if record.stage == "confirm" else "validation"
        quality = {f"{split}.bleu", f"{split}.perplexity", "forgetting.kl", "forgetting.nll"}
        assert quality | {"drift.kl_target"} <= set(record.measurements)
    described = yaml.safe_load((folder / "runs" / NAME / "sweep.yaml").read_text())
    assert described["command"] == f"python -m harness.sweep {shlex.join(COMMAND)}"
    report = folder / "reports" / NAME
    files = {"index.html", "report.md", "leaderboard.csv", "report.json"}
    assert files <= {path.name for path in report.iterdir()}
    assert f"Report: reports/{NAME}" in done.out


def test_the_same_command_again_trains_nothing(undisturbed):
    folder, whole = undisturbed
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/s/trials/*/*/*")}
    done = finish(start(folder, *COMMAND))
    assert done.code == 0, done.err
    assert done.seconds < whole.seconds / 2, "no worker is started; the report is written"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert set(folder.glob("runs/s/trials/*/*/*")) == set(before)


def test_another_configuration_under_the_same_name(undisturbed):
    folder, _ = undisturbed
    done = finish(start(folder, *COMMAND, "training.batch_size=4", "search.trials=3"))
    assert done.code == 2 and "Traceback" not in done.err
    for difference in ("training.batch_size: 2 → 4", "search.trials: 2 → 3", "name="):
        assert difference in done.err
    assert "weight_decay" not in done.err
    assert (folder / "runs" / NAME / "sweep.yaml").exists()


def test_a_trial_by_hand_gives_the_same_to_the_bit(undisturbed, monkeypatch, capsys):
    """Return the output of a row's command in another process, under another name."""
    from harness.trial import main

    folder, _ = undisturbed
    monkeypatch.chdir(folder)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    (record,) = [r for r in records(folder).values() if r.trial == 1]  # its rate has 17 digits
    own = ["launcher.threads=1", "name=hand"]
    assert main([*record.overrides, *own]) == 0
    for number, handler in handlers.items():
        signal.signal(number, handler)
    said = capsys.readouterr().out
    again = read_record(folder / "runs" / "hand" / "trials" / "lora" / record.fingerprint)
    assert again is not None, "another fingerprint"
    assert again.measurements == record.measurements
    assert "validation.bleu" in said and record.fingerprint in said.replace("\n", "")
    assert main([*record.overrides, *own]) == 0
    assert "already done" in capsys.readouterr().out.replace("\n", " ")
    own = ["launcher.threads=1", f"name={NAME}", "seed=5"]
    assert main([*record.overrides, *own]) == 2, "a sweep's folder holds its own trials alone"
    assert NAME in capsys.readouterr().err


def test_stopped_by_hand(disturbed):
    stopped = disturbed.runs[0]
    assert stopped.code == 130, stopped.err
    assert "The same command resumes" in stopped.out
    assert f"python -m harness.sweep {shlex.join(COMMAND)}" in stopped.out
    assert "Traceback" not in stopped.err + stopped.out
    assert disturbed.notes["worker after Ctrl-C"]
    assert disturbed.notes["checkpoint after Ctrl-C"]


def test_a_killed_driver_takes_its_workers_with_it(disturbed):
    assert disturbed.runs[1].code == -signal.SIGKILL
    assert disturbed.notes["worker after the driver was killed"]


def test_preempted(disturbed):
    preempted = disturbed.runs[2]
    assert preempted.code == 75, preempted.err
    assert "The same command resumes" in preempted.out
    assert "Traceback" not in preempted.err
    assert disturbed.notes["worker after SIGTERM"]


def test_results_equal_those_of_an_undisturbed_sweep(undisturbed, disturbed):
    """No trial twice, none lost, every measurement equal to the bit."""
    assert disturbed.runs[3].code == 0, disturbed.runs[3].err
    expected, found = records(undisturbed[0]), records(disturbed.folder)
    assert set(found) == set(expected)
    for fingerprint, record in found.items():
        assert record.measurements == expected[fingerprint].measurements
        assert record.trial == expected[fingerprint].trial
        steps = [
            row["step"]
            for row in read_jsonl(
                disturbed.folder / "runs" / NAME / "trials/lora" / fingerprint / "metrics.jsonl"
            )
            if row["kind"] == "train"
        ]
        assert steps == list(range(1, STEPS + 1)), "each step once, in order"
    after_kill = disturbed.notes["record after the worker was killed"]
    assert after_kill.attempt == 2
    assert after_kill.measurements == expected[after_kill.fingerprint].measurements
    told = disturbed.runs[3].out
    assert "search 2/2" in told and "confirm 1/1" in told


def test_no_more_is_lost_than_the_steps_since_the_last_checkpoint(disturbed):
    """Every attempt went on after the newest checkpoint; who was asked to stop lost no step."""
    log = (disturbed.folder / "runs" / NAME / "workers" / "worker-0.log").read_text()
    found = re.findall(rf"(\w+): attempt \d+ resumes after step (\d+) of {STEPS}", log)
    went_on: dict[str, list[int]] = {}
    for trial, step in found:
        went_on.setdefault(trial, []).append(int(step))
    notes = disturbed.notes
    newest, last = notes["at the kill"]
    assert newest > 0 and went_on[notes["killed worker"].name] == [newest]
    assert last - newest <= EVERY, "so many steps were done again"
    for name, when in (("interrupted", "after Ctrl-C"), ("preempted", "after SIGTERM")):
        newest, last = notes[when]
        assert newest == last > 0 and newest in went_on[notes[name].name]
    for trial, (newest, last) in notes["after the driver was killed"].items():
        assert newest in went_on[trial] and last - newest <= EVERY


def test_corrupt_files_are_rebuilt(disturbed):
    last = disturbed.runs[3]
    assert "record.json is not readable" in last.err
    assert "study.db is corrupt" in last.out
    torn = disturbed.notes["killed worker"]
    assert (torn / "record.json.unreadable").exists()
    assert records(disturbed.folder)[torn.name].attempt == 2, "its worker was killed"
    assert (disturbed.folder / "reports" / NAME / "index.html").exists()


def test_two_at_once(undisturbed):
    """The second is told who holds the folder; it touches nothing."""
    import fcntl

    folder, _ = undisturbed
    lock = folder / "runs" / NAME / "lock"
    with lock.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        lock.write_text(f"process {os.getpid()}")
        done = finish(start(folder, *COMMAND))
    assert done.code == 2
    assert f"is in use by process {os.getpid()}" in done.err and "name=" in done.err
    assert done.seconds < 5
