"""A search against the same trials by hand, in CPU seconds: ``python -m bench.by_scripts``.

Three ways to run the same ``--trials`` configurations of each method, with the same measurements:

ours        ``python -m harness.sweep``: plan, trials, records, report
process     a script a trial: Trainer, peft and sacrebleu, in a process of its own
loop        the same script over all trials in one process, which keeps the base's results

A trial measures the perplexity of the answers and the KL to the base on general text and prompts, four
times on the watched texts and once on the whole validation split, then BLEU and chrF of greedy answers
with 1,000 bootstrap resamples. The script trains with the Trainer's own order, and scores rows as they
come, in padded batches, as a user would. Texts are tokenized by us in all three ways. Every way is a
command of its own with one thread. Its seconds are those of all its processes, imports included. Prints
theirs over ours: the mean ratio with its lowest and highest round. ``--out`` writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

WATCHES = 4  # evaluations during training, as in our default
RATES = {"full": (2e-4, 2e-3), "lora": (1e-3, 5e-3)}  # lowest and highest learning rate
RANKS = (4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=["full", "lora"], choices=["full", "lora"])
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--script", help="run the trials of this JSON file by hand, then end")
    parser.add_argument("overrides", nargs="*", help="of our sweep: model=hub model.name=...")
    asked = parser.parse_args()
    if asked.script:
        by_hand(json.loads(Path(asked.script).read_text()), asked.overrides)
        return
    found: dict[str, dict[str, list[float]]] = {}
    for method in asked.methods:
        trials = configurations(method, asked.trials)
        for _ in range(asked.rounds):
            for way, run in WAYS.items():
                cpu, wall = run(trials, asked.overrides)
                of_way = found.setdefault(f"{method} {way}", {"cpu": [], "wall": []})
                of_way["cpu"].append(cpu)
                of_way["wall"].append(wall)
                print(f"{method:6} {way:8} {cpu:7.1f} CPU s {wall:7.1f} s", flush=True)
    for method in asked.methods:
        ours = np.array(found[f"{method} ours"]["cpu"])
        for way in ("process", "loop"):
            ratio = np.array(found[f"{method} {way}"]["cpu"]) / ours
            print(
                f"{method}: {way} / ours {ratio.mean():.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
            )
    if asked.out is not None:
        about = {"trials": asked.trials, "overrides": asked.overrides, "cpus": os.cpu_count()}
        asked.out.write_text(json.dumps({"about": about, "seconds": found}, indent=1))


def configurations(method: str, n: int) -> list[dict[str, Any]]:
    """Return ``n`` configurations at random, the same at every call."""
    draw = np.random.default_rng(0)
    rates = np.exp(draw.uniform(*np.log(RATES[method]), n)).round(6).tolist()
    ranks = draw.choice(RANKS, n).tolist() if method == "lora" else [None] * n
    return [{"method": method, "rate": a, "rank": b} for a, b in zip(rates, ranks, strict=True)]


def ours(trials: Sequence[dict[str, Any]], overrides: Sequence[str]) -> tuple[float, float]:
    keys = [f"{{training.learning_rate: {t['rate']}{_rank(t)}}}" for t in trials]
    with tempfile.TemporaryDirectory() as folder:
        return _spent(
            [
                *("-m", "harness.sweep", f"method={trials[0]['method']}", "name=by_scripts"),
                f"search.trials={len(trials)}",
                f"search.configs=[{', '.join(keys)}]",
                *("confirm.finalists=0", "launcher.workers=1", "launcher.threads=1"),
                *("tracking=none", f"runs_dir={folder}/runs", f"reports_dir={folder}/reports"),
                *overrides,
            ]
        )


def _rank(trial: dict[str, Any]) -> str:
    return "" if trial["rank"] is None else f", method.r: {trial['rank']}"


def process(trials: Sequence[dict[str, Any]], overrides: Sequence[str]) -> tuple[float, float]:
    spent = [loop([trial], overrides) for trial in trials]
    return sum(cpu for cpu, _ in spent), sum(wall for _, wall in spent)


def loop(trials: Sequence[dict[str, Any]], overrides: Sequence[str]) -> tuple[float, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(list(trials), file)
        file.flush()
        return _spent(["-m", "bench.by_scripts", "--script", file.name, *overrides])


WAYS = {"ours": ours, "process": process, "loop": loop}


def _spent(command: Sequence[str]) -> tuple[float, float]:
    """Return the CPU seconds of a Python command with its children, and the seconds that passed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - began


def by_hand(trials: Sequence[dict[str, Any]], overrides: Sequence[str]) -> None:
    """Run the trials as a script of a user's own would, and print their scores."""
    import torch

    torch.set_num_threads(1)
    script = Script(overrides)
    for trial in trials:
        print(json.dumps(script.trial(**trial)), flush=True)


