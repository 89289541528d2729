"""A disk that is full: said once, nothing half written kept, and gone on from when there is room.

The disk is real: a small file system in memory where one may be mounted, else a limit on the size of
files that the kernel keeps for this process.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from running import identified, job
from sweeping import FakeLauncher, drive

from harness.errors import DiskFull, InputError
from harness.launch.worker import Worker
from harness.records import read_jsonl, read_record, write_json, write_text
from harness.records.disk_full import STOPPED, disk_full_message, is_disk_full, require_room
from harness.training.checkpoint import Checkpoint, CheckpointFolder
from harness.trials.run import Workbench, run_trial

BYTES = 4_000_000


@dataclass
class Disk:
    """``with disk.full(): ...`` leaves next to nothing of it, as long as that lasts."""

    path: Path
    full: Callable


@pytest.fixture(params=["mounted", "limited"])
def disk(request, tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    if request.param == "limited":

        @contextmanager
        def limited(left=2000):
            old = resource.getrlimit(resource.RLIMIT_FSIZE)
            handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (left, old[1]))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, old)
                signal.signal(signal.SIGXFSZ, handler)

        yield Disk(path, limited)
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")

    @contextmanager
    def filled(left=2000):
        fill = path / "fill"
        fill.write_bytes(bytes(max(0, shutil.disk_usage(path).free - left - 4096)))
        try:
            yield
        finally:
            fill.unlink()

    yield Disk(path, filled)
    subprocess.run(["umount", "-l", str(path)], check=True)


def files(folder: Path) -> set[str]:
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    return found - {"fill"}


def test_a_file_is_the_old_one_and_no_part_is_left(disk):
    write_text(disk.path / "a.json", "old")
    with disk.full(), pytest.raises(OSError) as caught:
        write_text(disk.path / "a.json", "new" * 100_000)
    assert is_disk_full(caught.value)
    assert (disk.path / "a.json").read_text() == "old" and files(disk.path) == {"a.json"}


def checkpoint(step):
    tensors = {"w": torch.full((50_000,), float(step))}
    return Checkpoint(step, tensors, {"optimizer": {"m": torch.zeros(50_000)}})


@pytest.mark.parametrize("left", [2_000, 300_000])
def test_the_older_checkpoint_stays_without_a_partial_new_one(disk, left):
    """There is room for nothing, or for the tensors and not for the optimizer's state."""
    folder = CheckpointFolder(disk.path / "checkpoint")
    folder.save(checkpoint(1))
    left = left if left < 10_000 or disk.path.is_mount() else 150_000
    said = r"Disk full: .*checkpoint cannot .* 0\.0004 GB are needed"
    with disk.full(left), pytest.raises(DiskFull, match=said):
        folder.save(checkpoint(2))
    assert [path.name for path in (disk.path / "checkpoint").iterdir()] == ["step-1"]
    found = folder.load()
    assert found is not None and found.step == 1
    folder.save(checkpoint(2))
    assert folder.load().step == 2


def test_room_is_asked_for_before(disk):
    if disk.path.is_mount():
        with pytest.raises(DiskFull, match=r"0\.1 GB|0\.10 GB are needed, 0\.004 GB are free"):
            require_room(disk.path, 100_000_000)
    require_room(disk.path, 1000)
    require_room(disk.path / "no such folder", 10**18)


def test_a_worker_exits_and_the_trial_resumes_later(disk, pool, small_trial, tmp_path):
    config = small_trial(
        *("method=lora", "method.r=8", "training.max_steps=6", "training.checkpoint_every=2")
    )
    bench = Workbench("cpu", tmp_path / "cache")
    bench.pool = pool
    expected = run_trial(job(tmp_path / "quiet", bench.cache, config), bench)
    worker = Worker("cpu", tmp_path / "cache", 0)
    worker.driver, worker.bench = os.getppid(), bench
    folder = disk.path / "trial"
    work = job(folder, bench.cache, config, **identified(config))
    write_json(folder / "spec.json", work.to_json())
    with disk.full(40_000), pytest.raises(DiskFull):
        worker.run(folder)
    assert not (folder / "record.json").exists(), "no fault of the trial's"
    assert "Disk full" in (folder / STOPPED).read_text()
    assert not list(folder.rglob("*.tmp"))
    worker.run(folder)
    record = read_record(folder)
    assert record.status == "complete" and record.measurements == expected.measurements
    rows = [row["step"] for row in read_jsonl(folder / "metrics.jsonl") if row["kind"] == "train"]
    assert rows == [1, 2, 3, 4, 5, 6]


ARGUMENTS = ("method=lora", "name=s", "search.trials=4", "confirm.finalists=0")


def test_a_sweep_whose_study_has_no_disk_space(disk, capsys):
    """No good database is set aside for it, and no trial is lost or made twice."""
    runs = f"runs_dir={disk.path / 'runs'}"
    first = FakeLauncher(fault=lambda job: "disk full" if job.trial == 2 else None)
    with pytest.raises(DiskFull, match="Disk full"):
        drive(first, *ARGUMENTS, runs)
    with disk.full(), pytest.raises(Exception) as caught:
        drive(FakeLauncher(), *ARGUMENTS, runs)
    assert is_disk_full(caught.value), caught.value
    again = FakeLauncher()
    records = drive(again, *ARGUMENTS, runs)
    assert sorted(record.trial for record in records) == [0, 1, 2, 3]
    assert {record.attempt for record in records} == {1}, "it cost no attempt"
    assert [job.trial for job in again.submitted] == [2, 3]
    assert not list(disk.path.rglob("*.unreadable")) and not list(disk.path.rglob("*.tmp"))


def test_a_disk_that_becomes_read_only(disk, capsys):
    """As the system makes it when it fails: said as what it is, and gone on from afterwards."""
    if not disk.path.is_mount():
        pytest.skip("no file system of our own to make read-only")
    runs = f"runs_dir={disk.path / 'runs'}"

    path = str(disk.path)

    def fault(job):
        if job.trial == 2:  # a mount over the other: that one itself is busy with what is open
            subprocess.run(["mount", "--bind", path, path], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)

    with pytest.raises(Exception) as caught:
        drive(FakeLauncher(fault=fault), *ARGUMENTS, runs)
    said = disk_full_message(caught.value)
    assert said is not None and said.startswith(f"Read-only: {disk.path}"), said
    assert "go on with the same command" in said
    with pytest.raises(InputError, match="cannot be written: Read-only file system"):
        drive(FakeLauncher(), *ARGUMENTS, runs)
    subprocess.run(["umount", path], check=True)
    records = drive(FakeLauncher(), *ARGUMENTS, runs)
    assert sorted(record.trial for record in records) == [0, 1, 2, 3]
    assert not list(disk.path.rglob("*.unreadable")) and not list(disk.path.rglob("*.tmp"))


def test_the_entries_say_it_in_one_line(monkeypatch, capsys):
    from harness import sweep, trial

    def run(arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/s/rungs.json")

    for entry in (sweep, trial):
        monkeypatch.setattr(entry, "run", run)
        assert entry.main([]) == 75
        said = capsys.readouterr().err
        assert said.startswith("Disk full: runs/s cannot be written to") and said.count("\n") == 1
        assert "go on with the same command" in said


@pytest.mark.parametrize("error", [ValueError("no"), OSError(errno.ENOENT, "no such file"), None])
def test_other_errors_are_not_taken_for_it(error):
    assert not is_disk_full(error)
