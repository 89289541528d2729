"""Preparation of the model: the stage before the task, the method, and the classification head."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.rows.example import fingerprint_examples
from harness.data.tokens.encode import encode_for_language_modelling
from harness.errors import refused_by_library
from harness.methods.base import AdaptContext, FirstStage, Method
from harness.models.load import Base
from harness.models.weights.master_weights import assign
from harness.records.disk_usage import keep_bound, mark_used
from harness.records.fingerprint import digest
from harness.training.checkpoint import CheckpointFolder
from harness.training.distributed.team import RankSignal, Team
from harness.training.loop import Hooks, train
from harness.training.parameters import freeze
from harness.trials.job import Job
from harness.trials.results.artifacts import EventLog
from harness.trials.workbench import Inputs

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn


@dataclass(frozen=True)
class Earlier:
    """Cost of the stage before the task, from when it was trained."""

    seconds: float = 0.0
    steps: int = 0


def adapt(
    job: Job,
    method: Method,
    base: Base,
    inputs: Inputs,
    plan: AdaptContext,
    stage: Callable[[FirstStage], Earlier],
) -> tuple[nn.Module, Earlier]:
    """Return the model to train on the task, and the cost of the stage before it.

    A classification model keeps the base's frozen output layer, with which forgetting is measured.
    Tied embeddings are trained only as input embeddings.
    """
    import torch

    labels = inputs.splits.labels
    output = None
    if labels and method.trains_base_weights:
        from harness.models.classifier import FrozenOutput

        output = FrozenOutput(base.model)
    first = method.first_stage(job.config.training, plan.total_steps)
    before = Earlier() if first is None else stage(first)
    if output is not None:
        base.model.set_output_embeddings(output)
    torch.manual_seed(job.config.seed)  # seeds the random initialization of adapters
    with refusals(job, base):
        model = method.adapt(base.model, plan)
    freeze(model, job.config.training.freeze_layers)
    if labels:
        from harness.models.classifier import add_class_head

        add_class_head(model, len(labels))
    return model, before


def refusals(job: Job, base: Base) -> AbstractContextManager[None]:
    """Context that turns library errors about this method and model into InputError."""
    what = f"method={job.method or job.config.method['name']} on {type(base.model).__name__}"
    return refused_by_library(what, "docs/architectures.md lists what works on which architecture.")


def train_first_stage(
    stage: FirstStage,
    job: Job,
    base: Base,
    inputs: Inputs,
    plan: AdaptContext,
    accelerator: Accelerator,
    cache: Path,
    log: EventLog,
    on_step: Callable[[dict[str, Any]], None],
    stopping: Callable[[], bool],
    team: Team,
) -> Earlier:
    """Train the stage before the task on ``base``, in place.

    The result is cached by content, so trials that differ only in the task's stage share it. Its
    cost is still counted for each of them. Raises the errors of ``train``.
    """
    import torch

    config, tokenizer = job.config, inputs.tokenizer
    text = [fingerprint_examples(inputs.splits.train), config.data.max_length, config.data.too_long]
    how = [asdict(stage.method), asdict(stage.training), config.seed, plan.device.split(":")[0]]
    path = cache / f"{digest([base.fingerprint, *text, *how], 16)}.safetensors"
    before = _restored(path, base.model) if team.leads else None
    if team.agree(RankSignal.GO if before is None else RankSignal.KNOWN) is RankSignal.KNOWN:
        before = before or _restored(path, base.model)
        assert before is not None, path
        return before
    data = encode_for_language_modelling(inputs.splits.train, tokenizer, config.data)
    own = AdaptContext(
        total_steps=_steps(stage),
        steps_per_epoch=plan.steps_per_epoch,
        tokenizer=tokenizer,
        train=data,
        seed=config.seed,
        device=plan.device,
    )
    torch.manual_seed(config.seed)
    model = stage.method.adapt(base.model, own)

    def stepped(row: dict[str, Any]) -> None:
        log.step(row)
        on_step(row)

    checkpoints = CheckpointFolder(job.path / "checkpoint-first")
    progress = train(
        model=model,
        method=stage.method,
        context=own,
        data=data,
        config=stage.training,
        seed=config.seed,
        accelerator=accelerator,
        checkpoints=checkpoints,
        hooks=Hooks(
            on_begin=log.begin,
            on_step=stepped,
            on_evaluation=lambda step: True,
            on_checkpoint=log.flush,
            stopping=stopping,
        ),
        team=team,
    )
    log.flush()
    before = Earlier(progress.seconds, progress.step)
    if team.leads:
        _keep(path, model, before)
        checkpoints.clear()
    return before


def _steps(stage: FirstStage) -> int:
    assert stage.training.max_steps is not None
    return stage.training.max_steps


def _keep(path: Path, model: nn.Module, before: Earlier) -> None:
    """Save every trained parameter atomically."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    trained = {n: p.detach().cpu() for n, p in model.named_parameters() if p.requires_grad}
    save_file(trained, aside, metadata={"before": json.dumps(asdict(before))})
    aside.replace(path)
    keep_bound(path.parent)


def _restored(path: Path, model: nn.Module) -> Earlier | None:
    """Load a saved stage; None, with ``model`` unchanged, if the file is missing or corrupt."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            before = Earlier(**json.loads(file.metadata()["before"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    mark_used(path)
    named = dict(model.named_parameters())
    if any(name not in named or named[name].shape != t.shape for name, t in tensors.items()):
        return None
    for name, tensor in tensors.items():
        assign(named[name], tensor)
    return before
