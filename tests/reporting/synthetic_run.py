"""A made-up sweep on disk, with real sacrebleu statistics and everything a real one gets wrong.

python tests/reporting/synthetic_run.py FOLDER writes one to look at.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sacrebleu.metrics import BLEU, CHRF

from harness.records import Measurement, Record, append_jsonl, write_record, write_text
from harness.statistics.scores import aggregate

TEXT = """
the a mill stands near river serves cheap italian food and is family friendly with high customer
rating in city centre an expensive coffee shop by all bar one low price range pub offers japanese
meals for adults only
"""
WORDS = TEXT.split()
DOMAINS = ("news", "stories", "code")
TASKS = ("arithmetic", "reading")


@dataclass(frozen=True)
class Profile:
    """Scores and costs of a simulated method."""

    method: str
    capacity: str | None  # the config key that sets its size
    error: float  # share of words it gets wrong at its best
    forgetting: float  # nats per token at its best
    parameters: int
    memory_gb: float
    seconds: float
    named: str | None = None  # by method= of its commands; variants share it


PROFILES = (
    Profile("full", None, 0.13, 0.160, 12_400_000, 6.2, 210.0),
    Profile("lora", "r", 0.14, 0.031, 98_304, 3.1, 140.0),
    Profile("qlora", "r", 0.15, 0.034, 98_304, 1.9, 230.0),
    Profile("prompt_tuning", "num_virtual_tokens", 0.27, 0.012, 10_240, 2.6, 120.0),
)


class Maker:
    """Writes trials into one run folder; ``n`` test sentences, ``documents`` general texts."""

    def __init__(self, folder: Path, n: int = 60, documents: int = 24, seed: int = 0) -> None:
        self.folder, self.documents = folder, documents
        rng = np.random.default_rng(seed)
        self.references = [self._sentence(rng) for _ in range(n)]
        self.prompts = [f"name[{i}], food[{r.split()[0]}]" for i, r in enumerate(self.references)]
        self.tokens = rng.integers(40, 120, size=documents)
        self.difficulty = rng.gamma(4.0, 0.25, size=documents)
        self.domains = [DOMAINS[i % len(DOMAINS)] for i in range(documents)]
        self.base_correct = rng.random((len(TASKS), 40)) < 0.6
        self.base_outputs = [self._spoil(r, 0.6, rng) for r in self.references]

    def sweep(self, **changes: Any) -> None:
        sweep = {
            "name": self.folder.name,
            "command": "python -m harness.sweep method=full,lora,qlora,prompt_tuning",
            "seed": 1,
            "methods": [p.method for p in PROFILES],
            "objectives": {"validation.bleu": "maximize", "forgetting.kl": "minimize"},
            "limits": {
                "peak_memory_gb": None,
                "forgetting": None,
                "minutes": None,
                "trainable_parameters": None,
            },
            "search": {"trials": 6, "sampler": "tpe"},
            "confirm": {"finalists": 1, "seeds": [101, 102]},
            "created": "2025-03-01T12:00:00Z",
            "model": "builtin/tiny",
            "data": "builtin/restaurants",
        }
        sweep.update(changes)
        write_text(self.folder / "sweep.yaml", yaml.safe_dump(sweep, sort_keys=False))

    def trial(
        self,
        profile: Profile,
        number: int,
        stage: str = "search",
        seed: int = 1,
        status: str = "complete",
        rate: float = 3e-4,
        size: int = 8,
        reason: str | None = None,
        outputs: Sequence[str] | None = None,
    ) -> Path:
        """One trial folder. A learning rate or size away from the best one costs quality."""
        rng = np.random.default_rng([number, seed, *profile.method.encode()])
        miss = min(0.5, 0.03 * math.log(rate / 3e-4) ** 2 + 0.02 * abs(math.log2(size / 8)))
        spoiled = min(0.9, profile.error + miss)
        configuration = f"{profile.method}-{rate:g}-{size}"
        fingerprint = f"{configuration}-{stage}-{seed}-{number}"
        folder = self.folder / "trials" / profile.method / fingerprint
        named = profile.named or profile.method
        method: dict[str, Any] = {"name": named}
        if profile.capacity:
            method[profile.capacity] = size
        overrides = [f"method={named}", f"training.learning_rate={rate:g}", f"seed={seed}"]
        if profile.capacity:
            overrides.append(f"method.{profile.capacity}={size}")
        record = Record(
            status=status,
            stage=stage,
            method=profile.method,
            trial=number,
            attempt=1,
            fingerprint=fingerprint,
            configuration=configuration,
            seed=seed,
            config={
                "model": {"name": "builtin/tiny", "dtype": "float32", "quantization": None},
                "data": {"name": "builtin"},
                "method": method,
                "training": {"learning_rate": rate, "batch_size": 8, "max_steps": 200},
                "evaluation": {"max_new_tokens": 48},
                "seed": seed,
            },
            overrides=[*overrides, "data.prompt_template='{prompt} ->'"],
            provenance={
                "model": {"name": "builtin/tiny", "sha": "3f1c"},
                "data": {"fingerprint": "d41d8c", "n_train": 800, "split": "by restaurant name"},
                "versions": {"torch": "2.10.0", "transformers": "5.3.0", "sacrebleu": "2.6.0"},
                "git": "0a1b2c3",
                "device": "cpu",
                "warnings": ["paged optimizer fell back to the unpaged one"],
            },
            reason=reason,
        )
        if status in ("complete", "pruned", "infeasible"):
            record = self._measure(folder, record, profile, spoiled, rate, size, rng, outputs)
        write_record(folder, record)
        return folder

    def _measure(self, folder, record, profile, spoiled, rate, size, rng, outputs=None) -> Record:
        outputs = list(outputs or [self._spoil(r, spoiled, rng) for r in self.references])
        confirm = record.stage == "confirm"
        splits = ("validation", "test") if confirm else ("validation",)
        items: dict[str, np.ndarray] = {}
        base: dict[str, Measurement] = {}
        for split in splits:
            for name in ("bleu", "chrf"):
                items[f"{split}.{name}"] = _statistics(name, outputs, self.references)
                of_base = _statistics(name, self.base_outputs, self.references)
                base[f"{split}.{name}"] = _measured(f"{split}.{name}", of_base)
        moved = profile.forgetting * (rate / 3e-4) ** 0.7 * (size / 8) ** 0.2
        wobble = rng.normal(1.0, 0.05)
        kl = moved * self.difficulty * wobble * rng.gamma(40.0, 1 / 40, self.documents)
        items["forgetting.kl"] = np.stack([kl * self.tokens, self.tokens], axis=1)
        before = 3.1 * self.tokens * self.difficulty**0.2
        after = before + kl * self.tokens * rng.normal(1.0, 0.3, self.documents)
        items["forgetting.nll"] = np.stack([after, self.tokens, before], axis=1)
        for domain in DOMAINS:
            own = np.array([d == domain for d in self.domains])
            items[f"forgetting.kl.{domain}"] = items["forgetting.kl"][own]
        if confirm:
            flips = rng.random(self.base_correct.shape) < 0.3 * moved**0.5
            correct = np.where(flips, rng.random(flips.shape) < 0.4, self.base_correct)
            both = np.stack([correct, self.base_correct], axis=-1).astype(float)
            items["forgetting.tasks"] = both.reshape(-1, 2)
            items |= {f"forgetting.tasks.{t}": both[i] for i, t in enumerate(TASKS)}
        measurements = {name: _measured(name, stats) for name, stats in items.items()}
        for i, name in enumerate(items):
            row: dict[str, Any] = {"measurement": name, "statistics": items[name].tolist()}
            if name.startswith("forgetting.kl."):  # both ways to write a domain are in use
                row |= {"measurement": "forgetting.kl", "domain": name.rsplit(".", 1)[1]}
            if i == 0:
                append_jsonl(folder / "items.jsonl", [])
            append_jsonl(folder / "items.jsonl", [row])
        loss = [3.2 * math.exp(-step / 70) + 1.1 + rng.normal(0, 0.05) for step in range(0, 200, 5)]
        rows: list[dict[str, Any]] = [
            {"kind": "train", "step": 5 * i, "loss": v, "learning_rate": rate, "tokens": 400 * i}
            for i, v in enumerate(loss)
        ]
        for step in range(0, 201, 40):
            seen = {
                "validation.perplexity": 3 + 20 * math.exp(-step / 60),
                "forgetting.kl": moved * step / 200,
                "drift.kl_target": 4 * moved * step / 200,
            }
            rows.append({"kind": "evaluation", "step": step, "measurements": seen})
        append_jsonl(folder / "metrics.jsonl", rows)
        if confirm:
            predicted = [
                {"split": "test", "prompt": p, "references": [r], "output": o, "base": b}
                for p, r, o, b in zip(
                    self.prompts, self.references, outputs, self.base_outputs, strict=True
                )
            ]
            append_jsonl(folder / "predictions.jsonl", predicted)
        seconds = profile.seconds * rng.normal(1.0, 0.02)
        cost = {
            "train_seconds": seconds,
            "evaluation_seconds": 31.0,
            "overhead_seconds": 4.2,
            "peak_memory_gb": profile.memory_gb,
            "tokens_per_second": 80_000 / seconds,
            "generation_tokens_per_second": 410.0,
            "trainable_parameters": profile.parameters * (size / 8 if profile.capacity else 1),
            "total_parameters": 12_400_000,
            "adapter_bytes": profile.parameters * 4 * (size / 8 if profile.capacity else 1),
        }
        return replace(record, measurements=measurements, base=base, cost=cost)

    @staticmethod
    def _sentence(rng: np.random.Generator) -> str:
        return " ".join(rng.choice(WORDS, size=int(rng.integers(8, 16)))) + " ."

    @staticmethod
    def _spoil(sentence: str, share: float, rng: np.random.Generator) -> str:
        words = sentence.split()
        wrong = rng.random(len(words)) < share
        return " ".join(
            rng.choice(WORDS) if w else word for word, w in zip(words, wrong, strict=True)
        )


def _statistics(name: str, outputs: Sequence[str], references: Sequence[str]) -> np.ndarray:
    return _counted(name, tuple(outputs), tuple(references))


@lru_cache(maxsize=64)
def _counted(name: str, outputs: tuple[str, ...], references: tuple[str, ...]) -> np.ndarray:
    metric = {"bleu": BLEU(force=True), "chrf": CHRF()}[name]
    counts = metric._extract_corpus_statistics(list(outputs), [list(references)])
    return np.array(counts, dtype=float)


def _measured(name: str, statistics: np.ndarray) -> Measurement:
    score = float(aggregate(name, statistics))
    unit = "nats/token" if name.startswith("forgetting") else "score"
    return Measurement(score, unit, len(statistics), None, f"{name}|tok:13a|smooth:exp")


def build(folder: Path, n: int = 60, trials: int = 6, methods: int = 4) -> Maker:
    """The whole sweep: search with every kind of end, two confirm seeds a method, torn files."""
    maker = Maker(folder, n=n)
    maker.sweep(methods=[p.method for p in PROFILES[:methods]])
    rng = np.random.default_rng(7)
    for profile in PROFILES[:methods]:
        maker.trial(profile, 0)
        for number in range(1, trials):
            rate = float(f"{3e-4 * math.exp(rng.normal(0, 0.9)):.2g}")
            size = int(2 ** rng.integers(1, 7))
            status, reason = "complete", None
            if number == trials - 1:
                status, reason = {
                    "full": ("infeasible", "out of memory with micro-batch 1"),
                    "lora": ("diverged", "loss is NaN at step 35"),
                    "qlora": ("failed", "its worker was killed twice (signal 9)"),
                }.get(profile.method, ("pruned", "not in the best third at step 40"))
            maker.trial(profile, number, status=status, rate=rate, size=size, reason=reason)
        for number, seed in enumerate((101, 102)):
            trial = maker.trial(profile, number, stage="confirm", seed=seed)
            if number == 0:
                (trial / "adapter").mkdir()
    return maker


if __name__ == "__main__":
    build(Path(sys.argv[1]), n=300, trials=15)
