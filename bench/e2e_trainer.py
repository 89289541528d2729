"""Baseline on E2E by transformers' Trainer and peft, with the same settings.

    python -m bench.e2e_trainer --model DIR --data DIR [--seeds 10] [--settings lora-100]

Prints one row a setting and seed: BLEU (greedy, sacrebleu 13a) and perplexity of the answers on the 50
validation inputs, at the same rate, schedule, batch size and steps, of three models: the Trainer's,
ours, and the Trainer's fed with the sequences in our order. The third must equal ours: then nothing but
the order in which sequences are seen, which is chance, sets the first apart. Then the means, and the
difference of the first two over seeds with its 95 % interval. Two minutes a seed and 100 steps on one
core.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from sacrebleu.metrics.bleu import BLEU

from harness.compose.command_line import compose_trial
from harness.config import LimitsConfig
from harness.data.rows.splits import read_splits
from harness.data.tokens.batches import BatchPlan
from harness.data.tokens.encode import encode, prompts
from harness.evaluation.generation import generate
from harness.evaluation.likelihood import n_labels, sequence_nll
from harness.models.load import load_base
from harness.trials.job import Job
from harness.trials.run import Workbench, run_trial

LORA = ["method=lora", "method.r=8", "method.lora_alpha=16", "training.learning_rate=1e-2"]
FULL = ["method=full", "training.learning_rate=2e-3"]
SETTINGS = {
    "lora-100": [*LORA, "training.max_steps=100"],
    "lora-300": [*LORA, "training.max_steps=300"],
    "full-100": [*FULL, "training.max_steps=100"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="folder with train.jsonl and valid.jsonl")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    arguments = parser.parse_args()
    common = [
        *("model=hub", f"model.name={arguments.model}", "model.dtype=float32"),
        *("data=jsonl", f"data.train={arguments.data}/train.jsonl"),
        *(f"data.validation={arguments.data}/valid.jsonl", "data.prompt_column=mr"),
        *("data.answer_column=ref", "data.test_fraction=0", "training.precision=no"),
        *("training.batch_size=8", "training.warmup_steps=0", "evaluation.max_new_tokens=100"),
        "evaluation.batch_size=50",
    ]
    for name in arguments.settings:
        rows = []
        for seed in range(arguments.seeds):
            plan, _ = compose_trial([*common, *SETTINGS[name], f"seed={seed}"])
            config = plan.trial({})
            row = with_trainer(config), with_harness(config), with_trainer(config, our_order=True)
            rows.append(row)
            print(f"{name} seed {seed}  {side_by_side(row)}", flush=True)
        print(f"{name} mean    {side_by_side(np.mean(rows, axis=0))}")
        for column, what in enumerate(("BLEU", "ln perplexity")):
            values = np.array(rows)[:, :, column]
            values = np.log(values) if column else values
            change = values[:, 1] - values[:, 0]
            half = scipy.stats.t.ppf(0.975, len(change) - 1) * scipy.stats.sem(change)
            print(f"  {what}, harness - Trainer: {change.mean():+.3f} ± {half:.3f}", flush=True)


def side_by_side(row: Any) -> str:
    names = ("Trainer", "harness", "Trainer in our order")
    values = (f"{name} {bleu:5.1f} {ppl:.3f}" for name, (bleu, ppl) in zip(names, row, strict=True))
    return "   ".join(values)


def with_harness(config: Any) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        limits = LimitsConfig(None, None, None, None)
        names = (f"{folder}/trial", folder, "bench")
        job = Job(*names, config, limits, 0, 1, "bench", "bench", (), {}, False, False)
        record = run_trial(job, Workbench("cpu", Path(folder)))
    values = record.measurements
    return values["validation.bleu"].value, values["validation.perplexity"].value


def with_trainer(config: Any, our_order: bool = False) -> tuple[float, float]:
    """Holds the same token sequences, in the order of Trainer's sampler or of this project."""
    from torch.utils.data import SequentialSampler
    from transformers import Trainer, TrainingArguments

    class InOrder(Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

    base = load_base(config.model, None, "cpu")
    splits = read_splits(config.data)
    data = encode(splits.train, base.tokenizer, config.data, all_references=True)
    order = list(range(len(data)))
    if our_order:
        batches = BatchPlan(len(data), config.training.batch_size, config.seed)
        order = [i for step in range(config.training.max_steps) for i in batches.indices(step)]
    rows = [{"ids": data.sequence(i).tolist(), "first": int(data.first_label[i])} for i in order]
    torch.manual_seed(config.seed)
    model = base.model.requires_grad_(config.method["name"] == "full")
    if config.method["name"] == "lora":
        from peft import LoraConfig, get_peft_model

        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        alpha = config.method["lora_alpha"]
        lora = LoraConfig(
            r=config.method["r"], lora_alpha=alpha, target_modules=names, task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, lora)

    def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["ids"]) for row in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for i, row in enumerate(batch):
            n, first = len(row["ids"]), row["first"]
            ids[i, :n], mask[i, :n] = torch.tensor(row["ids"]), 1
            labels[i, first:n] = ids[i, first:n]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    with tempfile.TemporaryDirectory() as folder:
        trainer = (InOrder if our_order else Trainer)(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=config.training.max_steps,
                per_device_train_batch_size=config.training.batch_size,
                learning_rate=config.training.learning_rate,
                lr_scheduler_type="linear",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
                remove_unused_columns=False,
                seed=config.seed,
                use_cpu=True,
            ),
            train_dataset=rows,  # type: ignore[arg-type]
            data_collator=collate,
        )
        trainer.train()
    asked = prompts(splits.validation, base.tokenizer, config.data, reserve=100)
    texts = generate(
        model,
        base.tokenizer,
        asked,
        max_new_tokens=100,
        num_beams=1,
        batch_size=50,
        device="cpu",
    ).texts
    references = [example.references for example in splits.validation]
    n = max(map(len, references))
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(n)]
    answers = encode(splits.validation, base.tokenizer, config.data, all_references=False)
    nll, _ = sequence_nll(model, answers, 50, "cpu")
    perplexity = float(np.exp(nll.sum() / n_labels(answers).sum()))
    return BLEU().corpus_score(texts, streams).score, perplexity


if __name__ == "__main__":
    main()
