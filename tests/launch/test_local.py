"""The local launcher with workers that are a few lines of Python: no torch, milliseconds a task."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sweeping import composed

from harness.errors import InputError
from harness.launch import local
from harness.launch.host import visible_devices
from harness.launch.launcher import Ended
from harness.launch.local import LocalLauncher, check
from harness.records import heartbeat, read_json

# Stands in for worker.py: one answer for each line. The folder's name selects the behaviour.
WORKER = """
import faulthandler, os, pathlib, signal, sys, time
faulthandler.register(signal.SIGUSR1)
stopped = []
signal.signal(signal.SIGTERM, lambda *a: stopped.append(1))
for line in sys.stdin:
    folder = pathlib.Path(line.strip())
    (folder / "seen").write_text(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    if os.environ.get("LOST"):
        os._exit(1)
    if folder.name.startswith("eats"):
        pathlib.Path(os.environ["GROUP"], "cgroup.procs").write_text(str(os.getpid()))
        eaten = bytearray(300_000_000)
    if folder.name.startswith("exits"):
        os._exit(7)
    if folder.name.startswith("kills"):
        os.kill(os.getpid(), signal.SIGKILL)
    if folder.name.startswith("rejects"):
        (folder / "rejected.json").write_text('{"message": "no"}')
        continue
    if folder.name.startswith("slow"):
        while not stopped:
            time.sleep(0.01)
        time.sleep(0.5 * folder.name.endswith("disk"))
        (folder / "checkpoint").touch()
        sys.exit(75)
    if folder.name.startswith("stubborn"):
        time.sleep(60)
    if folder.name.startswith("begins"):
        other = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60")
        (folder / "began").write_text(str(other))
        time.sleep(60)
    if folder.name.startswith("stops"):
        os.kill(os.getpid(), signal.SIGSTOP)
    if folder.name.startswith("works"):
        for _ in range(20):
            time.sleep(0.1)
            (folder / "alive").touch()
    (folder / "record.json").write_text("{}")
"""


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """`launch(**changes)` → a started launcher whose workers are WORKER."""
    program = tmp_path / "worker.py"
    program.write_text(WORKER)
    real = local.subprocess.Popen

    def popen(command, **options):
        assert command[1:3] == ["-m", "harness.launch.worker"]
        return real([sys.executable, str(program)], **options)

    monkeypatch.setattr(local.subprocess, "Popen", popen)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    lock = (tmp_path / "lock").open("w")
    made = []

    def build(**changes):
        config = replace(composed("method=full")[0].launcher, threads=1, **changes)
        made.append(LocalLauncher(config, tmp_path, tmp_path / "logs", lock.fileno()))
        return made[-1]

    yield build
    for launcher in made:
        launcher.close()


def task(launcher, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    launcher.submit(folder, {"x": 1})
    return folder


def ends(launcher, n=1, seconds=10.0) -> list[Ended]:
    ended, until = [], time.monotonic() + seconds
    while len(ended) < n and time.monotonic() < until:
        ended += launcher.poll()
        time.sleep(0.01)
    assert len(ended) == n
    return ended


def test_one_worker_runs_task_after_task(launch, tmp_path):
    launcher = launch()
    assert launcher.size == 1 and launcher.has_room()
    pids = set()
    for name in ("a", "b"):
        folder = task(launcher, tmp_path / name)
        assert not launcher.has_room()
        assert ends(launcher) == [Ended(folder)]
        assert read_json(folder / "spec.json") == {"x": 1}
        pids.add((folder / "seen").read_text())
    assert len(pids) == 1 and launcher.poll() == []


def test_isolated_tasks_have_a_process_each(launch, tmp_path):
    launcher = launch(isolate=True)
    pids = set()
    for name in ("a", "b"):
        folder = task(launcher, tmp_path / name)
        ends(launcher)
        pids.add((folder / "seen").read_text())
    assert len(pids) == 2


def test_several_workers(launch, tmp_path):
    launcher = launch(workers=2)
    task(launcher, tmp_path / "slow"), task(launcher, tmp_path / "b")
    assert not launcher.has_room()
    assert ends(launcher) == [Ended(tmp_path / "b")]
    assert launcher.has_room()


@pytest.mark.parametrize(("name", "code"), [("exits", 7), ("kills", -9)])
def test_a_worker_that_exits_is_replaced(launch, tmp_path, name, code):
    launcher = launch()
    folder = task(launcher, tmp_path / name)
    assert ends(launcher) == [Ended(folder, lost=code)]
    assert launcher.has_room()
    task(launcher, tmp_path / "next")
    assert ends(launcher) == [Ended(tmp_path / "next")]


@pytest.mark.parametrize("name", ["stops", "stubborn"])
def test_a_worker_that_hangs_is_killed_and_replaced(launch, tmp_path, name):
    """One that is stopped by the system, and one that waits for ever, which says where."""
    launcher = launch(heartbeat_minutes=1 / 60)
    folder = task(launcher, tmp_path / name)
    assert ends(launcher) == [Ended(folder, lost=-9, hung=1 / 60)]
    pid = int((folder / "seen").read_text().split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    task(launcher, tmp_path / "next")
    assert ends(launcher) == [Ended(tmp_path / "next")]
    log = (tmp_path / "logs" / "worker-0.log").read_text()
    assert ("most recent call first" in log) == (name == "stubborn")


def test_a_slow_worker_that_makes_progress_is_left_alone(launch, tmp_path, monkeypatch):
    launcher = launch(heartbeat_minutes=1 / 60)
    folder = task(launcher, tmp_path / "works")
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() - 3600)  # the clock is set back: nobody looks
    assert ends(launcher) == [Ended(folder)]


def test_a_worker_paused_with_its_driver_is_not_hung(launch, tmp_path):
    """A machine that slept: nobody asked for a while, so nobody can tell who did nothing."""
    launcher = launch(heartbeat_minutes=1 / 60)
    folder = task(launcher, tmp_path / "stubborn")
    launcher._workers[0].since = launcher._polled = time.monotonic() - 2 * local.PAUSED_SECONDS
    assert launcher.poll() == [] and launcher._workers[0].process.poll() is None
    assert ends(launcher) == [Ended(folder, lost=-9, hung=1 / 60)], "asked again, it is seen"


def test_never_killed_without_a_limit(launch, tmp_path):
    launcher = launch(heartbeat_minutes=None)
    task(launcher, tmp_path / "stops")
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert launcher.poll() == []
    launcher._workers[0].process.kill()


def test_a_rejection_is_a_message(launch, tmp_path):
    launcher = launch()
    folder = task(launcher, tmp_path / "rejects")
    assert ends(launcher) == [Ended(folder, rejected="no")]
    assert not (folder / "rejected.json").exists()


def test_an_old_answer_does_not_count(launch, tmp_path):
    launcher = launch()
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "record.json").write_text("an answer of an attempt that is over")
    task(launcher, folder)
    assert launcher.poll() == [] and not (folder / "record.json").exists()


def test_closing_lets_workers_write_a_checkpoint(launch, tmp_path):
    launcher = launch(workers=2)
    folder = task(launcher, tmp_path / "slow")
    until = time.monotonic() + 10
    while not (folder / "seen").exists() and time.monotonic() < until:
        time.sleep(0.01)
    began = time.monotonic()
    launcher.close()
    assert (folder / "checkpoint").exists() and time.monotonic() - began < 5
    launcher.close()  # again: nothing left to do


@pytest.mark.parametrize("known", [False, True])
def test_closing_waits_as_long_as_a_checkpoint_takes(launch, tmp_path, monkeypatch, known):
    monkeypatch.setattr(heartbeat, "STEP_SECONDS", 0.2)
    launcher = launch()
    folder = task(launcher, tmp_path / "slow disk")
    until = time.monotonic() + 10
    while not (folder / "seen").exists() and time.monotonic() < until:
        time.sleep(0.01)
    if known:
        heartbeat.remember_checkpoint(
            folder, seconds=2.0
        )  # as the trial does when it has written one
    launcher.close()
    assert (folder / "checkpoint").exists() == known


def test_closing_does_not_wait_for_ever(launch, tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "STEP_SECONDS", 0.5)
    launcher = launch()
    folder = task(launcher, tmp_path / "stubborn")
    until = time.monotonic() + 10
    while not (folder / "seen").exists() and time.monotonic() < until:
        time.sleep(0.01)
    pid = int((folder / "seen").read_text().split()[0])
    launcher.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_exits_while_idle(launch, tmp_path):
    """Its pipe is broken when the next task is written, or when it is closed: neither is an error."""
    launcher = launch()
    task(launcher, tmp_path / "a"), ends(launcher)
    worker = launcher._workers[0]
    os.kill(worker.process.pid, 9)
    os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT)
    worker.process.poll = lambda: None  # as if it had not been noticed yet
    task(launcher, tmp_path / "b")
    del worker.process.poll
    assert ends(launcher) == [Ended(tmp_path / "b", lost=-9)]
    launcher.close()


# -- devices


@pytest.mark.parametrize(
    ("named", "found"),
    [("", []), ("0", [0]), ("2,3", [2, 3]), ("GPU-8f2a,1", ["GPU-8f2a", 1]), ("0,-1,1", [0])],
)
def test_devices_as_cuda_reads_them(monkeypatch, named, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_devices() == found


@pytest.mark.parametrize(
    ("visible", "devices", "name", "seen"),
    [("4,5", None, "cuda:0", "4"), ("4,5", [5, 4], "cuda:0", "5"), ("", None, "cpu", "")],
)
def test_a_command_without_workers_takes_one_device(monkeypatch, visible, devices, name, seen):
    from harness.launch import one_device

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(one_device, "_taken", {})
    sweep, _ = composed("name=s", "tracking=none", "method=lora")
    config = replace(sweep.launcher, devices=devices)
    assert [one_device.take_device(config) for _ in range(2)] == [name] * 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
    with pytest.raises(InputError, match=r"launcher.devices=\[9\] cannot be used"):
        one_device.take_device(replace(config, devices=[9]))


def test_one_worker_a_device(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-8f2a")
    launcher = launch()
    assert launcher.size == 2
    task(launcher, tmp_path / "a"), task(launcher, tmp_path / "b")
    ends(launcher, n=2)
    seen = {(tmp_path / name / "seen").read_text().split()[1] for name in ("a", "b")}
    assert seen == {"0", "GPU-8f2a"}


def test_several_devices_a_worker(launch, tmp_path, monkeypatch):
    """Pinned in its environment, before it starts; what is left over is not used."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,5,6,7")
    launcher = launch(devices_per_trial=2)
    assert launcher.size == 2
    task(launcher, tmp_path / "a"), task(launcher, tmp_path / "b")
    ends(launcher, n=2)
    seen = {(tmp_path / name / "seen").read_text().split()[1] for name in ("a", "b")}
    assert seen == {"0,1", "5,6"}
    config = replace(composed("method=full")[0].launcher, devices_per_trial=3)
    check(config)
    with pytest.raises(InputError, match=r"devices_per_trial=3 .* there are 2 GPUs"):
        check(replace(config, devices=[5, 6]))


