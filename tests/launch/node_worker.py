"""Stand-in for the worker on a cluster's nodes: no torch, steps of milliseconds, a checkpoint.

``run_task`` and ``NodeSlot`` are imported on the node, so that the program is swapped there.
"""

from __future__ import annotations

import subprocess
import sys

from harness.launch import local
from harness.launch.clusters import slurm_task

# Counts to the spec's ``steps``. If it is stopped or its parent exits, it writes a checkpoint.
PROGRAM = """
import json, os, pathlib, signal, sys, time
stopped, parent = [], os.getppid()
signal.signal(signal.SIGTERM, lambda *a: stopped.append(1))
for line in sys.stdin:
    folder = pathlib.Path(line.strip())
    spec = json.loads((folder / "spec.json").read_text())
    if spec.get("rejects"):
        (folder / "rejected.json").write_text('{"message": "no"}')
        continue
    checkpoint = folder / "checkpoint" / "step.json"
    step = json.loads(checkpoint.read_text()) if checkpoint.exists() else 0
    with (folder / "starts").open("a") as starts:
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        starts.write(f"{step} {os.getpid()} {os.environ['OMP_NUM_THREADS']} [{gpus}]\\n")
    while step < spec["steps"]:
        if spec.get("exits") == step:
            os._exit(7)
        time.sleep(0.05)
        step += 1
        (folder / "alive").touch()
        with (folder / "metrics.jsonl").open("a") as rows:
            rows.write(json.dumps({"step": step}) + "\\n")
        if stopped or os.getppid() != parent or step % 20 == 0:
            checkpoint.parent.mkdir(exist_ok=True)
            aside = checkpoint.with_name("." + checkpoint.name)
            aside.write_text(json.dumps(step))
            aside.replace(checkpoint)
        if stopped or os.getppid() != parent:
            sys.exit(75)
    (folder / "record.json").write_text(json.dumps({"steps": step}))
"""
_real = subprocess.Popen


def _popen(command, **options):
    assert command[1:3] == ["-m", "harness.launch.worker"]
    return _real([sys.executable, "-c", PROGRAM], **options)


def run_task(*arguments):
    """``harness.launch.clusters.slurm_task.run_task`` with PROGRAM as the worker."""
    local.subprocess.Popen = _popen
    return slurm_task.run_task(*arguments)


def fake_slot():
    """``harness.launch.clusters.ray_slot.NodeSlot`` with PROGRAM as the worker."""
    from harness.launch.clusters.ray_slot import NodeSlot

    class FakeSlot(NodeSlot):
        def __init__(self, *arguments):
            local.subprocess.Popen = _popen
            super().__init__(*arguments)

        def pid(self) -> int:
            import os

            return os.getpid()

    return FakeSlot