class Script:
    """Data, base results and measurements of the script."""

    def __init__(self, overrides: Sequence[str]) -> None:
        from harness.compose.command_line import compose_trial
        from harness.trials.workbench import Workbench

        self.config = compose_trial(["method=full", "tracking=none", *overrides])[0].trial({})
        with tempfile.TemporaryDirectory() as cache:
            self.inputs = Workbench("cpu", Path(cache)).inputs(self.config)
        self.tokenizer = self.inputs.tokenizer
        base = self.load()
        self.known = {
            (name, part): self.log_probs(base, encoded)
            for name, texts in self.texts.items()
            for part, encoded in (("general", texts.general), ("drift", texts.drift))
            if encoded is not None
        }
        self.measure(base, "watched")
        self.measure(base, "final")
        self.answers(base)

    @property
    def texts(self) -> dict[str, Any]:
        return {"watched": self.inputs.watched, "final": self.inputs.final}

    def load(self) -> Any:
        from transformers import AutoModelForCausalLM

        from harness.models.loading.location import model_path

        return AutoModelForCausalLM.from_pretrained(model_path(self.config.model)).eval()

    def trial(self, method: str, rate: float, rank: int | None) -> dict[str, float]:
        """Train, evaluating on the way, and return the final scores."""
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import Trainer, TrainerCallback, TrainingArguments

        torch.manual_seed(self.config.seed)
        model, script, training = self.load(), self, self.config.training
        if rank is not None:
            lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
            model = get_peft_model(model, lora)
        steps = training.max_steps
        assert steps is not None, "training.max_steps"

        class Watching(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step % (steps // WATCHES) == 0:
                    model.eval()
                    script.measure(model, "watched")
                    model.train()

        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=training.batch_size,
                learning_rate=rate,
                warmup_steps=training.warmup_steps,
                lr_scheduler_type="linear",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
                remove_unused_columns=False,
                use_cpu=True,
            )
            rows: Any = range(len(self.inputs.train))
            trainer = Trainer(
                model=model,
                args=arguments,
                train_dataset=rows,
                data_collator=self.padded,
                callbacks=[Watching()],
            )
            trainer.train()
            model.eval()
            found = self.measure(model, "final") | self.answers(model)
            model.save_pretrained(folder)
        return found

    def padded(self, indices: Sequence[int], encoded: Any = None) -> dict[str, Any]:
        """Return sequences as a right-padded batch of the form of transformers' causal models."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        data = self.inputs.train if encoded is None else encoded
        ids = [torch.as_tensor(np.array(data.sequence(i)), dtype=torch.long) for i in indices]
        labels = []
        for i, one in zip(indices, ids, strict=True):
            labels.append(torch.where(torch.as_tensor(np.array(data.labels(i))), one, -100))
        return {
            "input_ids": pad_sequence(ids, batch_first=True),
            "attention_mask": pad_sequence([torch.ones_like(one) for one in ids], batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
        }

    def log_probs(self, model: Any, encoded: Any) -> list[Any]:
        """Return the log-probabilities at the labels of each padded batch."""
        import torch

        size, found = self.config.evaluation.batch_size, []
        for start in range(0, len(encoded), size):
            batch = self.padded(range(start, min(start + size, len(encoded))), encoded)
            labels = batch.pop("labels")[:, 1:]
            with torch.no_grad():
                logits = model(**batch).logits[:, :-1]
            kept = labels != -100
            found.append((torch.log_softmax(logits[kept].float(), -1), labels[kept]))
        return found

    def measure(self, model: Any, name: str) -> dict[str, float]:
        """Return the perplexity of the answers, and the KL to the base on each other text."""
        scored = self.log_probs(model, self.texts[name].sequences)
        losses = np.concatenate([-p.gather(-1, y[:, None]).numpy().ravel() for p, y in scored])
        found = {"perplexity": float(np.exp(losses.mean()))}
        for (text, part), before in self.known.items():
            if text != name:
                continue
            after = self.log_probs(model, getattr(self.texts[text], part))
            terms = [
                (p.exp() * (p - q)).sum(-1).numpy()
                for (p, _), (q, _) in zip(before, after, strict=True)
            ]
            found[f"{part}.kl"] = float(np.concatenate(terms).mean())
        return found

    def answers(self, model: Any) -> dict[str, float]:
        """Return BLEU and chrF of greedy answers on the validation split, bootstrapped."""
        import torch
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        final, size = self.inputs.final, self.config.evaluation.batch_size
        self.tokenizer.padding_side = "left"
        outputs: list[str] = []
        for start in range(0, len(final.prompts), size):
            some = [{"input_ids": row.tolist()} for row in final.prompts[start : start + size]]
            padded = self.tokenizer.pad(some, return_tensors="pt")
            with torch.no_grad():
                whole = model.generate(
                    **padded, max_new_tokens=final.answers.tokens, do_sample=False
                )
            new = whole[:, padded["input_ids"].shape[1] :]
            outputs += self.tokenizer.batch_decode(new, skip_special_tokens=True)
        most = max(len(example.references) for example in final.examples)
        references = [
            [e.references[i] if i < len(e.references) else None for e in final.examples]
            for i in range(most)
        ]
        resamples = self.config.evaluation.bootstrap_resamples
        return {
            name: metric.corpus_score(outputs, references, n_bootstrap=resamples).score
            for name, metric in (("bleu", BLEU()), ("chrf", CHRF()))
        }


if __name__ == "__main__":
    main()
