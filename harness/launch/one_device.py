"""The device of a command that runs in its own process, without a launcher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from harness.config import LauncherConfig
from harness.config.strict import from_mapping
from harness.launch.host import set_up_libraries, visible_devices
from harness.launch.local import check

_taken: dict[tuple[int, ...] | None, str] = {}  # launcher.devices → the device in use


def device_of_this_process(tree: Mapping[str, Any]) -> str:
    """Return the device for the composed configuration ``tree``; see ``take_device``."""
    return take_device(from_mapping(LauncherConfig, tree["launcher"], "launcher"))


def take_device(config: LauncherConfig) -> str:
    """Return torch's name of the first of ``launcher.devices``, of the first GPU, or 'cpu'.

    All other GPUs are hidden from CUDA, so call it before anything uses CUDA. Raises InputError for
    devices that do not exist.
    """
    set_up_libraries()
    key = None if config.devices is None else tuple(config.devices)
    if key not in _taken:
        check(config)
        found = visible_devices() if key is None else key
        if found:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(found[0])
        _taken[key] = "cuda:0" if found else "cpu"
    return _taken[key]
