"""Training steps on the same texts, ours and others': ``python -m bench.steps``.

ours            ``harness.training.loop``
trainer         transformers' Trainer (with peft), padded batches
by_hand         a loop written by hand, padded batches
padding_free    the same loop, with texts end to end: one call of attention for each text
position_ids    the same, with position ids alone: transformers masks all pairs of tokens

Prints CPU seconds on one thread, others' over ours as the mean of ``--rounds`` with the lowest and
highest, and the largest relative difference of a step's loss from ours. With ``--memory`` each runs
in a process of its own, and its peak of resident memory in training is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import methods
from harness.compose.command_line import compose_trial
from harness.data.rows.splits import read_splits
from harness.data.tokens.batches import BatchPlan, collate
from harness.data.tokens.encode import encode
from harness.methods import AdaptContext
from harness.models.end_to_end import kept_apart, one_row
from harness.models.load import load_base
from harness.training import schedules
from harness.training.checkpoint import CheckpointFolder
from harness.training.loop import Hooks, train
from harness.training.precision.autocast import accelerator_for

WAYS = ("ours", "trainer", "by_hand", "padding_free", "position_ids")


def cpu(run: Callable[[], Any]) -> float:
    """Seconds of this process's CPU, all of its threads and the system's work for it included."""
    began = time.process_time()
    run()
    return time.process_time() - began


class Steps:
    """One method on one model and data, and its steps in several ways."""

    def __init__(self, method: str, steps: int, overrides: Sequence[str]) -> None:
        alike = ("training.warmup_steps=0", "training.schedule=linear", "training.weight_decay=0")
        asked = [f"method={method}", f"training.max_steps={steps}", *alike, *overrides]
        self.config = compose_trial([*asked, "tracking=none"])[0].trial({})
        self.steps = steps
        self.splits = read_splits(self.config.data)
        self.tokenizer = load_base(self.config.model, None, "cpu").tokenizer
        data = self.config.data
        self.train = encode(self.splits.train, self.tokenizer, data, all_references=True)
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

    def run(self, way: str) -> float:
        """Train a new model. Return the CPU seconds of its steps, and keep ``model`` and ``losses``."""
        self.model, method, plan = self.tuned()
        self.losses: list[float] = []
        _forget_peak()
        if way == "ours":
            return self._ours(method, plan)
        return self._trainer() if way == "trainer" else self._loop(way)

    def _ours(self, method: Any, plan: AdaptContext) -> float:
        training = replace(self.config.training, evaluate_before_training=False, eval_every=10**9)
        hooks = Hooks(
            on_begin=lambda step: None,
            on_step=lambda row: self.losses.append(row["loss"]),
            on_evaluation=lambda step: True,
            on_checkpoint=lambda: None,
            stopping=lambda: False,
        )
        with tempfile.TemporaryDirectory() as folder:
            return cpu(
                lambda: train(
                    model=self.model,
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

    def _trainer(self) -> float:
        """Each of its examples is one of our batches, so that both see the same texts in a step."""
        from transformers import Trainer, TrainingArguments

        losses = self.losses

        class InOrder(Trainer):
            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

            def compute_loss(self, *arguments: Any, **named: Any) -> Any:
                loss = super().compute_loss(*arguments, **named)
                losses.append(loss.detach())
                return loss

        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=self.steps,
                per_device_train_batch_size=1,
                learning_rate=self.config.training.learning_rate,
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
                model=self.model,
                args=arguments,
                train_dataset=rows,
                data_collator=lambda one: one[0],
            )
            return cpu(trainer.train)

    def _loop(self, way: str) -> float:
        training = self.config.training
        trained = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, training.learning_rate, weight_decay=0)
        self.model.train()

        def loss_of(number: int) -> torch.Tensor:
            if way == "by_hand":
                return self.model(**rows[number]).loss
            batch = self.batches[number]
            assert batch.predict is not None
            mask, where = batch.attention_mask.numpy(), batch.predict.numpy()
            row = one_row(batch.input_ids, mask, where)
            inputs = {"input_ids": row.input_ids, "position_ids": row.position_ids}
            apart = kept_apart(self.model, row.lengths)
            with apart if way == "padding_free" else nullcontext():
                labels = torch.full_like(row.input_ids, -100)
                labels[0, 1:][torch.from_numpy(row.where[:-1])] = batch.targets
                # With a cache transformers would not look for texts in a row.
                return self.model(**inputs, labels=labels, use_cache=False).loss

        def loop() -> None:
            for number in range(self.steps):
                for group in optimizer.param_groups:
                    factor = schedules.factor(training, number, self.steps)
                    group["lr"] = training.learning_rate * factor
                loss = loss_of(number)
                loss.backward()
                self.losses.append(loss.detach())
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                optimizer.zero_grad()

        rows = self.rows()
        return cpu(loop)


def _forget_peak() -> None:
    """Begin anew with the largest resident memory of this process."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_gb() -> float:
    """Return the largest resident memory of this process since ``_forget_peak``, in GB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1]) * 1024e-9


def apart_from(ours: Sequence[float], others: Sequence[Any]) -> float:
    """Return the largest relative difference of two sequences of losses."""
    return max(abs(float(b) / a - 1) for a, b in zip(ours, others, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=["full", "lora"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS[:4]), choices=WAYS)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("overrides", nargs="*", help="of a trial: model=hub model.name=...")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for name in asked.methods:
        if asked.memory and len(asked.ways) > 1:
            for way in asked.ways:
                _in_a_process(name, way, asked)
            continue
        bench = Steps(name, asked.steps, asked.overrides)
        if not asked.memory:
            bench.run("ours")  # warm
        for _ in range(1 if asked.memory else asked.rounds):
            row: dict[str, Any] = {"method": name}
            for way in asked.ways:
                row[way] = {"seconds": bench.run(way), "losses": [float(x) for x in bench.losses]}
                row[way]["peak_gb"] = peak_gb()
            found.append(row)
        rows = [row for row in found if row["method"] == name]
        for way in asked.ways:
            print(f"{name:16}{line(way, rows)}", flush=True)
    if asked.out is not None:
        about = {"steps": asked.steps, "overrides": asked.overrides, "torch": torch.__version__}
        asked.out.write_text(json.dumps({"about": about, "rounds": found}, indent=1))


def line(way: str, rows: Sequence[dict[str, Any]]) -> str:
    """Mean CPU seconds, peak, and the ratio to ours as mean (lowest to highest round)."""
    seconds = np.array([row[way]["seconds"] for row in rows])
    text = f"{way:14}{seconds.mean():8.2f} s{max(row[way]['peak_gb'] for row in rows):8.3f} GB"
    if way == "ours" or "ours" not in rows[0]:
        return text
    ratio = seconds / np.array([row["ours"]["seconds"] for row in rows])
    difference = max(apart_from(row["ours"]["losses"], row[way]["losses"]) for row in rows)
    text += f"{ratio.mean():8.2f} ({ratio.min():.2f}-{ratio.max():.2f})"
    return f"{text}  loss {difference:.1e}"


def _in_a_process(method: str, way: str, asked: argparse.Namespace) -> None:
    options = ["--memory", "--methods", method, "--ways", way, "--steps", str(asked.steps)]
    command = [sys.executable, "-m", "bench.steps", *options, "--", *asked.overrides]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
