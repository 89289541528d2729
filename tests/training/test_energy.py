"""Energy is the device's own counter, in joules; where there is none it stays missing."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from harness.training.energy import EnergyMeter


def library(readings):
    """Simulated output of NVIDIA's library for one device, which test machines lack."""
    read = iter(readings)

    def consumed(handle):
        value = next(read)
        if isinstance(value, Exception):
            raise value
        return value

    return SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=consumed,
    )


@pytest.fixture
def device(monkeypatch):
    properties = SimpleNamespace(uuid="0a1b")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


def test_millijoules_since_it_was_made(device, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", library([5_000_000, 5_250_000, 6_000_000]))
    meter = EnergyMeter("cuda:0")
    assert (meter.joules(), meter.joules()) == (250.0, 1000.0)


def test_a_counter_that_fails_is_a_missing_value(device, monkeypatch):
    for readings in ([RuntimeError("not supported")], [1, RuntimeError("lost")]):
        monkeypatch.setitem(sys.modules, "pynvml", library(readings))
        assert EnergyMeter("cuda:0").joules() is None


def test_without_library_or_device(monkeypatch):
    assert EnergyMeter("cpu").joules() is None
    assert EnergyMeter("cuda:0").joules() is None, "no driver here"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert EnergyMeter("cuda:0").joules() is None
