"""Energy used by a GPU, read from NVIDIA's management library (NVML)."""

from __future__ import annotations

from typing import Any


class EnergyMeter:
    """Measure the energy of one GPU since the creation of the meter, all its processes included.

    Needs ``pynvml`` (the extra ``energy``) and a GPU of the Volta generation or later.
    """

    def __init__(self, device: str) -> None:
        self._nvml, self._handle, self._began = None, None, 0
        if not device.startswith("cuda"):
            return
        try:
            import pynvml  # pyright: ignore[reportMissingImports]
            import torch

            pynvml.nvmlInit()
            # By UUID: NVML numbers devices differently from CUDA.
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self._nvml: Any = pynvml
            self._began = self._counter()
        except Exception:  # without library, driver or counter the energy is a missing value
            self._nvml = None

    def joules(self) -> float | None:
        """Return the energy in joules, or None if the device does not report it."""
        if self._nvml is None:
            return None
        try:
            return (self._counter() - self._began) / 1000
        except Exception:
            return None

    def _counter(self) -> int:
        return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)  # millijoules
