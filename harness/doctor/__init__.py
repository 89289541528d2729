"""Check of what this machine can run: ``python -m harness.doctor [overrides of a sweep]``."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence

from harness.arguments import command_arguments
from harness.errors import InputError, refused_paths
from harness.terminal.phases import phase

HELP = """\
Check what this machine can run: Python and packages, devices, quantization, model, data, metrics,
tasks, storage, tracking, launcher. Nothing is trained or uploaded.

  python -m harness.doctor                              the built-in model and data
  python -m harness.doctor method=qlora,lora            requirements of these methods
  python -m harness.doctor model=hub model.name=Qwen/Qwen3-0.6B data=jsonl data.train=train.jsonl

Overrides are those of `python -m harness.sweep`. Each line is one check: ok; warn if something is
notable, or missing and not needed by this configuration; FAIL if something needed is missing.

exit codes: 0 all requirements are met, 1 a requirement is not met, 2 invalid overrides"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all findings and return the exit code.

    0 if all requirements are met, 1 if one is not, 2 if the overrides are invalid.
    """
    arguments = command_arguments(arguments)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        with phase("reading the configuration"), refused_paths():
            from harness.compose.command_line import compose_from_data
            from harness.doctor.checks import examine
            from harness.doctor.finding import FAIL, Setup
            from harness.doctor.inputs import NETWORK_SECONDS

            sweep, plans, _ = compose_from_data(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore")  # findings already contain them
    logging.disable(logging.WARNING)
    by_default = plans[0].tree["objectives"] is None
    setup = Setup(sweep, tuple(plan.trial({}) for plan in plans), by_default)
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(int(NETWORK_SECONDS)))
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(int(NETWORK_SECONDS)))
    failed = 0
    findings = examine(setup)
    while True:
        with phase("checking"):
            finding = next(findings, None)
        if finding is None:
            break
        failed += finding.verdict == FAIL
        print(f"{finding.subject:<18}{finding.verdict:<6}{finding.fact}", flush=True)
    methods = ", ".join(plan.method for plan in plans)
    result = f"{failed} requirements are not met" if failed else "can run here"
    print(f"\n{methods} on {setup.first.model.name}: {result}")
    return 1 if failed else 0
