"""A suspended worker is killed on this machine; on a cluster it leaves a reassigned trial alone."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace

import node_worker
import pytest
from sweeping import composed

from harness.launch import local
from harness.launch.clusters import slurm_task
from harness.launch.launcher import Ended
from harness.launch.local import LocalLauncher
from harness.records import read_json, write_json


def wait_for(what, seconds: float = 20.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_a_suspended_worker_is_killed_and_its_trial_run_once(tmp_path, monkeypatch):
    """From outside, a paused container looks like SIGSTOP. SIGCONT comes too late."""
    monkeypatch.setattr(local.subprocess, "Popen", node_worker._popen)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    config = replace(composed("method=full")[0].launcher, threads=1, heartbeat_minutes=1 / 60)
    with (tmp_path / "lock").open("w") as lock:
        launcher = LocalLauncher(config, tmp_path, tmp_path / "logs", lock.fileno())
        folder, ended = tmp_path / "trial", []
        folder.mkdir()
        launcher.submit(folder, {"steps": 40, "attempt": 1})
        rows = folder / "metrics.jsonl"
        wait_for(lambda: launcher.poll() or (rows.exists() and rows.read_text().count("\n") > 22))
        worker = launcher._workers[0].process
        os.kill(worker.pid, signal.SIGSTOP)
        wait_for(lambda: ended.extend(launcher.poll()) or ended)
        assert ended == [Ended(folder, lost=-9, hung=1 / 60)]
        with pytest.raises(ProcessLookupError):  # the process no longer exists
            os.kill(worker.pid, signal.SIGCONT)
        before = [json.loads(line)["step"] for line in rows.read_text().splitlines()]

        launcher.submit(folder, {"steps": 40, "attempt": 2})
        wait_for(lambda: ended.extend(launcher.poll()) or len(ended) > 1)
        launcher.close()
    assert ended[1:] == [Ended(folder)] and read_json(folder / "record.json") == {"steps": 40}
    starts = [int(line.split()[0]) for line in (folder / "starts").read_text().splitlines()]
    assert starts == [0, 20], "from its checkpoint, once"
    assert 22 < before[-1] < 40 and before[-1] - starts[1] < 20
    after = [json.loads(line)["step"] for line in rows.read_text().splitlines()][len(before) :]
    assert after == list(range(21, 41)), "nothing of the first attempt came later"


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_suspended_node_reports_nothing_of_a_reassigned_task(attempt, tmp_path, monkeypatch):
    """Its worker has exited. It reports this to the driver for its own attempt only."""

    class Paused:
        def submit(self, folder, spec):
            write_json(folder / "spec.json", {**spec, "attempt": attempt})

        def poll(self):
            return [Ended(tmp_path, lost=9)]

        def close(self): ...

    monkeypatch.setattr(slurm_task, "one_worker", lambda *about: Paused())
    write_json(tmp_path / "spec.json", {"attempt": 1})
    handler = signal.getsignal(signal.SIGTERM)
    try:
        code = slurm_task.run_task(str(tmp_path), {}, str(tmp_path), str(tmp_path), False)
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
    assert code == slurm_task.STOPPED
    assert (tmp_path / slurm_task.SLOT).exists() == (attempt == 1)