def test_more_workers_than_devices_share_them_in_turn(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    launcher = launch(workers=4)
    pinned = [worker.environment["CUDA_VISIBLE_DEVICES"] for worker in launcher._workers]
    assert pinned == ["2", "3", "2", "3"]


def test_child_processes_of_a_worker_are_killed_with_it(launch, tmp_path):
    launcher = launch(heartbeat_minutes=1 / 60)
    task(launcher, tmp_path / "begins")
    ends(launcher)
    pid = int((tmp_path / "begins" / "began").read_text())
    until = time.monotonic() + 5
    while time.monotonic() < until and is_running(pid):
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """False for a zombie, which has exited and only waits for its parent."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    config = composed("method=full")[0].launcher
    check(config)
    check(replace(config, devices=[1]))
    with pytest.raises(InputError, match=r"launcher\.devices=\[2\]"):
        check(replace(config, devices=[2]))


def test_a_device_that_is_lost_gets_no_more_tasks_while_others_are_well(launch, tmp_path, capsys):
    launcher = launch(workers=2)
    launcher._workers[0].environment["LOST"] = "1"
    first = task(launcher, tmp_path / "a")
    assert ends(launcher) == [Ended(first, lost=1)]
    works = task(launcher, tmp_path / "works")  # on the other: this one has failed once
    second = task(launcher, tmp_path / "b")
    assert ends(launcher) == [Ended(second, lost=1)]
    assert not launcher.has_room(), "the other is busy, this one is given up"
    assert "Worker 0 on a CPU exited during 2 tasks in a row" in capsys.readouterr().err
    assert ends(launcher) == [Ended(works)]
    for name in ("a", "b"):
        folder = task(launcher, tmp_path / name)
        assert ends(launcher) == [Ended(folder)]


def test_killed_workers_do_not_count_against_their_device(launch, tmp_path):
    launcher = launch(workers=2)
    for _ in range(3):
        folders = [task(launcher, tmp_path / name) for name in ("kills-1", "kills-2")]
        assert {end.folder for end in ends(launcher, 2)} == set(folders)
    assert len(launcher._idle()) == 2


def test_if_every_device_is_lost_every_device_is_tried(launch, tmp_path):
    launcher = launch()
    for name in ("exits-1", "exits-2", "exits-3"):
        folder = task(launcher, tmp_path / name)
        assert ends(launcher) == [Ended(folder, lost=7)]
    assert launcher.has_room()


def test_a_task_that_kills_every_worker_is_not_the_devices_fault(launch, tmp_path):
    launcher = launch(workers=2)
    for _ in range(4):
        folder = task(launcher, tmp_path / "exits")
        assert ends(launcher) == [Ended(folder, lost=7)]
    both = [task(launcher, tmp_path / name) for name in ("a", "b")]
    assert sorted(end.folder for end in ends(launcher, 2)) == sorted(both)


@pytest.fixture
def little_memory(monkeypatch):
    """A group of processes that together may have 60 MB."""
    whole, limit = Path("/sys/fs/cgroup"), "memory.max"
    if (whole / "memory").is_dir():  # version 1
        whole, limit = whole / "memory", "memory.limit_in_bytes"
    mine = whole / f"harness-{os.getpid()}"
    try:
        mine.mkdir()
        (mine / limit).write_text("60000000")
    except OSError as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    try:
        monkeypatch.setenv("GROUP", str(mine))
        yield
    finally:
        time.sleep(0.1)  # who was in it is still being taken apart
        mine.rmdir()


def test_a_worker_that_the_system_kills_for_lack_of_memory(launch, tmp_path, little_memory):
    launcher = launch()
    folder = task(launcher, tmp_path / "eats")
    assert ends(launcher) == [Ended(folder, lost=-9, oom_killed=True)]
    folder = task(launcher, tmp_path / "kills")
    assert ends(launcher) == [Ended(folder, lost=-9)], "somebody's SIGKILL is another thing"
    folder = task(launcher, tmp_path / "a")
    assert ends(launcher) == [Ended(folder)]
