"""The training loop: batches, loss, step, evaluation, checkpoint. Resumes at any step, bit for bit."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.config import TrainingConfig
from harness.data.tokens.batches import Batch, collate, count_labels
from harness.data.tokens.encode import Encoded
from harness.errors import is_out_of_memory
from harness.methods.base import AdaptContext, Method
from harness.models.label_logits import LabelLogits
from harness.models.logits import logits_at
from harness.models.precision import computing, rest_in_float32
from harness.models.views import as_pretrained
from harness.records import heartbeat
from harness.training import schedules
from harness.training.augmentation import Augmentation
from harness.training.checkpoint import CheckpointFolder
from harness.training.criterion import Criterion, mean_nll
from harness.training.distributed.sharding import UnshardedModel, wrap_for_training
from harness.training.distributed.team import ALONE, OutOfMemory, RankSignal, Team
from harness.training.hooks import Diverged, Hooks, Interrupted
from harness.training.memory import synchronize
from harness.training.optimizers import build_optimizer, with_rounding
from harness.training.parameters import with_own_rates
from harness.training.resume import (
    Progress,
    Saver,
    random_state,
    restore,
    set_random_state,
)

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

__all__ = ["Diverged", "Hooks", "Interrupted", "OutOfMemory", "Progress", "train"]


def train(
    model: nn.Module,
    method: Method,
    plan: AdaptContext,
    data: Encoded,
    config: TrainingConfig,
    seed: int,
    accelerator: Accelerator,
    checkpoints: CheckpointFolder,
    hooks: Hooks,
    criterion: Criterion | None = None,
    progress: Progress | None = None,
    team: Team = ALONE,
) -> Progress:
    """Train ``model`` in place for ``plan.total_steps`` optimizer steps, or until pruned.

    The loss of a step is the mean negative log-likelihood over the label tokens of its effective
    batch (``batch_size × gradient_accumulation_steps`` sequences of ``data``), however it is split
    to fit; with ``loss_average: sequence`` the mean over sequences of each one's own mean.
    ``criterion`` may add terms. ``progress`` is updated in place, so that it is known after an error
    too. ``team``: the processes that train together, each with its share of every step; only rank 0
    writes and decides. With ``updates: fp32`` the trained parameters are in float32 from here on, also
    after training: see harness.models.precision.
    Raises Diverged, OutOfMemory, Interrupted, and InputError for faults that only the model reveals.
    """
    device = str(accelerator.device)
    if config.updates == "fp32":
        rest_in_float32(model)
    whole, held = model, wrap_for_training(model, team, device)
    model = held.model
    groups = method.parameter_groups(model, config.learning_rate, plan)
    groups = with_own_rates(groups, config.learning_rate_of, model)
    peak_rates = [group["lr"] for group in groups if group["params"]]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer, warnings = build_optimizer(config, groups, accelerator.device.type)
    optimizer = accelerator.prepare_optimizer(with_rounding(optimizer, config, seed))
    criterion = criterion or Criterion(data, config, seed)
    criterion.hold(model, device)
    augmentation = Augmentation(config, seed, plan.tokenizer)
    progress = Progress() if progress is None else progress
    progress.micro_batch_size, progress.warnings = config.batch_size, warnings
    team.agree()  # all ranks have reached this point
    restore(checkpoints, trained, optimizer, method, model, progress, held.part)
    hooks.on_begin(progress.step)
    eval_every = config.eval_every or max(1, plan.total_steps // 4)
    saver = Saver(
        checkpoints=checkpoints,
        held=held,
        trained=trained,
        optimizer=optimizer,
        method=method,
        progress=progress,
        device=device,
        before=hooks.on_checkpoint,
        every=config.checkpoint_every,
        total_steps=plan.total_steps,
    )

    def evaluate() -> bool:
        """Evaluate the current step; return whether to go on. A stop meanwhile repeats no step."""
        signal = RankSignal.GO
        with held.whole():
            try:
                if not hooks.on_evaluation(progress.step):
                    signal = RankSignal.PRUNE
            except heartbeat.Stopped:
                signal = RankSignal.STOP
        signal = team.agree(signal)
        if signal is RankSignal.STOP:
            saver.save()
            raise Interrupted(f"stopped in the evaluation after step {progress.step}")
        progress.evaluated = progress.step
        model.train()
        return signal is not RankSignal.PRUNE

    if config.evaluate_before_training and progress.step == 0 and progress.evaluated is None:
        evaluate()  # its answer is ignored: nothing can be stopped yet
    if config.gradient_checkpointing:
        # Also makes inputs require gradients; once is enough.
        as_pretrained(model).gradient_checkpointing_enable()
    model.train()
    model.zero_grad(set_to_none=True)  # a diverged run may have left gradients in a reused base

    while True:
        pauses = progress.step % eval_every == 0 and 0 < progress.step < plan.total_steps
        if pauses and progress.evaluated != progress.step and not evaluate():
            progress.pruned = True
            break
        saver.save_if_due(pauses)
        if progress.step == plan.total_steps:
            break
        if team.agree(RankSignal.STOP if hooks.stopping() else RankSignal.GO) is RankSignal.STOP:
            saver.save()
            raise Interrupted(f"stopped after step {progress.step}")
        began = time.perf_counter()
        step = progress.step
        method.before_step(model, step, plan)
        team.draw(seed, step)
        scale = schedules.factor(config, step, plan.total_steps)
        for group, rate in zip(optimizer.param_groups, peak_rates, strict=True):
            group["lr"] = rate * scale
        norm = float("nan")
        with held.step(), heartbeat.uninterrupted():
            losses, n_tokens = _accumulate(
                held, method, criterion, augmentation, step, config, accelerator, progress
            )
            held.sum_gradients(list(trained.values()))
            for name, value in losses.items():
                if not math.isfinite(value):
                    raise Diverged(step + 1, f"the {name.replace('_', ' ')} became {value}")
            if config.max_grad_norm is not None:
                norm = held.clip(accelerator, list(trained.values()), config.max_grad_norm)
            optimizer.step()
        method.after_step(model, step)
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        if progress.step == plan.total_steps or progress.step % eval_every == 0:
            synchronize(device)  # the work of this step, which is not counted elsewhere
        progress.seconds += time.perf_counter() - began
        progress.tokens += n_tokens
        row = {"step": progress.step, **losses, "learning_rate": config.learning_rate * scale}
        row |= {"grad_norm": norm} if math.isfinite(norm) else {}
        hooks.on_step({**row, "tokens": progress.tokens, "seconds": round(progress.seconds, 4)})
    held.end()
    if progress.pruned:
        return progress
    ends = dict(whole.named_parameters())
    if not all(bool(ends[name].isfinite().all()) for name in trained):
        raise Diverged(progress.step, "a parameter became NaN or infinite")
    return progress


def _accumulate(
    held: UnshardedModel,
    method: Method,
    criterion: Criterion,
    augmentation: Augmentation,
    step: int,
    config: TrainingConfig,
    accelerator: Accelerator,
    progress: Progress,
) -> tuple[dict[str, float], int]:
    """Accumulate this rank's gradients of one effective batch; return losses and tokens of all ranks.

    If memory runs out, all ranks halve the micro-batch. A repeated step draws the same dropout.
    """
    import torch

    device, team = str(accelerator.device), held.team
    before = random_state(device)
    while True:
        signal, losses, n_tokens = RankSignal.GO, {}, 0
        try:
            with computing(held.model):
                losses, n_tokens = _gradients(
                    held, method, criterion, augmentation, step, config, accelerator, progress
                )
            distance = criterion.penalty() if team.leads else None
            if distance is not None:  # on the stored weights: rounding would lose small distances
                losses["penalty"] += float(distance.detach())
                accelerator.backward(distance)
        except (RuntimeError, MemoryError) as error:
            if team.shards or not is_out_of_memory(error):
                raise  # sharded: the others wait in this pass and cannot repeat it
            signal = RankSignal.SMALLER
        if team.agree(signal) is not RankSignal.SMALLER:
            *summed, tokens = team.sums([*losses.values(), n_tokens])
            return dict(zip(losses, summed, strict=True)), int(tokens)
        held.model.zero_grad(set_to_none=True)
        if progress.micro_batch_size == 1:
            raise OutOfMemory("one example at a time does not fit into memory")
        torch.cuda.empty_cache()
        set_random_state(before)
        progress.micro_batch_size = max(1, progress.micro_batch_size // 2)
        progress.warnings.append(
            f"out of memory: micro-batch halved to {progress.micro_batch_size}, "
            "the effective batch stays as it was"
        )


def _gradients(
    held: UnshardedModel,
    method: Method,
    criterion: Criterion,
    augmentation: Augmentation,
    step: int,
    config: TrainingConfig,
    accelerator: Accelerator,
    progress: Progress,
) -> tuple[dict[str, float], int]:
    """Return this rank's part of the step's reported losses, and its number of input tokens.

    ``loss`` is the mean NLL of the target's labels alone. That of replay text is ``replay_loss``.
    The KL term (and, later, the distance in weights) is ``penalty``.
    """
    losses: dict[str, float] = {}
    model, team, as_it_is = held.model, held.team, nullcontext()
    added, n_tokens = 0.0, 0
    first = team.leads  # a term of the whole step is added once
    for part in criterion.parts(step):
        lengths = part.data.lengths
        if part.longest is not None:
            lengths = lengths.clip(max=part.longest)
        passes = held.passes(part.indices, lengths, progress.micro_batch_size)
        groups = passes.groups
        chunks = [collate(part.data, group, 0, part.longest) for group in groups]
        if part.is_target:
            pairs = zip(chunks, groups, strict=True)
            chunks = [augmentation.masked(chunk, group, step) for chunk, group in pairs]
        n_labels = count_labels(part.data, part.indices, part.longest)
        real = chunks[: passes.n_real]
        n_tokens += sum(int((chunk.attention_mask != 0).sum()) for chunk in real)
        chunks = [chunk.to(accelerator.device) for chunk in chunks]
        total = 0.0
        for number, (group, chunk) in enumerate(zip(groups, chunks, strict=True)):
            noise = augmentation.noise(model, chunk, group, step) if part.is_target else as_it_is
            run = partial(_logits, model, chunk, accelerator, noise)
            labels = LabelLogits(model, len(chunk.targets), lambda: accelerator.autocast())
            for rows, logits in labels.chunks(run):
                mean = mean_nll(logits, chunk, n_labels, len(part.indices), config, rows)
                if number >= passes.n_real:  # run only because other ranks do
                    accelerator.backward(0.0 * mean)
                    continue
                total += float(mean.detach())
                loss: Tensor = part.nll_weight * mean
                if part.kl_weight:
                    assert part.base is not None
                    summed = part.base.divergence(logits, part.data, group, rows).sum()
                    divergence = part.kl_weight * summed / n_labels
                    added += float(divergence.detach())
                    loss = loss + divergence
                penalty = method.penalty(model) if first else None
                accelerator.backward(loss if penalty is None else loss + penalty)
                first = False
            labels.backward()
        losses[part.name] = total
    if criterion.has_penalty:
        losses["penalty"] = added
    return losses, n_tokens


def _logits(
    model: nn.Module, chunk: Batch, accelerator: Accelerator, noise: AbstractContextManager[Any]
) -> Tensor:
    with accelerator.autocast(), noise:
        return logits_at(model, chunk.input_ids, chunk.attention_mask, chunk.predict)
