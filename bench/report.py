"""Seconds, memory and bytes of the report of a long search, made from the records of a real run.

    python -m bench.report runs/NAME [--trials 1000] [--json FILE] [--profile]

The search trials of the run are copied until there are that many, each copy with a number,
fingerprint, learning rate and scores of its own, so that no two are alike. The finalists stay as
they are. The report is written in a process of its own, whose largest memory is the measured one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.records import Record, read_record, write_record

MEASURED = """
import json, resource, sys, time
began = time.perf_counter()
from pathlib import Path
from harness.reporting import build_report
folder = build_report(Path(sys.argv[1]), Path(sys.argv[2]))
seconds = time.perf_counter() - began
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
print(json.dumps({"seconds": round(seconds, 2), "peak_memory_gb": round(memory, 3), "bytes": sizes}))
"""
HEAVY = ("adapter", "checkpoint", "merged")  # folders of weights, which a report does not read


def multiplied(run: Path, into: Path, trials: int) -> None:
    """Write a run folder with ``trials`` search trials made from those of ``run``."""
    shutil.copytree(run, into, ignore=shutil.ignore_patterns(*HEAVY, "*.lock", "*.db"))
    folders = sorted((into / "trials").glob("*/*"))
    records = [(folder, record) for folder in folders if (record := read_record(folder))]
    searched = [(folder, record) for folder, record in records if record.stage == "search"]
    draw = random.Random(0)
    for copy in range(len(searched), trials):
        folder, record = searched[copy % len(searched)]
        made = varied(record, copy, draw)
        target = folder.parent / made.fingerprint
        shutil.copytree(folder, target)
        (target / "record.json").unlink()
        write_record(target, made)


def varied(record: Record, number: int, draw: random.Random) -> Record:
    """Return the record as that of another trial: its rate and scores differ by a few percent."""
    config = json.loads(json.dumps(record.config))
    rate = config["training"]["learning_rate"]
    if isinstance(rate, int | float):
        config["training"]["learning_rate"] = float(f"{rate * draw.uniform(0.5, 2):.4g}")
    name = f"{number:06d}{record.fingerprint[6:]}"
    measurements = {
        key: replace(one, value=one.value * draw.uniform(0.9, 1.1), interval=None)
        for key, one in record.measurements.items()
    }
    return replace(
        record,
        trial=number,
        fingerprint=name,
        configuration=f"{number:06d}{record.configuration[6:]}",
        config=config,
        measurements=measurements,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--trials", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true", help="print the slowest functions")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for trials in options.trials:
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / "runs" / "many"
            multiplied(options.run, made, trials)
            profiler = ["-m", "cProfile", "-o", f"{scratch}/profile"] if options.profile else []
            script = Path(scratch) / "measured.py"
            script.write_text(MEASURED, encoding="utf-8")
            done = subprocess.run(
                [sys.executable, *profiler, str(script), str(made), f"{scratch}/reports"],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
            )
            rows.append({"trials": trials, **json.loads(done.stdout.strip().splitlines()[-1])})
            print(json.dumps(rows[-1]), flush=True)
            if options.profile:
                import pstats

                pstats.Stats(f"{scratch}/profile").sort_stats("cumulative").print_stats(70)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
