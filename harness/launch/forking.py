"""A process that has imported torch and transformers, and forks workers in a tenth of a second.

Workers on a CPU share the cores with the driver, and each would take four seconds of them for its
imports. This process begins with them while the driver still prepares its sweep. It starts no thread
and computes nothing, so that its copies are as good as a new process. A copy becomes a child of the
driver, which waits for it, signals it and learns its exit code as of any other child. Linux only.

``fork_server`` is that process. This module is the driver's side.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from harness.launch.host import may_have_gpus
from harness.launch.launcher import WAITING
from harness.launch.libraries import library_environment
from harness.terminal.phases import phase

READY_SECONDS = 600.0  # of imports, which would take a worker as long, as from a slow disk
FORK_SECONDS = 10.0
POLL_SECONDS = 0.01
MESSAGE = 1 << 20  # bytes, more than any environment
READY = b"ready"
NAME = b"harness-worker"  # of a copy, in lists of processes
SET_NAME, SET_SUBREAPER, GET_SUBREAPER = 15, 36, 37  # of prctl


class ForkedProcess:
    """A copy of the server, with the part of ``subprocess.Popen`` that a launcher needs."""

    def __init__(self, pid: int, stdin: Any) -> None:
        self.pid, self.stdin = pid, stdin
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has waited for it
                self.returncode = -signal.SIGKILL
            else:
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and timeout is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(NAME.decode(), timeout)
            time.sleep(POLL_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The driver's side of the process."""

    def __init__(self) -> None:
        """Start the process, which begins with its imports."""
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.launch.fork_server", str(other.fileno())],
                pass_fds=(other.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # an import that fails will fail again in a worker's log
                # Threads would have to be there after the fork too. Workers set their own number.
                env=library_environment() | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,  # the driver handles Ctrl-C
            )
        self._ready: bool | None = None  # None until it has been waited for

    def fork(self, worker: Mapping[str, Any], files: Sequence[int]) -> ForkedProcess | None:
        """Return a new process for ``worker``; None if none can be forked. Waits for the imports."""
        if not self._is_ready():
            return None
        stdin, tasks = os.pipe()
        pid = 0
        with suppress(OSError, ValueError), _adopting():
            socket.send_fds(self._socket, [json.dumps(worker).encode()], [stdin, *files])
            pid = int(self._socket.recv(MESSAGE))
        os.close(stdin)
        if not pid:
            self._ready = False
            os.close(tasks)
            return None
        return ForkedProcess(pid, os.fdopen(tasks, "w", encoding="utf-8"))

    def _is_ready(self) -> bool:
        if self._ready is None:
            self._socket.settimeout(READY_SECONDS)
            with suppress(OSError), phase(WAITING):
                self._ready = self._socket.recv(MESSAGE) == READY
            self._socket.settimeout(FORK_SECONDS)
        return bool(self._ready)

    def close(self) -> None:
        """End the process. Its copies go on."""
        self._ready = False
        self._socket.close()
        self._process.kill()
        self._process.wait()


_server: ForkServer | None = None


def import_ahead() -> None:
    """Begin with the imports of workers, where they will run on a CPU, in a process to be copied."""
    global _server
    if _server is None and sys.platform == "linux" and not may_have_gpus():
        with suppress(OSError):  # without it workers import for themselves
            _server = ForkServer()
            atexit.register(close)


def fork(
    arguments: Sequence[str], environment: Mapping[str, str], log: int, lock: int
) -> ForkedProcess | None:
    """Return a new worker; None if it must be started in another way.

    ``log`` and ``lock`` are open files: its output, and one to hold.
    """
    if _server is None:
        return None
    worker = {"arguments": arguments, "environment": dict(environment), "folder": os.getcwd()}
    return _server.fork(worker, (log, lock))


def close() -> None:
    """End the process that ``import_ahead`` started, if any."""
    global _server
    if _server is not None:
        _server.close()
        atexit.unregister(close)
    _server = None


@contextmanager
def _adopting() -> Iterator[None]:
    """Context in which this process becomes the parent of its descendants whose parent exits."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.c_int()
    libc.prctl(GET_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    if libc.prctl(SET_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    try:
        yield
    finally:
        libc.prctl(SET_SUBREAPER, before.value, 0, 0, 0)
