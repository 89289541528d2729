"""W&B without its folder, or without room: the mirror is a copy, and the records are not."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from argparse import Namespace
from pathlib import Path

import pytest
from sweeping import SMALL, InProcessLauncher

from harness.records import read_record, write_json
from harness.tracking.mirroring import Mirroring
from harness.tracking.runs import ends_with_exit

ARGUMENTS = (
    *(argument for argument in SMALL if argument != "tracking=none"),
    *("tracking=wandb", "method=lora", "name=s", "training.max_steps=3"),
    *("search.trials=3", "confirm.finalists=1", "confirm.seeds=1"),
)


def wait_for(what, seconds: float = 60.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.002)
    raise AssertionError("it did not happen")


@pytest.fixture
def here(tmp_path, monkeypatch, pool):
    """An empty folder in which the entry runs; only the worker's process is left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr("harness.launch.local.LocalLauncher", InProcessLauncher)
    monkeypatch.setattr(InProcessLauncher, "pool", pool)
    monkeypatch.setattr("harness.tracking.mirror.FINISH_SECONDS", 90.0)  # on a busy machine
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


def runs(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs/s/wandb/offline-run-*/run-*.wandb"))


def test_deleted_while_a_sweep_runs(here, monkeypatch, capfd):
    """Under the second trial the run of the first as it is written, under the third all of it."""
    from harness.sweep import main

    submit, deleted = InProcessLauncher.submit, []

    def with_deletion(self, folder, spec):
        if spec.get("trial") in (1, 2) and spec["config"]["stage"] == "search":
            wait_for(lambda: runs(here))
            if spec["trial"] == 2:
                wait_for(lambda: (here / "runs/s/wandb/mirrored.json").exists() and runs(here))
            shutil.rmtree(runs(here)[0].parent if spec["trial"] == 1 else here / "runs/s/wandb")
            deleted.append(spec["trial"])
        submit(self, folder, spec)

    monkeypatch.setattr(InProcessLauncher, "submit", with_deletion)
    code = main(ARGUMENTS)
    said = capfd.readouterr()
    assert code == 0 and deleted == [1, 2]
    found = [read_record(path.parent) for path in here.glob("runs/s/trials/lora/*/record.json")]
    assert sorted(record.stage for record in found) == ["confirm", "search", "search", "search"]
    for record in found:
        split = "test" if record.stage == "confirm" else "validation"
        assert record.status == "complete" and record.missing == {}
        assert {f"{split}.bleu", "forgetting.kl"} <= set(record.measurements)
    assert (here / "reports/s/index.html").exists()

    assert said.err.count("\n") == 1 and said.err.startswith("Warning: W&B: "), said.err
    assert "were deleted from" in said.err and "are written again" in said.err
    assert "Traceback" not in said.out + said.err
    assert "W&B: 5 offline runs" in said.out, said.out
    assert len(runs(here)) == 5 and all(map(ends_with_exit, runs(here)))


def test_no_disk_space_for_the_mirror(tmp_path):
    """W&B itself would lose rows and say nothing: what has no room is not begun, and counted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if (done := subprocess.run(mount, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    try:
        for number in range(2):
            write_json(tmp_path / f"trials/lora/{number}/record.json", _record(number))
        options = Namespace(mode="offline", sweep="s", project="p", entity=None)
        mirroring = Mirroring(tmp_path, options)
        mirroring.begin()
        mirroring.scan()
        (warning,) = mirroring.answer()["warnings"]
        assert warning == "2 not mirrored: 1: OSError: 4 MiB are free on the disk"
        assert not runs(tmp_path) and mirroring.answer()["offline"] == 0
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def _record(number: int) -> dict:
    from harness.records import Record

    config = {"stage": "search", "method": {"name": "lora"}}
    about = dict(stage="search", method="lora", trial=number, attempt=1, fingerprint=str(number))
    return Record(
        **about,
        status="failed",
        configuration="c",
        seed=0,
        config=config,
        overrides=[],
        measurements={},
        cost={},
        reason="made up",
    ).to_json()
