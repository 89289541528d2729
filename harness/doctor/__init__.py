"""Check of what this machine can run: ``python -m harness.doctor [the overrides of a sweep]``."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence

from harness.doctor.finding import FAIL, Line, Setup, first_line
from harness.doctor.inputs import (
    NETWORK_SECONDS,
    check_data,
    check_metrics,
    check_model,
    check_tasks,
)
from harness.doctor.launchers import check_launcher
from harness.doctor.machine import check_devices, check_python, check_quantization
from harness.doctor.outputs import check_storage, check_tracking
from harness.errors import InputError

HELP = """\
What this machine can run: Python and packages, devices, quantization, model, data, metrics, tasks,
storage, tracking, launcher. Nothing is trained and nothing is uploaded.

  python -m harness.doctor                              the built-in model and data
  python -m harness.doctor method=qlora,lora            what these methods need
  python -m harness.doctor model=hub model.name=Qwen/Qwen3-0.6B data=jsonl data.train=train.jsonl

Overrides are those of `python -m harness.sweep`. A line a step: ok; warn, where something is worth
knowing, or is missing and this configuration does not need it; FAIL, where it is needed.

exit codes: 0 all that is needed is ok, 1 something that is needed fails, 2 wrong overrides"""


CHECKS: tuple[tuple[str, Callable[[Setup], Iterator[Line]]], ...] = (
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


def examine(setup: Setup) -> Iterator[Line]:
    """Yield the lines of all checks. A check that raises is one FAIL, and the next one runs."""
    for name, check in CHECKS:
        try:
            yield from check(setup)
        except InputError as error:
            yield Line(name, FAIL, str(error))
        except Exception as error:  # any error of a library is a finding
            yield Line(name, FAIL, f"{type(error).__name__}: {first_line(error)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 all requirements are met, 1 one fails, 2 the input is invalid."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    from harness.compose.command_line import compose_sweep

    try:
        sweep, plans = compose_sweep(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore")  # warnings of libraries are in the findings
    logging.disable(logging.WARNING)
    by_default = plans[0].tree["objectives"] is None
    setup = Setup(sweep, tuple(plan.trial({}) for plan in plans), by_default)
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(int(NETWORK_SECONDS)))
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(int(NETWORK_SECONDS)))
    failed = 0
    for line in examine(setup):
        failed += line.verdict == FAIL
        print(f"{line.subject:<18}{line.verdict:<6}{line.fact}", flush=True)
    methods = ", ".join(plan.method for plan in plans)
    needed = f"{failed} of what this configuration needs fails" if failed else "can run here"
    print(f"\n{methods} on {setup.first.model.name}: {needed}")
    return 1 if failed else 0
