"""Ray launcher: one actor per worker on an existing cluster. Ray only places and monitors them."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.config.launcher_clusters import RayConfig
from harness.errors import InputError
from harness.launch.clusters.one_worker import shared_fields
from harness.launch.clusters.ray_slot import NodeSlot, Stamps, changed, in_order, write_bytes
from harness.launch.launcher import Ended
from harness.launch.local import ANSWERS
from harness.paths import user_path
from harness.records import write_json
from harness.records.heartbeat import grace_seconds

POLL_SECONDS = 0.5  # between polls of one actor
SILENT_SECONDS = 60.0  # an actor that is unreachable for longer is abandoned
REACH_SECONDS = 10.0
NOTICE_SECONDS = 10.0  # of waiting for room in the cluster before a message
FAILURES = 3  # consecutive actors that failed to start


@dataclass
class _Slot:
    actor: Any
    ready: bool = False
    folder: Path | None = None
    asked: Any = None  # the call that is under way
    submits: bool = False  # whether that call submits the task
    again: float = 0.0  # time of the next poll
    silent: float | None = None
    has: Stamps = field(default_factory=dict)


class RayLauncher:
    """Runs tasks in Ray actors. Actors exit with the driver, and workers with their actor."""

    slot_class: type = NodeSlot

    def __init__(self, config: RayConfig, cache: Path, logs: Path) -> None:
        check(config)
        self._config = config
        places = {"cwd": os.getcwd(), "cache": str(cache.absolute()), "logs": str(logs.absolute())}
        self._shared = places if config.shared else None
        self._slots: list[_Slot] = []
        self._waiting: deque[tuple[Path, dict[str, Any]]] = deque()
        self._failed = 0
        self._ours = connect(config)  # first: Ray sets signal handlers, which the sweep replaces
        self._size = config.workers or fitting(config)
        if not self._size:
            import ray

            have = {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU")}
            self.close()
            raise InputError(
                f"launcher=ray: no node of the cluster has {config.num_cpus:g} CPUs and "
                f"{config.num_gpus:g} GPUs (launcher.num_cpus, launcher.num_gpus); together they "
                f"have {have}."
            )

    @property
    def size(self) -> int:
        return self._size

    @property
    def sharing(self) -> int:
        return max(1, round(1 / self._config.num_gpus)) if self._config.num_gpus else 1

    @property
    def measured_at_once(self) -> int:
        return 1  # others may have to wait for a node

    def start(self) -> None:
        """Request the actors, whose workers start importing."""
        while len(self._slots) < self._size:
            self._slots.append(_Slot(self._actor()))

    def _actor(self) -> Any:
        import ray

        config = self._config
        told = shared_fields(config, max(1, int(config.num_cpus)))
        options = {"num_cpus": config.num_cpus, "num_gpus": config.num_gpus, "max_restarts": 0}
        actor = ray.remote(self.slot_class).options(**options)
        return actor.remote(told, self._shared, config.num_gpus > 0)

    def has_room(self) -> bool:
        """Return whether an actor is idle. Waits if no task is running, or the sweep would end."""
        self.start()
        began, said = time.monotonic(), False
        while True:
            self._look_for_new()
            idle = sum(slot.ready and slot.folder is None for slot in self._slots)
            if idle > len(self._waiting):
                return True
            if self._waiting or any(slot.folder is not None for slot in self._slots):
                return False
            if not said and time.monotonic() - began > NOTICE_SECONDS:
                print("launcher=ray: waiting for free resources in the cluster …")
                said = True
            time.sleep(0.1)

    def submit(self, folder: Path, spec: dict[str, Any]) -> None:
        """Submit a task now, or as soon as an actor is idle."""
        self.start()
        for name in ANSWERS:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / "spec.json", spec)
        self._waiting.append((folder, spec))
        self._look_for_new()

    def _look_for_new(self) -> None:
        """Register actors that are ready, and give waiting tasks to them."""
        import ray

        for slot in self._slots:
            if not slot.ready:
                slot.asked = slot.asked or slot.actor.ready.remote()
                if not ray.wait([slot.asked], timeout=0)[0]:
                    continue
                try:
                    ray.get(slot.asked)
                except ray.exceptions.RayError as error:
                    self._replace(slot)
                    self._failed += 1
                    if self._failed >= FAILURES * self._size:
                        why = str(error).strip().splitlines()[-1]
                        raise InputError(f"launcher=ray: no actor can be built: {why}") from None
                    continue
                slot.ready, slot.asked, self._failed = True, None, 0
            if slot.folder is None and self._waiting:
                slot.folder, spec = self._waiting.popleft()
                sent = {} if self._shared else changed(slot.folder, {})["files"]
                path = str(slot.folder.absolute())
                slot.asked, slot.submits = slot.actor.submit.remote(path, spec, sent), True

    def poll(self) -> list[Ended]:
        """Return the tasks that ended since the last call."""
        self._look_for_new()
        found = [self._of(slot) for slot in self._slots if slot.ready and slot.folder is not None]
        return [end for end in found if end is not None]

    def _of(self, slot: _Slot) -> Ended | None:
        import ray

        folder = slot.folder
        assert folder is not None
        if slot.asked is None:
            if time.monotonic() >= slot.again:
                answers = {} if self._shared else self._decisions(slot)
                slot.asked = slot.actor.poll.remote(slot.has, answers)
            return None
        if not ray.wait([slot.asked], timeout=0)[0]:
            return None
        asked, slot.asked = slot.asked, None
        slot.again = time.monotonic() + POLL_SECONDS
        try:
            answer = ray.get(asked)
        except ray.exceptions.RayError as error:
            if isinstance(error, ray.exceptions.ActorUnavailableError) and not slot.submits:
                slot.silent = slot.silent or time.monotonic()
                if time.monotonic() - slot.silent < SILENT_SECONDS:
                    return None
            elif not isinstance(error, ray.exceptions.RayActorError):
                print(f"launcher=ray: {str(error).strip().splitlines()[-1]}")
            self._replace(slot)  # lost with its node, or killed now: nothing writes there any more
            return Ended(folder, lost=-9)
        slot.silent = None
        if slot.submits:
            slot.submits = False
            return None
        self._receive(slot, answer)
        if answer["ended"] is None:
            return None
        slot.folder, slot.has = None, {}
        return Ended(folder, **answer["ended"])

    def _decisions(self, slot: _Slot) -> dict[str, bytes]:
        """Return the driver's new answers: few files, and small."""
        assert slot.folder is not None
        new = slot.folder.glob("decision-*.json")
        return {path.name: path.read_bytes() for path in new if path.name not in slot.has}

    def _receive(self, slot: _Slot, answer: dict[str, Any]) -> None:
        """Write the files that came, and delete those that the node deleted."""
        assert slot.folder is not None
        for name in slot.has.keys() - answer["stamps"].keys():
            (slot.folder / name).unlink(missing_ok=True)
        for name, content in in_order(answer["files"]):
            write_bytes(slot.folder, name, content)
        slot.has = answer["stamps"]

    def _replace(self, slot: _Slot) -> None:
        import ray

        ray.kill(slot.actor)
        slot.__init__(self._actor())

    def close(self) -> None:
        """Stop all workers. Those on a trial write a checkpoint first."""
        import ray

        slots, self._slots = self._slots, []
        self._waiting.clear()
        closing = [(s, s.actor.close.remote(s.has)) for s in slots if s.ready]
        if closing:
            asked = [call for _, call in closing]
            seconds = grace_seconds(slot.folder for slot, _ in closing)
            ray.wait(asked, num_returns=len(asked), timeout=seconds + 10)
        for slot, call in closing:
            try:
                answer = ray.get(call, timeout=0)
                if slot.folder is not None and not self._shared:
                    self._receive(slot, answer)
            except ray.exceptions.RayError:
                pass  # it has exited already, or hangs and is killed
        for slot in slots:
            ray.kill(slot.actor)
        if self._ours:
            self._ours = False
            ray.shutdown()


