"""Processes that train one trial over several devices, one process per device.

The worker is rank 0 and starts the others as ``python -m harness.launch.ranks``. Each reads the
rendezvous port from its standard input, then the folder of each task. If one process exits, the
worker and all others exit too.
"""

from __future__ import annotations

import argparse
import atexit
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.launch.end_with_parent import exit_with_parent
from harness.launch.launcher import NO_ROOM, TEAM_BROKEN
from harness.launch.libraries import import_libraries
from harness.records import read_json

if TYPE_CHECKING:
    from harness.training.distributed.team import Team, TeamBroken

HOST = "127.0.0.1"
WATCH_SECONDS = 0.2
CLOSE_SECONDS = 2.0  # for an idle process to read the end of its input
WHY_SECONDS = 2.0  # until the failed process has exited and its exit code is known
# The other ranks wait while rank 0 evaluates. The launcher kills a hung worker by its heartbeat.
PATIENCE = timedelta(days=30)


class FollowerProcesses:
    """The processes of all ranks except 0. They import libraries while this process starts up."""

    def __init__(self, size: int, device: str, cache: str, threads: int, sharding: str) -> None:
        """Start the processes, one for each further entry of ``CUDA_VISIBLE_DEVICES``."""
        named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        cuda = device.startswith("cuda")
        self._size, self._device, self._sharding = size, device, sharding
        self._processes: list[subprocess.Popen[str]] = []
        for rank in range(1, size):
            own = {"CUDA_VISIBLE_DEVICES": named[rank]} if cuda else {}
            self._processes.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "harness.launch.ranks"),
                        *("--rank", str(rank), "--size", str(size), "--device", device),
                        *("--cache", cache, "--threads", str(threads)),
                        *("--leader", str(os.getpid()), "--sharding", sharding),
                    ],
                    stdin=subprocess.PIPE,
                    env={**os.environ, **own},
                    text=True,
                )
            )
        if cuda:
            os.environ["CUDA_VISIBLE_DEVICES"] = named[0]
        self._over = False
        atexit.register(self.close)
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Stop the processes and wait for their exit, so that no zombie remains."""
        self._over = True
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def join(self) -> Team:
        """Connect to the other ranks. Returns when all are connected."""
        from torch.distributed import TCPStore

        from harness.training.distributed.team import Team

        store = TCPStore(HOST, 0, self._size, is_master=True, wait_for_workers=False)
        self._tell(str(store.port))
        _meet(0, self._size, self._device, store)
        shards = self._sharding == "fsdp"
        return Team(0, self._size, lambda folder: self._tell(str(folder)), shards)

    def _tell(self, line: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it exited: the watch thread ends this process
                process.stdin.write(f"{line}\n")
                process.stdin.flush()

    def _watch(self) -> None:
        """Exit if another rank exits, because the trial cannot continue. The worker is restarted."""
        while all(process.poll() is None for process in self._processes):
            time.sleep(WATCH_SECONDS)
        if self._over:
            return
        code = self.why()
        codes = [process.poll() for process in self._processes]
        print(
            f"a process of this trial exited (codes {codes}), so this one exits too",
            file=sys.stderr,
        )
        sys.stderr.flush()
        os._exit(code)

    def why(self, error: TeamBroken | None = None) -> int:
        """Return the exit code of a worker whose team broke; lack of memory takes precedence."""
        until = time.monotonic() + WHY_SECONDS
        code = TEAM_BROKEN if error is None else code_of(error)
        while code != NO_ROOM and time.monotonic() < until:
            codes = [process.poll() for process in self._processes]
            code = NO_ROOM if NO_ROOM in codes else code
            if None not in codes:
                break
            time.sleep(WATCH_SECONDS / 4)
        return code


def code_of(error: TeamBroken) -> int:
    from harness.training.distributed.team import NoRoom

    return NO_ROOM if isinstance(error, NoRoom) else TEAM_BROKEN


def _meet(rank: int, size: int, device: str, store: Any) -> None:
    from torch import distributed

    for library in ("GLOO", "NCCL"):  # all run on this machine, whatever its name resolves to
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=PATIENCE
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("rank", "size", "threads", "leader"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("device", "cache", "sharding"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    faulthandler.register(signal.SIGUSR1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # rank 0 decides when all stop
    exit_with_parent(arguments.leader, 0.0)
    import_libraries(arguments.threads)
    from torch.distributed import TCPStore

    from harness.errors import is_out_of_memory
    from harness.training.distributed.team import SynchronizedExit, Team, TeamBroken
    from harness.trials.follower import follow
    from harness.trials.job import Job
    from harness.trials.workbench import Workbench

    rank, size = arguments.rank, arguments.size
    store = TCPStore(HOST, int(sys.stdin.readline()), size, is_master=False)
    _meet(rank, size, arguments.device, store)
    team = Team(rank, size, shards=arguments.sharding == "fsdp")
    bench = Workbench(arguments.device, Path(arguments.cache), team)
    for line in sys.stdin:
        spec = read_json(Path(line.strip()) / "spec.json")
        assert spec is not None, line
        try:
            follow(Job.from_json(spec), bench)
        except TeamBroken as error:
            print(error, file=sys.stderr)
            sys.stderr.flush()
            os._exit(code_of(error))  # the others may wait for this rank in a collective operation
        except (SynchronizedExit, InputError):
            pass  # rank 0 reports it
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
    os._exit(0)  # rank 0 is done: an orderly shutdown is not needed


if __name__ == "__main__":
    sys.exit(main())
