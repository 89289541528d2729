"""Training loop of a pack: one pass for the micro-batches of all members, one optimizer step.

LoRA's trials of a sweep share their base and data. Alone, each computes small products that leave
a GPU waiting. Members of a pack are computed in one batch on one frozen base, as in PLoRA
(arXiv:2508.02932): pass p of a step takes the p-th micro-batch of every member, so a member's
micro-batches, dropout and gradients are those of its own run, up to the rounding of sums.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from harness.data.tokens.encode import Encoded
from harness.records import heartbeat
from harness.training.device_memory import synchronize
from harness.training.hooks import Diverged, Interrupted, check_finite
from harness.training.packed.layers import NotPackable
from harness.training.packed.member import Member
from harness.training.packed.pack import Pack
from harness.training.packed.passes import accumulate, share_of
from harness.training.resume import random_state

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor


def train_together(members: Sequence[Member], data: Encoded, accelerator: Accelerator) -> None:
    """Train all ``members`` on ``data``, each for its steps or until it is pruned.

    Members share their base, ``data``, number of steps and every setting of training except
    learning rates, schedule, weight decay, betas, clipping and frozen layers. Each ends as its own
    run would: ``progress`` and its parameters are updated, and an exception of its hooks or a loss
    that is not finite becomes its ``error``, which ends only its own training.

    Raises Interrupted after a request to stop, when every member has written its checkpoint. Raises
    NotPackable, before a weight has changed, if the members cannot be trained together. Raises torch's
    error if memory runs out.
    """
    if data.classes is not None:
        raise NotPackable("each has a classification head of its own")
    pack = Pack(members)
    config, total_steps = members[0].config, members[0].context.total_steps
    eval_every = config.eval_every or max(1, total_steps // 4)
    with pack.at_work():
        for member in members:
            member.hooks.on_begin(0)
        if config.evaluate_before_training:
            pack.evaluate(0)
        for step in range(total_steps + 1):
            evaluates_now = step % eval_every == 0 and 0 < step < total_steps
            if evaluates_now:
                pack.evaluate(step)
            pack.for_each(lambda member: member.saver.save_if_due(evaluates_now))  # noqa: B023
            if step == total_steps or not pack.members:
                break
            if any(member.hooks.stopping() for member in pack.members):
                pack.for_each(lambda member: member.saver.save())
                raise Interrupted(f"stopped after step {step}")
            start_time = time.perf_counter()
            rows = _step(pack, data, step, accelerator)
            if step + 1 == total_steps or (step + 1) % eval_every == 0:
                synchronize(str(accelerator.device))
            pack.finish_step(step, rows, time.perf_counter() - start_time)
        pack.end()


def _step(
    pack: Pack, data: Encoded, step: int, accelerator: Accelerator
) -> dict[int, tuple[dict[str, float], int]]:
    """Take one optimizer step. Returns losses, norms and tokens by ``id`` of the member.

    Members with a loss that is not finite leave before it.
    """
    with heartbeat.uninterrupted():
        shares = [share_of(member, data, step) for member in pack.members]
        generators = random_state(str(accelerator.device))
        losses = accumulate(pack, shares, accelerator)
        if step == 0 and not _same_state(generators, random_state(str(accelerator.device))):
            raise NotPackable("the base draws random numbers of its own in training")
        pack.stack.take_gradients()
        found: dict[int, tuple[dict[str, float], int]] = {}
        diverged = []
        for member, share, loss in zip(list(pack.members), shares, losses, strict=True):
            found[id(member)] = {"loss": loss}, share.n_tokens
            try:
                check_finite({"loss": loss}, step + 1)
            except Diverged as error:
                member.error = error
                diverged.append(member)
        pack.leave(diverged)
        members, stack = pack.members, pack.stack
        if not members:
            return found
        rates = [member.rates(step) for member in members]
        stack.forget(rates)
        norms = stack.clip([member.config.max_grad_norm for member in members])
        for member, norm in zip(members, norms, strict=True):
            if member.config.max_grad_norm is not None and math.isfinite(norm):
                found[id(member)][0]["grad_norm"] = norm
        stack.adamw(
            rates,
            [member.config.weight_decay for member in members],
            [(member.config.adam_beta1, member.config.adam_beta2) for member in members],
            step + 1,
        )
    return found


def _same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(state, other[name]) for name, state in one.items())
