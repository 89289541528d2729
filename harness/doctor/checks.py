"""All checks in their order, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.doctor.destinations import check_storage, check_tracking
from harness.doctor.finding import FAIL, LONGEST, Finding, Setup
from harness.doctor.inputs import check_data, check_metrics, check_model, check_tasks
from harness.doctor.launchers import check_launcher
from harness.doctor.machine import check_devices, check_python, check_quantization
from harness.errors import InputError, first_line

__all__ = ["examine"]

CHECKS: tuple[tuple[str, Callable[[Setup], Iterator[Finding]]], ...] = (
    ("python", check_python),
    ("devices", check_devices),
    ("quantization", check_quantization),
    ("model", check_model),
    ("data", check_data),
    ("metrics", check_metrics),
    ("tasks", check_tasks),
    ("storage", check_storage),
    ("tracking", check_tracking),
    ("launcher", check_launcher),
)


def examine(setup: Setup) -> Iterator[Finding]:
    """Yield the findings of all checks.

    A check that raises yields one FAIL, and the next check runs.
    """
    for name, check in CHECKS:
        try:
            yield from check(setup)
        except InputError as error:
            yield Finding(name, FAIL, str(error))
        except Exception as error:  # any error of a library is reported as a finding
            yield Finding(name, FAIL, f"{type(error).__name__}: {first_line(error)[:LONGEST]}")
