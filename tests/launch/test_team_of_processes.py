"""A worker and the process that trains along, as the launcher starts them: one trial, then one lost.

The same with the model split between them, and one that runs out of memory in the middle of a step.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

import psutil
import pytest
from running import identified, job
from sweeping import composed

from harness.launch.launcher import NO_ROOM, TEAM_BROKEN, Ended
from harness.launch.local import LocalLauncher
from harness.records import read_jsonl, read_record

# Read by every process as it starts: where the file is, the next forward pass finds no memory.
BROKEN_ALLOCATOR = """
import os, sys, threading, time

def patch():
    while not hasattr(sys.modules.get("harness.training.loop"), "train"):
        time.sleep(0.05)
    loop = sys.modules["harness.training.loop"]
    real = loop.logits_at

    def limited(*about):
        if os.path.exists(FLAG):
            raise MemoryError("out of memory")
        return real(*about)

    loop.logits_at = limited

if "harness.launch.ranks" in sys.orig_argv:
    threading.Thread(target=patch, daemon=True).start()
"""


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_a_trial_over_two_processes_and_one_that_loses_one(
    tmp_path, small_trial, monkeypatch, sharding
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    flag, breaks, code = tmp_path / "no memory", psutil.Process.kill, TEAM_BROKEN
    if sharding == "fsdp":
        (tmp_path / "sitecustomize.py").write_text(f"FLAG = {str(flag)!r}\n{BROKEN_ALLOCATOR}")
        paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        breaks, code = (lambda other: flag.touch()), NO_ROOM
    own = composed("method=full")[0].launcher
    config = replace(own, threads=1, devices_per_trial=2, sharding=sharding)
    lock = (tmp_path / "lock").open("w")
    launcher = LocalLauncher(config, tmp_path / "cache", tmp_path / "logs", lock.fileno())

    def begin(name, steps):
        trial = small_trial("method=lora", f"training.max_steps={steps}", "training.eval_every=999")
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
        assert record.provenance["sharding"] == sharding

        lost = begin("lost", 100_000)
        until(lambda: (lost / "metrics.jsonl").exists() and read_jsonl(lost / "metrics.jsonl"))
        worker = psutil.Process(launcher._workers[0].process.pid)
        (other,) = [p for p in worker.children() if "harness.launch.ranks" in p.cmdline()]
        breaks(other)
        assert until(launcher.poll) == [Ended(lost, lost=code)]
        assert read_record(lost) is None
    finally:
        launcher.close()
    assert not other.is_running()
