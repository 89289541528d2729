"""Workers forked from a process that has imported everything are as good as started ones."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time

import psutil
import pytest

from harness.launch import forking
from harness.records import write_json


@pytest.fixture(scope="module")
def server():
    server = forking.ForkServer()
    yield server
    server.close()


@pytest.fixture
def forked(server, tmp_path):
    """`fork()` → a worker in ``tmp_path``, its output in ``log``; and the lock that it holds."""
    processes, lock = [], (tmp_path / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def fork(**environment):
        arguments = ["--device", "cpu", "--cache", "cache", "--threads", "1"]
        arguments += ["--driver", str(os.getpid())]
        told = {**os.environ, **environment}
        worker = {"arguments": arguments, "environment": told, "folder": str(tmp_path)}
        with (tmp_path / "log").open("ab") as log:
            processes.append(server.fork(worker, (log.fileno(), lock.fileno())))
        return processes[-1]

    yield fork, lock
    lock.close()
    for process in processes:
        if process is not None:
            process.kill()
            process.wait(5)


def refused(worker, folder, seconds=20.0):
    """Give the worker a task that it must refuse, and wait for the refusal."""
    folder.mkdir()
    write_json(folder / "spec.json", {"kind": "check", "configs": [{"x": 1}], "opens_test": False})
    worker.stdin.write(f"{folder.name}\n")
    worker.stdin.flush()
    until = time.monotonic() + seconds
    while not (folder / "rejected.json").exists():
        assert worker.poll() is None and time.monotonic() < until
        time.sleep(0.01)


def test_a_copy_is_a_child_like_any_other(forked, tmp_path):
    fork, lock = forked
    worker, other = fork(HF_TOKEN="of one"), fork()
    process = psutil.Process(worker.pid)
    assert process.ppid() == os.getpid() and os.getpgid(worker.pid) == worker.pid
    refused(worker, tmp_path / "task")
    assert process.cwd() == str(tmp_path) and process.name() == forking.NAME.decode()
    lock.close()
    with (tmp_path / "lock").open("w") as again, pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by both
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.05)
    worker.send_signal(signal.SIGUSR1)
    os.kill(other.pid, signal.SIGKILL)
    assert other.wait(5) == -signal.SIGKILL
    worker.stdin.close()
    assert worker.wait(5) == 0
    worker.terminate()  # it has ended: nobody else is signalled
    assert "most recent call first" in (tmp_path / "log").read_text()
    with (tmp_path / "lock").open("w") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_copies_outlive_the_process_that_forked_them(forked, server, tmp_path):
    fork, _ = forked
    worker = fork()
    server._process.kill()
    refused(worker, tmp_path / "task")
    assert fork() is None, "workers are started in another way then"
    worker.stdin.close()
    assert worker.wait(5) == 0
