"""Trial pass of an adapted model: checks that it runs, and freezes parameters without gradients."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import torch

from harness.data.tokens.batches import collate
from harness.errors import is_out_of_memory
from harness.language import recorded
from harness.models.cached.continuing import continued
from harness.models.logits import logits_at
from harness.models.text_layers import kind_of
from harness.training.resume import random_state, set_random_state

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from harness.data.tokens.encode import Encoded

TOKENS = 64  # limit on the length of the text


def freeze_unreached_parameters(
    model: nn.Module, data: Encoded, device: str, autocast: AbstractContextManager[Any]
) -> list[str]:
    """Freeze trainable parameters of ``model`` that get no gradient from text; return warnings.

    Examples are the weights of an image encoder, and an adapter on a layer that a fused kernel
    bypasses. They would count as trained and never change. All experts of a mixture count as
    reached if one is, because a short text uses only a few. Random states are restored. Raises
    ValueError if no parameter gets a gradient, and any error of the model.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    try:
        reached = _reached(model, trained, data, device, autocast)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return []  # the training loop will reduce the micro-batch
        raise
    if trained and not reached:
        raise ValueError(
            "no trained parameter gets a gradient from text, so nothing would be learned. Trained "
            f"would be {next(iter(trained))} and {len(trained) - 1} others."
        )
    unreached = {name: p for name, p in trained.items() if kind_of(name) not in reached}
    for parameter in unreached.values():
        parameter.requires_grad_(False)
    if not unreached:
        return []
    n, n_others = sum(p.numel() for p in unreached.values()), len(unreached) - 1
    return [
        recorded(
            "{n:,} parameters get no gradient from text and are frozen: {first} and {others} others"
            if n_others
            else "{n:,} parameters get no gradient from text and are frozen: {first}",
            n=n,
            first=next(iter(unreached)),
            others=n_others,
        )
    ]


def _reached(
    model: nn.Module,
    trained: dict[str, nn.Parameter],
    data: Encoded,
    device: str,
    autocast: AbstractContextManager[Any],
) -> set[str]:
    """Return the kinds of parameters that get gradients from a short text. Keeps no gradient."""
    reached: set[str] = set()
    batch = collate(data, [int(data.lengths.argmin())], 0).to(device)
    ids, mask = batch.input_ids[:, :TOKENS], batch.attention_mask[:, :TOKENS].ne(0).long()
    positions = None if data.classes is not None else mask.bool()

    def recorder(kind: str) -> Any:
        def record(parameter: Any) -> None:
            reached.add(kind)
            parameter.grad = None

        return record

    random_before, was_training = random_state(device), model.training
    model.train()
    with ExitStack() as stack:
        stack.callback(set_random_state, random_before)
        stack.callback(model.train, was_training)
        for name, parameter in trained.items():
            handle = parameter.register_post_accumulate_grad_hook(recorder(kind_of(name)))
            stack.callback(handle.remove)
        with autocast:
            loss = logits_at(model, ids, mask, positions).float().square().mean()
        if loss.requires_grad:
            loss.backward()
    return reached


def check_generation(model: nn.Module, prompts: Sequence[np.ndarray], device: str) -> None:
    """Generate two tokens, so that a model that cannot generate fails before training.

    The second token is the first one that uses the key-value cache. Raises the model's errors other
    than lack of memory.
    """
    if not prompts:
        return
    ids = torch.from_numpy(min(prompts, key=len)[-TOKENS:].astype("int64"))[None].to(device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            options = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False}
            continued(model, ids, torch.ones_like(ids), **options)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    finally:
        model.train(was_training)
