"""THE loop. Batches, loss, step, evaluation, checkpoint; resumable at any step, bit for bit."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.config import TrainingConfig
from harness.data.batches import collate, micro_batches
from harness.data.encode import Encoded
from harness.methods.base import AdaptPlan, Method
from harness.models.logits import logits_at
from harness.training import schedules
from harness.training.checkpoint import Checkpoint, CheckpointFolder
from harness.training.criterion import Criterion
from harness.training.optimizers import build_optimizer

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

CHECKPOINT_SECONDS = 60.0  # between checkpoints, where the configuration names no steps


class Diverged(Exception):
    """The loss is no finite number any more."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}")
        self.step = step


class Interrupted(Exception):
    """The process was asked to stop; a checkpoint has been written."""


class OutOfMemory(Exception):
    """One example at a time does not fit either."""


@dataclass
class Progress:
    """How far a run got, over all its attempts."""

    step: int = 0  # finished optimizer steps
    seconds: float = 0.0  # in training steps, evaluation excluded
    tokens: int = 0  # input tokens that were trained on, padding excluded
    micro_batch_size: int = 0
    pruned: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Hooks:
    """What the trial wants to know while the loop runs."""

    on_begin: Callable[[int], None]  # training goes on after that many steps
    on_step: Callable[[dict[str, Any]], None]
    on_evaluation: Callable[[int], bool]  # after that many steps; False: stop here
    on_checkpoint: Callable[[], None]  # before each: what is on disk must reach as far as it does
    stopping: Callable[[], bool]  # asked before every step: checkpoint and end the run here?


