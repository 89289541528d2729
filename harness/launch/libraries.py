"""The libraries that every trial needs, imported while the driver still composes its sweep."""

from __future__ import annotations

import gc
import logging
import warnings

TALKATIVE = ("torchao", "bitsandbytes", "torch.utils._pytree")


def import_libraries(threads: int) -> None:
    """Import torch and transformers, and give torch its ``threads``.

    Garbage collection is off meanwhile. The objects of thousands of modules stay, and scanning them
    repeatedly takes a sixth of the CPU time of a start.
    """
    gc.disable()
    import torch
    import transformers.modeling_utils  # noqa: F401

    torch.set_num_threads(threads)
    gc.freeze()
    gc.enable()


def quiet_libraries() -> None:
    """Keep off a person's terminal the remarks of libraries that no user can act on.

    They tell of kernels for other machines and of names that will change. Errors are still said.
    """
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|torch)\.")
