"""The real loop and the real trial, called the short way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import methods
from harness.config import LimitsConfig, TrialConfig
from harness.data.rows.splits import read_splits
from harness.data.tokens.encode import Encoded, encode
from harness.methods import AdaptContext
from harness.models.loading.base_fingerprint import stored_fingerprint
from harness.records import read_jsonl
from harness.records.fingerprint import fingerprints
from harness.training.checkpoint import CheckpointFolder
from harness.training.criterion import Criterion
from harness.training.loop import Hooks, Progress, train
from harness.training.precision.autocast import accelerator_for
from harness.trials.job import Job

NO_LIMITS = LimitsConfig(None, None, None, None)


@dataclass
class Fit:
    """Result of one call of the loop."""

    model: Any
    method: Any
    plan: AdaptContext
    rows: list[dict[str, Any]] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)

    @property
    def losses(self) -> list[float]:
        return [row["loss"] for row in self.rows]


def plan_for(config: TrialConfig, tokenizer: Any, steps: int, data: Encoded) -> AdaptContext:
    per_epoch = max(1, len(data) // config.training.batch_size)
    return AdaptContext(steps, per_epoch, tokenizer, data, config.seed)


def adapted(base: Any, config: TrialConfig, data: Encoded | None = None, steps: int = 10) -> Fit:
    """The method of ``config`` on ``base``, nothing trained yet; ``data`` is what it may look at."""
    import torch

    if data is None:
        train = read_splits(config.data).train
        data = encode(train, base.tokenizer, config.data, all_references=True)

    method = methods.fitted(config.method, base.model)
    plan = plan_for(config, base.tokenizer, steps, data)
    torch.manual_seed(config.seed)
    return Fit(method.adapt(base.model, plan), method, plan)


def fit(
    base: Any,
    config: TrialConfig,
    data: Encoded,
    folder: Path,
    steps: int = 5,
    stop_before: int | None = None,
    on_step: Any = lambda fit, row: None,
    replay: Encoded | None = None,
    evaluated: list[int] | None = None,
    **training: Any,
) -> Fit:
    """Train on ``data`` for ``steps``; ``training`` are changes to the training configuration.

    ``evaluated`` collects the steps after which there would be an evaluation.
    """
    evaluations: list[int] = [] if evaluated is None else evaluated
    changed = replace(config.training, **training)
    criterion = Criterion(data, changed, config.seed, config.retention, replay)
    criterion.compute_base_log_probs(base.model, steps, 16, "cpu", top_k=8, memory_gb=1.0)
    done = adapted(base, config, data, steps)

    def stepped(row: dict[str, Any]) -> None:
        done.rows.append(row)
        on_step(done, row)

    hooks = Hooks(
        on_begin=lambda step: None,
        on_step=stepped,
        on_evaluation=lambda step: evaluations.append(step) is None and step > 0,
        on_checkpoint=lambda: None,
        stopping=lambda: stop_before is not None and len(done.rows) >= stop_before,
    )
    done.progress = train(
        done.model,
        done.method,
        done.plan,
        data,
        changed,
        config.seed,
        accelerator_for(changed.precision, "cpu"),
        CheckpointFolder(folder),
        hooks,
        criterion,
    )
    done.model.eval()
    return done


def take(encoded: Encoded, indices: list[int]) -> Encoded:
    """Some sequences of ``encoded``."""
    sequences = [encoded.sequence(i) for i in indices]
    return Encoded(
        tokens=np.concatenate(sequences),
        offsets=np.concatenate([[0], np.cumsum([len(s) for s in sequences])]),
        first_label=encoded.first_label[indices],
        example=np.arange(len(indices), dtype=np.int32),
        label_bytes=encoded.label_bytes[indices],
        counts=encoded.counts,
    )


def job(folder: Path, cache: Path, config: TrialConfig, **changes: Any) -> Job:
    whole = Job(
        folder=str(folder),
        cache=str(cache),
        method=config.method["name"],
        config=config,
        limits=NO_LIMITS,
        trial=0,
        attempt=1,
        fingerprint="f" * 12,
        configuration="c" * 12,
        overrides=(),
        searched={},
        asks_pruner=False,
        keep_adapter=False,
    )
    return replace(whole, **changes)


def identified(config: TrialConfig) -> dict[str, str]:
    """The fingerprints that a driver would give a job of ``config``."""
    model, data = stored_fingerprint(config.model), read_splits(config.data).fingerprint
    found = fingerprints(config, model=model, data=data)
    return {"fingerprint": found.trial, "configuration": found.configuration}


def tensors(model: Any) -> dict[str, Any]:
    """A copy of every parameter and buffer."""
    both = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in both.items()}


def logits_of(model: Any, ids: Any) -> Any:
    import torch

    model.eval()
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def after(n: int) -> Callable[[], bool]:
    """stopping(): true from the n-th time it is asked, that is before step n of all stages."""
    asked = []

    def stopping() -> bool:
        asked.append(1)
        return len(asked) > n

    return stopping


def rows(folder: Path, name: str = "metrics.jsonl") -> list[Any]:
    """Return the rows of a trial's curves without times."""
    found = read_jsonl(folder / name)
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found]