def check(config: RayConfig) -> None:
    """Check the installation. Raises InputError if the package or a file to send is missing."""
    if find_spec("ray") is None:
        raise InputError("launcher=ray needs the package ray: pip install 'finetune-harness[ray]'")
    if config.working_dir is not None and not user_path(config.working_dir).is_dir():
        raise InputError(f"launcher.working_dir={config.working_dir!r} is no folder.")


def make(config: RayConfig, cache: Path, logs: Path, lock: int) -> RayLauncher:
    """Return the launcher, connected to the cluster. Raises InputError where none answers."""
    return RayLauncher(config, cache, logs)


def describe(config: RayConfig) -> str:
    """Return version and address in one line. Raises InputError if no cluster answers."""
    reach(config)
    return f"ray {version('ray')} at {config.address}; {config.num_gpus:g} GPUs a worker"


def connect(config: RayConfig) -> bool:
    """Connect, and return whether this call did. Raises InputError where no cluster answers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return False
    reach(config)
    environment = {} if config.working_dir is None else {"working_dir": config.working_dir}
    try:
        ray.init(
            address=config.address,
            runtime_env=environment or None,
            log_to_driver=False,
            logging_level="error",
        )
    except Exception as error:  # ConnectionError, AuthenticationError, and whatever else it raises
        raise _nobody(config, error) from None
    return True


def reach(config: RayConfig) -> None:
    """Check that a named address answers; Ray itself would retry forever. Raises InputError."""
    host, colon, port = config.address.removeprefix("ray://").rpartition(":")
    try:
        if colon:
            where = host.strip("[]"), int(port)
            socket.create_connection(where, timeout=REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _nobody(config, error) from None


def _nobody(config: RayConfig, error: Exception) -> InputError:
    why = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(
        f"launcher.address={config.address!r}: no Ray cluster answers there ({why}). Start one with "
        "`ray start --head`, or name its head."
    )


def fitting(config: RayConfig) -> int:
    """Return how many workers fit on the live nodes if all of them were free."""
    import ray

    wanted = {"CPU": config.num_cpus, "GPU": config.num_gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needed = {name: n for name, n in wanted.items() if n > 0}
    return sum(min(int(node.get(name, 0) / n) for name, n in needed.items()) for node in nodes)
