"""The libraries that every trial needs, imported while the driver still composes its sweep."""

from __future__ import annotations

import gc


def import_libraries(threads: int) -> None:
    """Import torch and transformers, and give torch its ``threads``.

    Thousands of modules are made of objects that stay. Looking through them for garbage again and
    again is a sixth of a start's CPU time, so nothing is collected until all are there.
    """
    gc.disable()
    import torch
    import transformers.modeling_utils  # noqa: F401

    torch.set_num_threads(threads)
    gc.freeze()
    gc.enable()