def train(
    model: nn.Module,
    method: Method,
    plan: AdaptPlan,
    data: Encoded,
    config: TrainingConfig,
    seed: int,
    accelerator: Accelerator,
    checkpoints: CheckpointFolder,
    hooks: Hooks,
    criterion: Criterion | None = None,
) -> Progress:
    """Train ``model`` in place for ``plan.total_steps`` optimizer steps, or until pruned.

    The loss of a step is the mean negative log-likelihood over the label tokens of its effective
    batch (``batch_size × gradient_accumulation_steps`` sequences of ``data``), however it is split
    to fit; ``criterion`` may say more.
    Raises Diverged, OutOfMemory and Interrupted.
    """
    device = str(accelerator.device)
    groups = method.parameter_groups(model, config.learning_rate, plan)
    peak_rates = [group["lr"] for group in groups if group["params"]]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer, warnings = build_optimizer(config, groups, accelerator.device.type)
    optimizer = accelerator.prepare_optimizer(optimizer)
    criterion = criterion or Criterion(data, config, seed)
    criterion.hold(model, device)
    progress = Progress(micro_batch_size=config.batch_size, warnings=warnings)
    _resume(checkpoints, trained, optimizer, method, model, progress)
    hooks.on_begin(progress.step)
    eval_every = config.eval_every or max(1, plan.total_steps // 4)
    last_saved = time.monotonic()
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()  # lets inputs require gradients too: once is enough
    model.train()

    def save() -> None:
        hooks.on_checkpoint()
        checkpoints.save(_checkpoint(trained, optimizer, method, model, progress, device))

    while progress.step < plan.total_steps:
        if hooks.stopping():
            save()
            raise Interrupted(f"stopped after step {progress.step}")
        began = time.perf_counter()
        step = progress.step
        method.before_step(model, step, plan)
        scale = schedules.factor(config, step, plan.total_steps)
        for group, rate in zip(optimizer.param_groups, peak_rates, strict=True):
            group["lr"] = rate * scale
        losses, n_tokens = _accumulate(
            model, method, criterion, step, config, accelerator, progress
        )
        for name, value in losses.items():
            if not math.isfinite(value):
                raise Diverged(step + 1, f"the {name.replace('_', ' ')} became {value}")
        norm = float("nan")
        if config.max_grad_norm is not None:
            norm = float(accelerator.clip_grad_norm_(list(trained.values()), config.max_grad_norm))
        optimizer.step()
        method.after_step(model, step)
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.seconds += time.perf_counter() - began
        progress.tokens += n_tokens
        row = {"step": progress.step, **losses, "learning_rate": config.learning_rate * scale}
        row |= {"grad_norm": norm} if math.isfinite(norm) else {}
        hooks.on_step({**row, "tokens": progress.tokens, "seconds": round(progress.seconds, 4)})

        at_evaluation = progress.step % eval_every == 0 and progress.step < plan.total_steps
        if at_evaluation:
            progress.pruned = not hooks.on_evaluation(progress.step)
            model.train()
            if progress.pruned:
                return progress
        every = config.checkpoint_every
        due = at_evaluation and time.monotonic() - last_saved > CHECKPOINT_SECONDS
        if progress.step < plan.total_steps and (progress.step % every == 0 if every else due):
            save()
            last_saved = time.monotonic()
    if not all(bool(parameter.isfinite().all()) for parameter in trained.values()):
        raise Diverged(progress.step, "a parameter became NaN or infinite")
    return progress


def _accumulate(
    model: nn.Module,
    method: Method,
    criterion: Criterion,
    step: int,
    config: TrainingConfig,
    accelerator: Accelerator,
    progress: Progress,
) -> tuple[dict[str, float], int]:
    """Gradients of one effective batch; where it does not fit, in halves of the micro-batch."""
    import torch

    while True:
        try:
            return _gradients(model, method, criterion, step, config, accelerator, progress)
        except torch.OutOfMemoryError as error:
            model.zero_grad(set_to_none=True)
            if progress.micro_batch_size == 1:
                raise OutOfMemory("one example at a time does not fit into memory") from error
        torch.cuda.empty_cache()
        progress.micro_batch_size = max(1, progress.micro_batch_size // 2)
        progress.warnings.append(
            f"out of memory: micro-batch halved to {progress.micro_batch_size}, "
            "the effective batch stays as it was"
        )


def _gradients(
    model: nn.Module,
    method: Method,
    criterion: Criterion,
    step: int,
    config: TrainingConfig,
    accelerator: Accelerator,
    progress: Progress,
) -> tuple[dict[str, float], int]:
    """What the step is reported with, and how many input tokens it has.

    ``loss`` is the mean NLL of the target's label tokens and nothing else. Where there is more, the
    replay text's is ``replay_loss``, and what KL and distance in weights add is ``penalty``.
    """
    from torch.nn.functional import cross_entropy

    losses: dict[str, float] = {}
    added, n_tokens = 0.0, 0
    first = True  # what is added to a step is added once
    for part in criterion.parts(step):
        groups = micro_batches(part.indices, part.data.lengths, progress.micro_batch_size)
        chunks = [collate(part.data, group, pad_id=0).to(accelerator.device) for group in groups]
        n_labels = sum(len(chunk.targets) for chunk in chunks)
        n_tokens += sum(int(chunk.attention_mask.sum()) for chunk in chunks)
        total = 0.0
        for group, chunk in zip(groups, chunks, strict=True):
            with accelerator.autocast():
                logits = logits_at(model, chunk.input_ids, chunk.attention_mask, chunk.predict)
                summed = cross_entropy(
                    logits.float(),
                    chunk.targets,
                    reduction="sum",
                    label_smoothing=config.label_smoothing,
                )
            mean = summed / n_labels
            total += float(mean.detach())
            loss: Tensor = part.nll_weight * mean
            if part.kl_weight:
                assert part.base is not None
                summed = part.base.divergence(logits, part.data, group).sum()
                divergence = part.kl_weight * summed / n_labels
                added += float(divergence.detach())
                loss = loss + divergence
            penalty = method.penalty(model) if first else None
            accelerator.backward(loss if penalty is None else loss + penalty)
            first = False
        losses[part.name] = total
    held = criterion.penalty()
    if held is not None:
        added += float(held.detach())
        accelerator.backward(held)
    if criterion.has_penalty:
        losses["penalty"] = added
    return losses, n_tokens


def _checkpoint(
    trained: dict[str, nn.Parameter],
    optimizer: Any,
    method: Method,
    model: nn.Module,
    progress: Progress,
    device: str,
) -> Checkpoint:
    import torch

    random = {"cpu": torch.get_rng_state()}
    if device.startswith("cuda"):
        random["cuda"] = torch.cuda.get_rng_state(device)
    state = {
        "optimizer": optimizer.state_dict(),
        "random": random,
        "method": method.state(model),
        "progress": [progress.seconds, progress.tokens, progress.micro_batch_size],
        "warnings": progress.warnings,
    }
    return Checkpoint(progress.step, {n: p.detach() for n, p in trained.items()}, state)


def _resume(
    checkpoints: CheckpointFolder,
    trained: dict[str, nn.Parameter],
    optimizer: Any,
    method: Method,
    model: nn.Module,
    progress: Progress,
) -> None:
    """Put the newest whole checkpoint, if there is one, back into everything that it came from."""
    import torch

    checkpoint = checkpoints.load()
    if checkpoint is None:
        return
    shapes = {name: parameter.shape for name, parameter in trained.items()}
    if {name: tensor.shape for name, tensor in checkpoint.tensors.items()} != shapes:
        # What is trained was chosen by gradients, which other hardware rounds otherwise.
        print(f"{checkpoints.folder} is of other parameters; training begins anew", file=sys.stderr)
        return
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(checkpoint.tensors[name])
    optimizer.load_state_dict(checkpoint.state["optimizer"])
    method.load_state(model, checkpoint.state["method"])
    torch.set_rng_state(checkpoint.state["random"]["cpu"])
    if "cuda" in checkpoint.state["random"]:
        torch.cuda.set_rng_state(checkpoint.state["random"]["cuda"])
    progress.step = checkpoint.step
    progress.seconds, progress.tokens, progress.micro_batch_size = checkpoint.state["progress"]
    progress.warnings = list(checkpoint.state["warnings"])
