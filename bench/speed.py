"""CPU seconds against what a user would run without us, side by side: ``python -m bench.speed``.

Each part runs ours and theirs in turn, ``--rounds`` times, on one thread and the same inputs, and
prints theirs over ours: the mean ratio with its lowest and highest round. ``--out`` keeps every figure
as JSON. Parts:

step        a training step: transformers' Trainer, and a loop written by hand, with the same batches
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
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import methods
from harness.compose.command_line import compose_trial
from harness.data.rows.splits import read_splits
from harness.data.tokens.batches import BatchPlan, collate
from harness.data.tokens.encode import encode, prompts
from harness.evaluation.generation import generate
from harness.evaluation.likelihood import sequence_nll
from harness.methods import AdaptContext
from harness.models.load import load_base
from harness.training.checkpoint import CheckpointFolder
from harness.training.loop import Hooks, train
from harness.training.precision.autocast import accelerator_for
from harness.trials.job import Job
from harness.trials.run import Workbench, run_trial

STARTS = {
    "ours": "import harness.launch.libraries as l; l.import_libraries(1); import harness.trials.run",
    "theirs": "from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer; import peft",
}
NEW_TOKENS = 40


def cpu(run: Callable[[], Any]) -> float:
    """Seconds of this process's CPU, all of its threads and the system's work for it included."""
    began = time.process_time()
    run()
    return time.process_time() - began


class Bench:
    """One method on one model and data: what ours and theirs begin with."""

    def __init__(self, method: str, steps: int, overrides: Sequence[str]) -> None:
        asked = [f"method={method}", f"training.max_steps={steps}", *overrides]
        self.config = compose_trial([*asked, "tracking=none"])[0].trial({})
        self.steps = steps
        self.splits = read_splits(self.config.data)
        base = load_base(self.config.model, None, "cpu")
        self.tokenizer = base.tokenizer
        data = self.config.data
        self.train = encode(self.splits.train, self.tokenizer, data, all_references=True)
        self.valid = encode(self.splits.validation, self.tokenizer, data, all_references=False)
        asking = self.splits.validation
        self.prompts = prompts(asking, self.tokenizer, data, reserve=NEW_TOKENS)
        plan = BatchPlan(len(self.train), self.config.training.batch_size, self.config.seed)
        self.batches = [collate(self.train, plan.indices(step), 0) for step in range(steps)]

    def tuned(self) -> tuple[Any, Any, AdaptContext]:
        """Return the adapted model, its method and the context of its adaptation."""
        base = load_base(self.config.model, None, "cpu")
        method = methods.fitted(self.config.method, base.model)
        per_epoch = max(1, len(self.train) // self.config.training.batch_size)
        plan = AdaptContext(
            self.steps, per_epoch, self.tokenizer, self.train, self.config.seed, device="cpu"
        )
        torch.manual_seed(self.config.seed)
        return method.adapt(base.model, plan), method, plan

    def ours(self) -> float:
        model, method, plan = self.tuned()
        self.model = model
        training = replace(self.config.training, evaluate_before_training=False, eval_every=10**9)
        hooks = Hooks(
            on_begin=lambda step: None,
            on_step=lambda row: None,
            on_evaluation=lambda step: True,
            on_checkpoint=lambda: None,
            stopping=lambda: False,
        )
        with tempfile.TemporaryDirectory() as folder:
            return cpu(
                lambda: train(
                    model=model,
                    method=method,
                    context=plan,
                    data=self.train,
                    config=training,
                    seed=self.config.seed,
                    accelerator=accelerator_for(training.precision, "cpu"),
                    checkpoints=CheckpointFolder(Path(folder)),
                    hooks=hooks,
                )
            )

    def rows(self) -> list[dict[str, torch.Tensor]]:
        """Return the batches in the form of transformers' causal models."""
        found = []
        for batch in self.batches:
            labels = torch.full_like(batch.input_ids, -100)
            assert batch.predict is not None
            labels[:, 1:][batch.predict[:, :-1]] = batch.targets
            ids, mask = batch.input_ids, batch.attention_mask
            found.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
        return found

    def trainer(self) -> float:
        """Each of its examples is one of our batches, so that both see the same texts in a step."""
        from transformers import Trainer, TrainingArguments

        class InOrder(Trainer):
            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

        model, _, _ = self.tuned()
        training = self.config.training
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=self.steps,
                per_device_train_batch_size=1,
                learning_rate=training.learning_rate,
                warmup_steps=training.warmup_steps,
                lr_scheduler_type="linear",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
                remove_unused_columns=False,
                use_cpu=True,
            )
            rows: Any = self.rows()
            trainer = InOrder(
                model=model, args=arguments, train_dataset=rows, data_collator=lambda one: one[0]
            )
            return cpu(trainer.train)

    def by_hand(self) -> float:
        model, _, _ = self.tuned()
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, self.config.training.learning_rate, weight_decay=0)
        model.train()

        def loop() -> None:
            for row in self.rows():
                model(**row).loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                optimizer.zero_grad()

        return cpu(loop)

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
        bench.ours()  # warm
        bench.trainer()
        model = bench.model
        bench.answers(model)
        with tempfile.TemporaryDirectory() as cache:
            workbench = Workbench("cpu", Path(cache))
            bench.trial(workbench)  # measures the base
            for _ in range(asked.rounds):
                ours, trainer, hand = bench.ours(), bench.trainer(), bench.by_hand()
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
