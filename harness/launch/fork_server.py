"""The process that forks workers, started by the driver: see ``forking``.

``python -m harness.launch.fork_server FD`` imports, writes "ready" to that socket, and answers each
message, a worker with its open files, by the process id of its copy that has become that worker.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.launch.forking import FORK_SECONDS, MESSAGE, NAME, READY, SET_NAME
from harness.launch.libraries import import_libraries


def main() -> int:
    """Import, then fork a worker for each message. Returns once the driver has closed the socket."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    driver = os.getppid()
    import_libraries(1)
    _import_trials()
    if len(os.listdir("/proc/self/task")) > 1:  # a thread would be missing in the copies
        return 1
    asked.send(READY)
    while True:
        message, files, _, _ = socket.recv_fds(asked, MESSAGE, 3)
        if not message:
            return 0
        pid = _forked(asked, json.loads(message), files, driver)
        if pid is None:  # this is the copy
            from harness.launch import worker

            return worker.main()
        for file in files:
            os.close(file)
        asked.send(str(pid).encode())


def _import_trials() -> None:
    """Import what every trial needs, and leave it out of garbage collection."""
    gc.disable()
    import torch

    import harness.launch.worker
    import harness.trials.check
    import harness.trials.footprints.measured_steps
    import harness.trials.run  # noqa: F401
    from harness.models.pool import freeze_library_objects

    freeze_library_objects()
    gc.enable()
    assert not torch.cuda.is_initialized()


def _forked(
    asked: socket.socket, worker: Mapping[str, Any], files: Sequence[int], driver: int
) -> int | None:
    """Return the process id of a copy of this process; None in the copy.

    The copy is forked by a copy that exits, so that the driver becomes its parent.
    """
    read, write = os.pipe()
    between = os.fork()
    if not between:
        os.close(read)
        copy = os.fork()
        if copy:
            os.write(write, str(copy).encode())
            os._exit(0)
        os.close(write)
        asked.close()
        _become_worker(worker, files, driver)
        return None
    os.close(write)
    with os.fdopen(read) as said:
        pid = int(said.read())
    os.waitpid(between, 0)
    return pid


def _become_worker(worker: Mapping[str, Any], files: Sequence[int], driver: int) -> None:
    """Take the session, the files, the environment and the arguments of a worker."""
    until = time.monotonic() + FORK_SECONDS
    while os.getppid() != driver and time.monotonic() < until:
        time.sleep(0.001)
    os.setsid()
    stdin, log, _ = files  # the last is the sweep's lock, which is held open
    for source, targets in ((stdin, (0,)), (log, (1, 2))):
        for target in targets:
            os.dup2(source, target)
        os.close(source)
    ctypes.CDLL(None).prctl(SET_NAME, NAME, 0, 0, 0)
    os.chdir(worker["folder"])
    os.environ.clear()
    os.environ.update(worker["environment"])
    sys.argv = ["harness.launch.worker", *worker["arguments"]]


if __name__ == "__main__":
    sys.exit(main())
