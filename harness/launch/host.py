"""This machine: its GPUs, the processes that it killed, and how libraries use its CPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

# Set before torch is imported, unless the user has set them.
ON_A_CPU = {
    # Threads that wait for each other do not spin. With two threads on two cores that other programs
    # used too, 100 steps of the built-in model took 137 s spinning and 12 to 16 s asleep; one thread
    # took 11 s.
    "OMP_WAIT_POLICY": "PASSIVE",
    # bf16 products are compiled for each shape, and kept: 1,024 by default, in two caches. Every batch
    # has its own shapes: a model of 4 MB then held 0.55 GB of them after 64 steps. With 64 they were
    # 5 MB, and the steps no slower.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
}


def set_up_libraries() -> None:
    """Set how libraries use the CPU in this process; call it before torch is imported."""
    for name, value in ON_A_CPU.items():
        os.environ.setdefault(name, value)


def visible_devices() -> list[int | str]:
    """Return the usable GPUs by index or UUID, without initializing CUDA in this process."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        names = [name.strip() for name in named.split(",") if name.strip()]
        used = takewhile(lambda name: name != "-1", names)  # CUDA ignores everything after it
        return [int(name) if name.isdigit() else name for name in used]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(line) for line in listed.stdout.split() if line.isdigit()]


def may_have_gpus() -> bool:
    """Return whether ``visible_devices`` may find any; without asking the driver of the GPUs."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return shutil.which("nvidia-smi") is not None if named is None else bool(named.strip())


def device_of_this_process() -> str:
    """Return torch's name of the device for a trial in this process: the first visible GPU or 'cpu'."""
    set_up_libraries()
    return "cuda:0" if visible_devices() else "cpu"


def oom_kills() -> int:
    """Return the number of processes that the system has killed for lack of memory; 0 if unknown."""
    with suppress(OSError, ValueError):
        fields = dict(map(str.split, Path("/proc/vmstat").read_text().splitlines()))
        return int(fields.get("oom_kill", 0))
    return 0
