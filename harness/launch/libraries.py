"""Import of torch and transformers in a worker, while the driver still composes its sweep."""

from __future__ import annotations

import gc
import os

from harness.launch.host import set_up_libraries


def library_environment() -> dict[str, str]:
    """Return this environment with what libraries read in a worker when they are imported."""
    # Nothing is compiled, and without it imports take 2 s less.
    return {"TORCHDYNAMO_DISABLE": "1", **os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}


def import_libraries(threads: int) -> None:
    """Import torch and transformers, and set torch's number of ``threads``.

    Garbage collection is off meanwhile: scanning the objects of thousands of modules again and
    again would take a sixth of the CPU time of a start.
    """
    set_up_libraries()
    gc.disable()
    import torch
    import transformers.modeling_utils  # noqa: F401

    torch.set_num_threads(threads)
    gc.freeze()
    gc.enable()
