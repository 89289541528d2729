"""Training loop: batches, loss, optimizer step, evaluation, checkpoint. Resumes bit for bit."""

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
from harness.language import recorded
from harness.methods.base import AdaptContext, Method
from harness.models.label_logits import LabelLogits
from harness.models.logits import logits_at
from harness.models.views import as_pretrained
from harness.models.weights.master_weights import computing, convert_to_master_weights
from harness.records import heartbeat
from harness.training import schedules
from harness.training.augmentation import Augmentation
from harness.training.checkpoint import CheckpointFolder
from harness.training.criterion import Criterion, mean_nll
from harness.training.device_memory import synchronize
from harness.training.distributed.sharding import UnshardedModel, wrap_for_training
from harness.training.distributed.team import ALONE, OutOfMemory, RankSignal, Team
from harness.training.hooks import Diverged, Hooks, Interrupted, check_finite
from harness.training.optimizers import build_optimizer, with_rounding
from harness.training.parameters import with_own_rates
from harness.training.resume import Progress, Saver, random_state, restore, set_random_state

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

__all__ = ["Diverged", "Hooks", "Interrupted", "OutOfMemory", "Progress", "train"]


def train(
    model: nn.Module,
    method: Method,
    context: AdaptContext,
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
    """Train ``model`` in place for ``context.total_steps`` optimizer steps, or until it is pruned.

    The loss of a step is the mean negative log-likelihood (nats) over the label tokens of its
    effective batch, ``batch_size × gradient_accumulation_steps`` sequences of ``data``. With
    ``loss_average: sequence`` it is the mean over sequences of their means. It does not depend on
    the split into micro-batches. ``criterion`` may add penalties.

    ``progress`` is updated in place and remains valid after an exception. ``team`` is the group of
    processes that train together, each on its share of every step. Only rank 0 writes files and
    decides. With ``updates: fp32`` the trained parameters stay in float32 after training (see
    harness.models.weights.master_weights).

    Raises Diverged, OutOfMemory, Interrupted, and InputError for settings that the model cannot
    use.
    """
    device = str(accelerator.device)
    if config.updates == "fp32":
        convert_to_master_weights(model)
    plain, wrapped = model, wrap_for_training(model, team, device)
    model = wrapped.model
    groups = method.parameter_groups(model, config.learning_rate, context)
    groups = with_own_rates(groups, config.learning_rate_of, model)
    peak_rates = [group["lr"] for group in groups if group["params"]]
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer, warnings = build_optimizer(config, groups, accelerator.device.type)
    optimizer = accelerator.prepare_optimizer(with_rounding(optimizer, config, seed))
    criterion = criterion or Criterion(data, config, seed)
    criterion.set_anchor(model, device)
    augmentation = Augmentation(config, seed, context.tokenizer)
    progress = Progress() if progress is None else progress
    progress.micro_batch_size, progress.warnings = config.batch_size, warnings
    team.agree()  # all ranks have reached this point
    restore(checkpoints, trained, optimizer, method, model, progress, wrapped.local_part)
    hooks.on_begin(progress.step)
    eval_every = config.eval_every or max(1, context.total_steps // 4)
    saver = Saver(
        checkpoints=checkpoints,
        wrapped=wrapped,
        trained=trained,
        optimizer=optimizer,
        method=method,
        progress=progress,
        device=device,
        before=hooks.on_checkpoint,
        every=config.checkpoint_every,
        total_steps=context.total_steps,
    )

    def evaluate() -> bool:
        """Evaluate the current step and return True to continue.

        If the process is asked to stop meanwhile, saves a checkpoint and raises Interrupted.
        """
        signal = RankSignal.GO
        with wrapped.gathered():
            try:
                if not hooks.on_evaluation(progress.step):
                    signal = RankSignal.PRUNE
            except heartbeat.WorkStopped:
                signal = RankSignal.STOP
        signal = team.agree(signal)
        if signal is RankSignal.STOP:
            saver.save()
            raise Interrupted(f"stopped in the evaluation after step {progress.step}")
        progress.evaluated = progress.step
        model.train()
        return signal is not RankSignal.PRUNE

    if config.evaluate_before_training and progress.step == 0 and progress.evaluated is None:
        evaluate()  # the result is ignored: a run cannot be pruned before it starts
    if config.gradient_checkpointing:
        # Also makes the embeddings' output require gradients.
        as_pretrained(model).gradient_checkpointing_enable()
    model.train()
    model.zero_grad(set_to_none=True)  # a reused base may have gradients of a diverged run

    while True:
        evaluates_now = progress.step % eval_every == 0 and 0 < progress.step < context.total_steps
        if evaluates_now and progress.evaluated != progress.step and not evaluate():
            progress.pruned = True
            break
        saver.save_if_due(evaluates_now)
        if progress.step == context.total_steps:
            break
        if team.agree(RankSignal.STOP if hooks.stopping() else RankSignal.GO) is RankSignal.STOP:
            saver.save()
            raise Interrupted(f"stopped after step {progress.step}")
        start_time = time.perf_counter()
        step = progress.step
        method.before_step(model, step, context)
        team.draw(seed, step)
        scale = schedules.factor(config, step, context.total_steps)
        for group, rate in zip(optimizer.param_groups, peak_rates, strict=True):
            group["lr"] = rate * scale
        norm = float("nan")
        with wrapped.step(), heartbeat.uninterrupted():
            losses, n_tokens = _accumulate(
                wrapped, method, criterion, augmentation, step, config, accelerator, progress
            )
            wrapped.sum_gradients(list(trained.values()))
            check_finite(losses, step + 1)
            if config.max_grad_norm is not None:
                norm = wrapped.clip(accelerator, list(trained.values()), config.max_grad_norm)
            optimizer.step()
        method.after_step(model, step)
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        if progress.step == context.total_steps or progress.step % eval_every == 0:
            synchronize(device)  # so that queued work counts as training time
        progress.seconds += time.perf_counter() - start_time
        progress.tokens += n_tokens
        row = {"step": progress.step, **losses, "learning_rate": config.learning_rate * scale}
        row |= {"grad_norm": norm} if math.isfinite(norm) else {}
        hooks.on_step({**row, "tokens": progress.tokens, "seconds": round(progress.seconds, 4)})
    wrapped.unwrap()
    if progress.pruned:
        return progress
    ends = dict(plain.named_parameters())
    if not all(bool(ends[name].isfinite().all()) for name in trained):
        reason = recorded("a parameter became NaN or infinite at step {step}", step=progress.step)
        raise Diverged(progress.step, reason)
    return progress


def _accumulate(
    wrapped: UnshardedModel,
    method: Method,
    criterion: Criterion,
    augmentation: Augmentation,
    step: int,
    config: TrainingConfig,
    accelerator: Accelerator,
    progress: Progress,
) -> tuple[dict[str, float], int]:
    """Accumulate this rank's gradients of a step. Return the losses and tokens of all ranks.

    If memory runs out, all ranks halve the micro-batch and repeat the step with the same dropout.
    Raises OutOfMemory if one sequence does not fit.
    """
    import torch

    device, team = str(accelerator.device), wrapped.team
    random_before = random_state(device)
    while True:
        signal, losses, n_tokens = RankSignal.GO, {}, 0
        try:
            with computing(wrapped.model):
                losses, n_tokens = _gradients(
                    wrapped, method, criterion, augmentation, step, config, accelerator, progress
                )
            distance = criterion.penalty() if team.leads else None
            if (
                distance is not None
            ):  # of the float32 weights: 16 bits would round off small distances
                losses["penalty"] += float(distance.detach())
                accelerator.backward(distance)
        except (RuntimeError, MemoryError) as error:
            if team.shards or not is_out_of_memory(error):
                raise  # sharded ranks wait in a collective operation and cannot repeat it
            signal = RankSignal.SMALLER
        if team.agree(signal) is not RankSignal.SMALLER:
            *summed, tokens = team.sums([*losses.values(), n_tokens])
            return dict(zip(losses, summed, strict=True)), int(tokens)
        wrapped.model.zero_grad(set_to_none=True)
        if progress.micro_batch_size == 1:
            raise OutOfMemory(recorded("one example at a time does not fit into memory"))
        torch.cuda.empty_cache()
        set_random_state(random_before)
        progress.micro_batch_size = max(1, progress.micro_batch_size // 2)
        progress.warnings.append(
            recorded(
                "out of memory: micro-batch halved to {n}, the effective batch is unchanged",
                n=progress.micro_batch_size,
            )
        )


def _gradients(
    wrapped: UnshardedModel,
    method: Method,
    criterion: Criterion,
    augmentation: Augmentation,
    step: int,
    config: TrainingConfig,
    accelerator: Accelerator,
    progress: Progress,
) -> tuple[dict[str, float], int]:
    """Accumulate gradients without a retry. Return this rank's losses and number of input tokens.

    ``loss`` is the mean NLL of the target's labels, ``replay_loss`` that of replay text.
    ``penalty`` is the KL term. The caller adds the distance of weights to it.
    """
    import torch

    losses: dict[str, float] = {}
    model, team, no_noise = wrapped.model, wrapped.team, nullcontext()
    # Read at the end, together: reading a number waits for the device.
    terms: list[tuple[str, Tensor]] = []
    n_tokens = 0
    first = team.leads  # the method's penalty is added once a step
    for part in criterion.parts(step):
        losses[part.name] = 0.0
        lengths = part.data.lengths
        if part.longest is not None:
            lengths = lengths.clip(max=part.longest)
        passes = wrapped.passes(part.indices, lengths, progress.micro_batch_size)
        groups = passes.groups
        chunks = [collate(part.data, group, 0, part.longest) for group in groups]
        if part.is_target:
            pairs = zip(chunks, groups, strict=True)
            chunks = [augmentation.masked(chunk, group, step) for chunk, group in pairs]
        n_labels = count_labels(part.data, part.indices, part.longest)
        real = chunks[: passes.n_real]
        n_tokens += sum(int((chunk.attention_mask != 0).sum()) for chunk in real)
        chunks = [chunk.to(accelerator.device) for chunk in chunks]
        for number, (group, chunk) in enumerate(zip(groups, chunks, strict=True)):
            noise = augmentation.noise(model, chunk, group, step) if part.is_target else no_noise
            run = partial(_logits, model, chunk, accelerator, noise)
            labels = LabelLogits(model, len(chunk.targets), lambda: accelerator.autocast())
            for rows, logits in labels.chunks(run):
                mean = mean_nll(logits, chunk, n_labels, len(part.indices), config, rows)
                if number >= passes.n_real:  # takes part only in collective operations
                    accelerator.backward(0.0 * mean)
                    continue
                terms.append((part.name, mean.detach()))
                loss: Tensor = part.nll_weight * mean
                if part.kl_weight:
                    assert part.base is not None
                    summed = part.base.divergence(logits, part.data, group, rows).sum()
                    divergence = part.kl_weight * summed / n_labels
                    terms.append(("penalty", divergence.detach()))
                    loss = loss + divergence
                penalty = method.penalty(model) if first else None
                accelerator.backward(loss if penalty is None else loss + penalty)
                first = False
            labels.backward()
    if criterion.has_penalty:
        losses["penalty"] = 0.0
    if terms:
        values = torch.stack([value for _, value in terms]).tolist()
        for (name, _), value in zip(terms, values, strict=True):
            losses[name] += value
    return losses, n_tokens


def _logits(
    model: nn.Module, chunk: Batch, accelerator: Accelerator, noise: AbstractContextManager[Any]
) -> Tensor:
    """Return the (labels, vocabulary) logits of ``chunk``."""
    with accelerator.autocast(), noise:
        return logits_at(model, chunk.input_ids, chunk.attention_mask, chunk.predict)
