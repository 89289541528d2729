"""A worker and the process that trains along, as the launcher starts them: one trial, then one lost."""

from __future__ import annotations

import time
from dataclasses import replace

import psutil
from running import identified, job
from sweeping import composed

from harness.launch.launcher import TEAM_BROKEN, Ended
from harness.launch.local import LocalLauncher
from harness.records import read_jsonl, read_record


def test_a_trial_over_two_processes_and_one_that_loses_one(tmp_path, trial_config, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = replace(composed("method=full")[0].launcher, threads=1, devices_per_trial=2)
    lock = (tmp_path / "lock").open("w")
    launcher = LocalLauncher(config, tmp_path / "cache", tmp_path / "logs", lock.fileno())

    def begin(name, steps):
        trial = trial_config(
            "method=lora", f"training.max_steps={steps}", "training.eval_every=999"
        )
        own = job(tmp_path / name, tmp_path / "cache", trial, **identified(trial))
        own.path.mkdir()
        launcher.submit(own.path, own.to_json())
        return own.path

    def until(found, seconds=200):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := found():
                return value
            time.sleep(0.05)
        raise AssertionError((tmp_path / "logs" / "worker-0.log").read_text())

    try:
        done = begin("done", 3)
        assert until(launcher.poll) == [Ended(done)]
        record = read_record(done)
        assert record.status == "complete" and record.provenance["devices_per_trial"] == 2

        lost = begin("lost", 100_000)
        until(lambda: (lost / "metrics.jsonl").exists() and read_jsonl(lost / "metrics.jsonl"))
        worker = psutil.Process(launcher._workers[0].process.pid)
        (other,) = [p for p in worker.children() if "harness.launch.team" in p.cmdline()]
        other.kill()
        assert until(launcher.poll) == [Ended(lost, lost=TEAM_BROKEN)]
        assert read_record(lost) is None
    finally:
        launcher.close()
    assert not other.is_running()
