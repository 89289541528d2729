"""CPU seconds against what a user would run without us, side by side: ``python -m bench.speed``.

Each part runs ours and theirs in turn, ``--rounds`` times, on one thread and the same inputs, and
prints theirs over ours: the mean ratio with its lowest and highest round. ``--out`` keeps every figure
as JSON. Parts:

step        a training step as in ``bench.steps``: transformers' Trainer, and a loop written by hand
answers     greedy answers: ``generate`` in batches of rows as they come
scores      negative log-likelihood: padded batches of rows as they come
start       a worker's imports: Trainer and peft in a process of their own
trial       a whole trial, evaluations and records included (ours alone)
overhead    seconds of a trial beside training, evaluation and its base (ours alone)

Answers and scores are of the model after its ``--steps``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.steps import Steps, cpu
from harness.data.tokens.batches import collate
from harness.data.tokens.encode import encode, prompts
from harness.evaluation.generation import generate
from harness.evaluation.likelihood import sequence_nll
from harness.trials.job import Job
from harness.trials.run import Workbench, run_trial

STARTS = {
    "ours": "import harness.launch.libraries as l; l.import_libraries(1); import harness.trials.run",
    "theirs": "from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer; import peft",
}
NEW_TOKENS = 40


class Bench(Steps):
    """One method on one model and data: what ours and theirs begin with."""

    def __init__(self, method: str, steps: int, overrides: Sequence[str]) -> None:
        super().__init__(method, steps, overrides)
        data, asking = self.config.data, self.splits.validation
        self.valid = encode(asking, self.tokenizer, data, all_references=False)
        self.prompts = prompts(asking, self.tokenizer, data, reserve=NEW_TOKENS)

    def answers(self, model: Any) -> tuple[float, float]:
        size = self.config.evaluation.batch_size
        asked = {"max_new_tokens": NEW_TOKENS, "num_beams": 1, "batch_size": size, "device": "cpu"}
        ours = cpu(lambda: generate(model, self.tokenizer, self.prompts, look=False, **asked))

        def theirs() -> None:
            for start in range(0, len(self.prompts), size):
                some = [{"input_ids": row.tolist()} for row in self.prompts[start : start + size]]
                side = self.tokenizer.padding_side
                self.tokenizer.padding_side = "left"
                padded = self.tokenizer.pad(some, return_tensors="pt")
                self.tokenizer.padding_side = side
                model.generate(**padded, max_new_tokens=NEW_TOKENS, do_sample=False)

        model.eval()
        return ours, cpu(theirs)

    def scores(self, model: Any) -> tuple[float, float]:
        size = self.config.evaluation.batch_size
        ours = cpu(lambda: sequence_nll(model, self.valid, size, "cpu"))

        @torch.no_grad()
        def theirs() -> None:
            for start in range(0, len(self.valid), size):
                indices = list(range(start, min(start + size, len(self.valid))))
                batch = collate(self.valid, indices, 0)
                logits = model(
                    input_ids=batch.input_ids, attention_mask=batch.attention_mask
                ).logits
                assert batch.predict is not None
                kept = logits[:, -batch.input_ids.shape[1] :][batch.predict]
                torch.nn.functional.cross_entropy(kept, batch.targets, reduction="none")

        model.eval()
        return ours, cpu(theirs)

    def trial(self, bench: Workbench) -> tuple[float, dict[str, float]]:
        with tempfile.TemporaryDirectory() as folder:
            job = Job(folder, str(bench.cache), self.config.method["name"], self.config)
            costs: list[dict[str, float]] = []
            spent = cpu(lambda: costs.append(dict(run_trial(job, bench).cost)))
        return spent, costs[0]


def starting(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=["full", "lora", "prompt_tuning"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("overrides", nargs="*", help="of a trial: model=hub model.name=...")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, list[float]]] = {}

    def note(what: str, **seconds: float) -> None:
        for name, value in seconds.items():
            found.setdefault(what, {}).setdefault(name, []).append(value)

    for _ in range(asked.rounds):
        note("start", **{name: starting(code) for name, code in STARTS.items()})
    for name in asked.methods:
        bench = Bench(name, asked.steps, asked.overrides)
        bench.run("trainer")  # warm
        bench.run("ours")
        model = bench.model
        bench.answers(model)
        with tempfile.TemporaryDirectory() as cache:
            workbench = Workbench("cpu", Path(cache))
            bench.trial(workbench)  # measures the base
            for _ in range(asked.rounds):
                ours, trainer, hand = map(bench.run, ("ours", "trainer", "by_hand"))
                note(f"step {name}", ours=ours, theirs=trainer, by_hand=hand)
                ours, theirs = bench.answers(model)
                note(f"answers {name}", ours=ours, theirs=theirs)
                ours, theirs = bench.scores(model)
                note(f"scores {name}", ours=ours, theirs=theirs)
                spent, cost = bench.trial(workbench)
                note(f"trial {name}", ours=spent)
                note(f"overhead {name}", ours=cost["overhead_seconds"])
    print(f"{'':24}{'ours':>9}{'theirs':>9}{'theirs / ours':>18}{'by hand / ours':>18}")
    for what, seconds in found.items():
        print(f"{what:24}{line(seconds)}")
    if asked.out is not None:
        about = {"steps": asked.steps, "overrides": asked.overrides, "torch": torch.__version__}
        asked.out.write_text(json.dumps({"about": about, "seconds": found}, indent=1))


def line(seconds: dict[str, list[float]]) -> str:
    """Mean CPU seconds, and ratios as mean (lowest to highest round)."""
    ours = np.array(seconds["ours"])
    text = f"{ours.mean():9.2f}"
    if "theirs" in seconds:
        text += f"{np.mean(seconds['theirs']):9.2f}"
    for name in ("theirs", "by_hand"):
        if name in seconds:
            ratio = np.array(seconds[name]) / ours
            text += f"{ratio.mean():8.2f} ({ratio.min():.2f}-{ratio.max():.2f})"
    return text


if __name__ == "__main__":
    main()
