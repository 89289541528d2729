"""Check that a trial is reproducible: ``python -m harness.verify runs/NAME/trials/METHOD/FINGERPRINT``.

Runs the first steps of a trial again from its record, and compares the losses with those recorded.
Reports that they are equal bit for bit, or the first step that differs, by how much, and what else
differs (versions, machine, threads). Writes nothing into the trial's folder. ``steps=N`` sets the
number of steps (10).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.arguments import command_arguments, separated
from harness.errors import InputError, refused_paths
from harness.paths import user_path
from harness.records import Record, read_jsonl, read_record

STEPS = 10
USAGE = "python -m harness.verify runs/NAME/trials/METHOD/FINGERPRINT [steps=N]"
HELP = f"""\
Run the first steps of a finished trial again and compare the losses with its record.

  {USAGE}

Reports that they are equal bit for bit, or the first step that differs, by how much, and what else
differs (versions, machine, threads). Writes nothing into the trial's folder. steps= sets the number of
steps (10).

exit codes: 0 equal, 1 they differ, 2 wrong input"""
UNLIKE = ("kind", "seconds")  # keys of a row that may differ between equal runs


@dataclass(frozen=True)
class Difference:
    """The first step at which two runs differ."""

    step: int
    name: str  # of the differing value: loss, grad_norm, ...
    recorded: float | None
    now: float | None

    def __str__(self) -> str:
        if self.recorded is None or self.now is None:
            which = "record" if self.recorded is None else "run now"
            return f"step {self.step}: the {which} has no {self.name}"
        apart = f"{self.now - self.recorded:+.3g}"
        return (
            f"step {self.step}: {self.name} is {self.now!r} now and {self.recorded!r} in the record "
            f"({apart})"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 equal, 1 different, 2 invalid input."""
    arguments = command_arguments(arguments)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        with refused_paths():
            return run(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def run(arguments: Sequence[str]) -> int:
    folder, steps = _typed(arguments)
    record, recorded = _recorded(folder)
    from harness.trials.by_hand.recorded_config import config_of

    config = config_of(folder, record)

    import torch

    from harness.launch.host import device_of_this_process
    from harness.trials.by_hand.first_steps import first_steps

    device = device_of_this_process()
    threads = record.provenance.get("threads")
    if device == "cpu" and threads is not None:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="harness-verify-") as scratch:
        rows = first_steps(config, steps, Path(scratch), device)
    n = min(steps, max(row["step"] for row in recorded))
    found = difference(recorded, rows, n)
    differences = surroundings(record, device)
    if found is None:
        print(f"Equal: the first {n} steps of {folder}, bit for bit.")
    else:
        print(f"Different from {found}.")
    for line in differences:
        print(f"  {line}")
    if found is not None and not differences:
        print("  Versions, machine and threads are those of the record.")
    return 0 if found is None else 1


def difference(
    recorded: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], steps: int
) -> Difference | None:
    """Return the first difference of two curves within ``steps``; None if there is none."""
    old, new = ({row["step"]: row for row in rows} for rows in (recorded, now))
    for step in range(1, steps + 1):
        one, other = old.get(step, {}), new.get(step, {})
        for name in dict.fromkeys(["loss", *one, *other]):
            if name not in UNLIKE and one.get(name) != other.get(name):
                return Difference(step, name, one.get(name), other.get(name))
    return None


def surroundings(record: Record, device: str) -> list[str]:
    """Return one line for each difference between this environment and the recorded one."""
    from harness.records.provenance import environment
    from harness.trials.results.recording import device_name, threads

    here = {**environment(), "device": device_name(device), "threads": threads(device)}
    lines = []
    for name in ("commit", "platform", "device", "threads"):
        old, new = record.provenance.get(name), here[name]
        if old != new:
            lines.append(f"{name}: {_or_unknown(old)} in the record, {_or_unknown(new)} here")
    versions = record.provenance.get("versions", {})
    for name in dict.fromkeys([*versions, *here["versions"]]):
        old, new = versions.get(name), here["versions"].get(name)
        if old != new:
            lines.append(f"{name}: {_or_unknown(old)} in the record, {_or_unknown(new)} here")
    batch, held = record.config["training"]["batch_size"], record.provenance.get("micro_batch_size")
    devices = record.provenance.get("devices_per_trial", 1)
    if devices > 1:
        lines.append(f"the trial was trained over {devices} devices, and over 1 here")
    if record.trained_in_pack:
        lines.append("other trials were trained together with it, and none here (launcher.pack)")
    if held and held < batch:
        lines.append(f"the trial ran out of memory and continued with micro-batches of {held}")
    return lines


def _or_unknown(value: Any) -> str:
    return "unknown" if value is None else str(value)


def _typed(arguments: Sequence[str]) -> tuple[Path, int]:
    places, values = separated(arguments, ("steps",))
    paths = [user_path(place) for place in places]
    steps = values.get("steps", str(STEPS))
    if not steps.isdecimal() or int(steps) < 1:
        raise InputError(f"steps={steps!r} cannot be used: it must be an integer ≥ 1.")
    if len(paths) != 1:
        raise InputError(f"One trial to verify is needed: {USAGE}")
    path = paths[0].parent if paths[0].name == "record.json" else paths[0]
    return path, int(steps)


def _recorded(folder: Path) -> tuple[Record, list[dict[str, Any]]]:
    record = read_record(folder)
    if record is None:
        raise InputError(f"{folder} is not a finished trial: it has no record.json. {USAGE}")
    rows = [row for row in read_jsonl(folder / "metrics.jsonl") if row.get("kind") == "train"]
    if not rows:
        raise InputError(f"{folder}: its metrics.jsonl has no training step to compare with.")
    return record, rows


if __name__ == "__main__":
    sys.exit(main())
