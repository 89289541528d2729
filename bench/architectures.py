"""Compatibility of methods and architectures: every method on a tiny random model of each.

    python -m bench.architectures [--architectures Llama "GPT-2"] [--methods lora qlora] [--out FILE]

Three steps of each through the product's own ``run_trial``, in this process. A pair works, is refused
(the message is the reason), or is at fault: an error that no user should see, and exit code 1.
``--table docs/architectures.md`` writes the table of all that ``--out`` holds; pairs that it holds
already are not run again.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.tiny_architectures import TINY
from harness.compose.command_line import compose_trial, conf_dir
from harness.config import LimitsConfig
from harness.errors import InputError
from harness.trials.job import Job
from harness.trials.run import Workbench, run_trial

METHODS = tuple(sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml")))
SMALL = (
    "training.max_steps=3",
    "training.batch_size=2",
    "training.precision=no",
    "training.warmup_steps=0",
    "data.train_limit=6",
    "data.validation_limit=2",
    "data.test_limit=2",
    "data.general_limit=1",
    "data.max_length=64",
    "evaluation.max_new_tokens=4",
    "evaluation.watched_examples=2",
    "evaluation.bootstrap_resamples=100",
    "evaluation.task_folder=null",
    "tracking=none",
)
LESS = {
    "forest_importance": ("method.masks=4", "method.samples=4", "method.trees=5"),
    "importance_mask": ("method.samples=4",),
    **dict.fromkeys(("shira", "pissa", "olora", "loftq"), ("method.r=2",)),  # narrow layers
    "eva": (
        "method.r=2",
        "method.eva_sequences=4",
    ),
}
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def make(architecture: str, folder: Path) -> None:
    """Save a random model of that ``architecture`` with the built-in tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from harness import builtin

    kind, fields = TINY[architecture]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(builtin.MODEL).save_pretrained(folder)


def outcome(model: Path, method: str, bench: Workbench, runs: Path) -> dict[str, Any]:
    """Run three steps and return 'works', 'refused' or 'fault', with the reason."""
    overrides = ["model=hub", f"model.name={model}", f"method={method}", *SMALL]
    try:
        plan, _ = compose_trial([*overrides, *LESS.get(method, ())])
        record = run_trial(_job(plan.trial({}), method, runs, bench.cache), bench)
    except InputError as error:
        return {"outcome": "refused", "why": str(error).replace(str(model), "MODEL")}
    except Exception as error:  # whatever it is: this is what is looked for
        last = f"{type(error).__name__}: {error}".splitlines()[0]
        return {"outcome": "fault", "why": last, "traceback": traceback.format_exc()}
    if record.status != "complete":
        return {"outcome": "fault", "why": f"{record.status}: {record.reason}"}
    about = record.provenance
    return {"outcome": "works", "cautions": about["warnings"], "adapted": about["adapted"]}


def _job(config: Any, method: str, runs: Path, cache: Path) -> Job:
    limits = LimitsConfig(None, None, None, None)
    folder = runs / method
    folder.mkdir()
    return Job(
        folder=str(folder),
        cache=str(cache),
        method=method,
        config=config,
        limits=limits,
        trial=0,
        attempt=1,
        fingerprint="0" * 12,
        configuration="0" * 12,
        overrides=(),
        searched={},
        asks_pruner=False,
        keep_adapter=True,
    )


def run(
    architectures: Sequence[str], methods: Sequence[str], out: Path
) -> Iterator[dict[str, Any]]:
    """Return a row for each pair, and write it to ``out`` at once."""
    known = {(row["architecture"], row["method"]) for row in read(out)}
    for architecture in architectures:
        todo = [method for method in methods if (architecture, method) not in known]
        if not todo:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(architecture, folder / "model")
            bench = Workbench("cpu", folder / "cache")
            for method in todo:
                found = outcome(folder / "model", method, bench, folder)
                row = {"architecture": architecture, "method": method, **found}
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                yield row


def read(out: Path) -> list[dict[str, Any]]:
    """Rows, the last of each pair."""
    if not out.exists():
        return []
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return list({(row["architecture"], row["method"]): row for row in rows}.values())


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row an architecture, what is refused on it and why, the reasons numbered below."""
    reasons: dict[str, int] = {}
    lines = [
        "| Architecture | `model_type` | Works | Refused | Weights in no layer |",
        "|---|---|---:|---|---:|",
    ]
    for architecture in dict.fromkeys(row["architecture"] for row in rows):
        of_it = [row for row in rows if row["architecture"] == architecture]
        works = [row for row in of_it if row["outcome"] == "works"]
        refused: dict[int, list[str]] = {}
        for row in of_it:
            if row["outcome"] != "works":
                number = reasons.setdefault(_reason(row), len(reasons) + 1)
                refused.setdefault(number, []).append(row["method"])
        said = "; ".join(f"{', '.join(names)} [{n}]" for n, names in sorted(refused.items()))
        stacked = max((row["adapted"]["stacked_share"] for row in works), default=0.0)
        share = f"{stacked:.0%}" if stacked else ""
        kind = TINY[architecture][0]
        lines.append(
            f"| {architecture} | {kind} | {len(works)} of {len(of_it)} | {said} | {share} |"
        )
    notes = [f"{n}. {reason}" for reason, n in reasons.items()]
    return "\n".join([*lines, "", *notes])


def _reason(row: dict[str, Any]) -> str:
    """Return the message without parts that differ only by method or model."""
    said = row["why"]
    if row["outcome"] == "fault":
        return f"FAULT {said}"
    said = said.removesuffix(". docs/architectures.md lists what works on which architecture.")
    said = said.partition(" cannot be used: ")[2] or said
    said = re.sub(r"\b\w+(ForCausalLM|ForConditionalGeneration|LMHeadModel)\b", "the model", said)
    return re.sub(r"; it has: .*", "", said)


def write(page: Path, text: str) -> None:
    """Put the table between the marks of ``page``."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", nargs="*", default=list(TINY))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=Path("architectures.jsonl"))
    parser.add_argument("--table", type=Path, default=None)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    counts: Counter[str] = Counter()
    for row in run(options.architectures, options.methods, options.out):
        counts[row["outcome"]] += 1
        if row["outcome"] != "works":
            print(
                f"{row['architecture']} {row['method']}: {row['outcome']}: {row['why']}", flush=True
            )
    print(dict(counts))
    if options.table is not None:
        write(options.table, table(read(options.out)))
    return 1 if counts["fault"] else 0


if __name__ == "__main__":
    sys.exit(main())
