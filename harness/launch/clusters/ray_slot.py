"""A Ray actor with one worker. Its calls are short; the trial runs in the worker's process."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.launch.clusters.one_worker import one_worker
from harness.launch.local import ANSWERS

Stamps = dict[str, tuple[int, int]]  # name → (size, time of change) of what the driver has
NOT_SENT = ("spec.json", "config.yaml")  # they came from there


class NodeSlot:
    """Runs one worker on a node. Without a shared folder, files travel with the calls."""

    def __init__(
        self, told: Mapping[str, Any], shared: Mapping[str, str] | None, on_gpu: bool
    ) -> None:
        """``shared``: cwd, cache and logs of the driver, if this node has the same folders."""
        self._scratch = None if shared else Path(tempfile.mkdtemp(prefix="harness-"))
        if shared:
            os.chdir(shared["cwd"])  # the paths of the configuration begin there
            cache, logs = shared["cache"], Path(shared["logs"]) / f"{_host()}-{os.getpid()}"
        else:
            assert self._scratch is not None
            cache, logs = self._scratch / "cache", self._scratch / "logs"
        self._launcher = one_worker(told, cache, logs, on_gpu)
        self._launcher.start()
        self._folder = Path()

    def ready(self) -> str:
        """Return the node's name, once the actor is built."""
        return _host()

    def submit(self, folder: str, spec: dict[str, Any], files: Mapping[str, bytes]) -> None:
        """Start the task of ``folder``. ``files``: its content, if the folder is not shared."""
        self._folder = Path(folder)
        if self._scratch is not None:
            self._folder = self._scratch / "task" / Path(folder).name
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            self.put(files)
            own = {"folder": str(self._folder), "cache": str(self._scratch / "cache")}
            spec = {**spec, **{name: path for name, path in own.items() if name in spec}}
        self._launcher.submit(self._folder, spec)

    def put(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            write_bytes(self._folder, name, content)

    def poll(self, has: Stamps, answers: Mapping[str, bytes]) -> dict[str, Any]:
        """Return how the task ended, or None, and the files newer than those the driver ``has``."""
        self.put(answers)
        ended = self._launcher.poll()
        outcome = None
        if ended:
            outcome = {key: value for key, value in asdict(ended[0]).items() if key != "folder"}
        if self._scratch is None:
            return {"ended": outcome, "files": {}, "stamps": {}}
        return {"ended": outcome, **changed(self._folder, has)}

    def close(self, has: Stamps) -> dict[str, Any]:
        """Stop. A trial writes a checkpoint first, which the answer contains."""
        self._launcher.close()
        if self._scratch is None:
            return {"files": {}, "stamps": {}}
        answer = changed(self._folder, has) if self._folder.parts else {"files": {}, "stamps": {}}
        shutil.rmtree(self._scratch, ignore_errors=True)
        return answer


def changed(folder: Path, has: Stamps) -> dict[str, Any]:
    """{"files": name → content of what differs from ``has``, "stamps": of all}."""
    files: dict[str, bytes] = {}
    stamps: Stamps = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in NOT_SENT or any(part.startswith(".") for part in name.split("/")):
            continue  # a part that begins with a dot is being written
        try:
            if not path.is_file():
                continue
            stat = path.stat()
            stamps[name] = (stat.st_size, stat.st_mtime_ns)
            if has.get(name) != stamps[name]:
                files[name] = path.read_bytes()
        except OSError:  # an old checkpoint was just removed
            stamps.pop(name, None)
    return {"files": files, "stamps": stamps}


def write_bytes(folder: Path, name: str, content: bytes) -> None:
    """Write a file atomically. Raises ValueError for a name outside ``folder``."""
    parts = Path(name).parts
    if Path(name).is_absolute() or ".." in parts or not parts:
        raise ValueError(f"{name!r} is not a file of {folder}")
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.write_bytes(content)
    aside.replace(path)


def in_order(files: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """Order files with answers last: a reader that sees an answer finds all other files."""
    return sorted(files.items(), key=lambda item: (item[0] in ANSWERS, item[0]))


def _host() -> str:
    return socket.gethostname()
