"""A first pass of an adapted model: it must run; parameters without gradients are frozen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import torch

from harness.data.tokens.batches import collate
from harness.errors import is_out_of_memory
from harness.models.cached.continuing import continued
from harness.models.logits import logits_at
from harness.models.reached import kind_of
from harness.training.resume import random_state, set_random_state

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from harness.data.tokens.encode import Encoded

TOKENS = 64  # most tokens of the text used


def freeze_what_text_never_trains(
    model: nn.Module, data: Encoded, device: str, autocast: AbstractContextManager[Any]
) -> list[str]:
    """Freeze trainable parameters of ``model`` that get no gradient from text; return a warning.

    The weights of an image tower, or an adapter beside a layer that a fused kernel bypasses, would be
    counted as trained and never move. An expert counts as reached if another one is, because a short
    text uses only a few of a mixture. Random states are restored. Raises ValueError if nothing gets a
    gradient, and the errors of the model.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    try:
        reached = _reached(model, trained, data, device, autocast)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return []  # the loop tries again and finds what fits
        raise
    if trained and not reached:
        raise ValueError(
            "nothing that it trains gets a gradient from text, so that nothing could be learned; it "
            f"would train {next(iter(trained))} and {len(trained) - 1} others."
        )
    left = {name: p for name, p in trained.items() if kind_of(name) not in reached}
    for parameter in left.values():
        parameter.requires_grad_(False)
    if not left:
        return []
    n, others = sum(p.numel() for p in left.values()), len(left) - 1
    more = f" and {others} others" if others else ""
    return [
        f"{n:,} parameters get no gradient from text and are left as they are: {next(iter(left))}{more}"
    ]


def _reached(
    model: nn.Module,
    trained: dict[str, nn.Parameter],
    data: Encoded,
    device: str,
    autocast: AbstractContextManager[Any],
) -> set[str]:
    """Return the kinds of parameters that get gradients from a short text; frees each gradient."""
    reached: set[str] = set()
    batch = collate(data, [int(data.lengths.argmin())], 0).to(device)
    ids, mask = batch.input_ids[:, :TOKENS], batch.attention_mask[:, :TOKENS].ne(0).long()
    where = None if data.classes is not None else mask.bool()

    def noting(kind: str) -> Any:
        def note(parameter: Any) -> None:
            reached.add(kind)
            parameter.grad = None

        return note

    before, was_training = random_state(device), model.training
    model.train()
    with ExitStack() as stack:
        stack.callback(set_random_state, before)
        stack.callback(model.train, was_training)
        for name, parameter in trained.items():
            handle = parameter.register_post_accumulate_grad_hook(noting(kind_of(name)))
            stack.callback(handle.remove)
        with autocast:
            loss = logits_at(model, ids, mask, where).float().square().mean()
        if loss.requires_grad:
            loss.backward()
    return reached


def try_answering(model: nn.Module, prompts: Sequence[np.ndarray], device: str) -> None:
    """Generate two tokens, so that a model that cannot answer fails now and not after training.

    The second is the first that is read off what the model remembers.
    """
    if not prompts:
        return
    ids = torch.from_numpy(min(prompts, key=len)[-TOKENS:].astype("int64"))[None].to(device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            two = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False}
            continued(model, ids, torch.ones_like(ids), **two)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):  # as above
            raise
    finally:
        model.train(was_training)
