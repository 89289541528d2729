"""Reading and tokenizing many rows: rows a second, CPU seconds and memory of each process.

    python -m bench.data [--rows 100000] [--tokens 150] [--model DIR] [--before CHECKOUT] [--out FILE]

Results beside this file: data.json.

Makes a file of random rows from words of the included texts, each row another one. Three fresh
processes: the first reads the rows and tokenizes them into an empty cache, the second does what
every further worker of a sweep does, and a third takes all training batches of an epoch. With
``--before``, a checkout of another version does the same beside it. Nothing is estimated: memory is
the kernel's peak, of which pages of files that all processes share are a part.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

WHAT = ("first", "further", "epoch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=150, help="of a row, on average")
    parser.add_argument("--model", default=None, help="a folder with a tokenizer")
    parser.add_argument("--before", type=Path, default=None, help="a checkout to compare with")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--measure", choices=WHAT, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder, arguments.model)))
        return
    found: dict[str, Any] = {"rows": arguments.rows, "tokens": arguments.tokens}
    found["model"] = "builtin" if arguments.model is None else Path(arguments.model).name
    with tempfile.TemporaryDirectory() as name:
        write_rows(Path(name) / "train.jsonl", arguments.rows, arguments.tokens, arguments.model)
        versions = {"now": Path.cwd()}
        if arguments.before is not None:
            versions["before"] = arguments.before
        for version, checkout in versions.items():
            folder = Path(name) / version
            folder.mkdir()
            (folder / "train.jsonl").symlink_to(Path(name) / "train.jsonl")
            found[version] = {}
            for what in WHAT:
                measured = in_fresh_process(what, folder, checkout, arguments.model)
                found[version][what] = measured
                print(version, what, json.dumps(measured), flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


def write_rows(path: Path, n: int, tokens: int, model: str | None) -> None:
    """Write ``n`` rows, two fifths of each in the prompt, with about ``tokens`` tokens on average."""
    from harness import builtin

    texts = [file.read_text() for file in sorted(builtin.GENERAL.iterdir())]
    words = np.array(" ".join(texts).split())
    some = " ".join(words[:5000])
    per_word = len(load(model)(some)["input_ids"]) / 5000
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for _ in range(n):
            count = max(5, int(rng.normal(1, 0.3) * tokens / per_word))
            row = words[rng.integers(0, len(words), count)]
            cut = 2 * count // 5
            line = {"prompt": " ".join(row[:cut]), "answer": " ".join(row[cut:])}
            file.write(json.dumps(line) + "\n")


def load(model: str | None) -> Any:
    from transformers import AutoTokenizer

    from harness import builtin

    return AutoTokenizer.from_pretrained(model or builtin.MODEL)


def in_fresh_process(what: str, folder: Path, checkout: Path, model: str | None) -> dict[str, Any]:
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--measure", what]
    command += ["--folder", str(folder)] + (["--model", model] if model else [])
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(what: str, folder: Path, model: str | None) -> dict[str, Any]:
    """Read and tokenize as a trial does; for 'epoch' take every batch of eight sequences as well."""
    from harness.compose.command_line import compose_trial
    from harness.data.rows.splits import read_splits
    from harness.data.tokens.batches import BatchPlan, collate
    from harness.data.tokens.token_cache import cached_encode

    file = folder / "train.jsonl"
    given = ["method=lora", "data=jsonl", f"data.train={file}", "data.validation_fraction=0.001"]
    plan, _ = compose_trial([*given, "data.test_fraction=0.001"])
    config = plan.trial({}).data
    tokenizer = load(model)
    before, began = peak(), (time.process_time(), time.perf_counter())
    splits = read_splits(config)
    n_rows = len(splits.train)
    read = time.process_time()
    rows_peak = peak()
    encoded = cached_encode(folder / "c", splits.train, tokenizer, config, all_references=True)
    cpu, wall = time.process_time() - began[0], time.perf_counter() - began[1]
    found = {
        "rows": n_rows,
        "tokens": int(encoded.offsets[-1]),
        "read_cpu_s": round(read - began[0], 1),
        "cpu_s": round(cpu, 1),
        "wall_s": round(wall, 1),
        "rows_per_cpu_s": round(n_rows / cpu),
        "imports_gb": round(before, 3),
        "read_peak_gb": round(rows_peak, 3),
        "peak_gb": round(peak(), 3),
    }
    if what == "epoch":
        start = time.process_time()
        plan = BatchPlan(len(encoded), 8, 0)
        for step in range(plan.steps_per_epoch):
            collate(encoded, plan.indices(step), 0)
        found["ms_a_batch"] = round(1000 * (time.process_time() - start) / plan.steps_per_epoch, 3)
        found["peak_gb"] = round(peak(), 3)
    return found | {"own_gb": round(status("RssAnon"), 3), "files_gb": round(status("RssFile"), 3)}


def peak() -> float:
    """Return the peak of this process's memory in 2³⁰ bytes."""
    return status("VmHWM")


def status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**20


if __name__ == "__main__":
    main()
