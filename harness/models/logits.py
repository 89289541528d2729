"""Logits at selected positions only.

A causal model computes a (batch, length, vocabulary) tensor, but a loss on the answer needs only a
part of its rows. With a vocabulary of 150,000 this tensor dominates the memory of a step.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.models.cached.virtual_prefix import after_prefix, shared_prefix
from harness.models.classifier import class_logits
from harness.models.end_to_end import (
    attends_by_flash,
    goes_end_to_end,
    kept_apart,
    one_row,
    padded_right,
)
from harness.models.views import output_layer

if TYPE_CHECKING:
    from torch import Tensor, nn


def logits_at(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    where: Tensor | None,
    share_virtual_tokens: bool = True,
    end_to_end: bool | None = None,
) -> Tensor:
    """Return (K, vocabulary) logits at the K true positions of ``where`` (batch, length), row by row.

    Row k is the distribution of the token *after* position k. Only these hidden states enter the
    output layer. If ``where`` is None, returns (batch, classes) logits of the classification head.

    With virtual tokens, the last ``length`` hidden states belong to the text. They are computed
    once for all rows if ``share_virtual_tokens`` and ``harness.models.cached.virtual_prefix``
    supports the model.

    ``attention_mask`` is 0 at padding. Values 1, 2, … mark texts packed into one row, which must
    not attend to each other. The model then gets position ids that restart with each text and no
    mask, by which transformers separates texts. ``harness.models.checks.packing`` checks that it
    does.

    With ``end_to_end`` all texts are computed in one row without padding, by default where that is
    exact and costs less (see ``harness.models.end_to_end``).

    Mask and ``where`` are read on the CPU. On another device, each read waits for it.
    """
    segments = attention_mask.cpu().numpy()
    packed = bool(segments.max() > 1)
    mask = None if packed else needed_mask(attention_mask, input_ids.device)
    if where is None:
        return class_logits(model, input_ids, mask, attention_mask.to(input_ids.device))
    head = output_layer(model)
    chosen_places = where.cpu().numpy()
    inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": mask}
    if end_to_end is None:
        end_to_end = goes_end_to_end(model, attention_mask)
    apart: AbstractContextManager[None] = nullcontext()
    if end_to_end or (packed and attends_by_flash(model)):  # flash separates texts only in one row
        row = one_row(input_ids, segments, chosen_places)
        inputs |= {"input_ids": row.input_ids, "position_ids": row.position_ids}
        apart, chosen_places = kept_apart(model, row.lengths), row.where
    elif packed:
        inputs["position_ids"] = positions(attention_mask).to(input_ids.device)
    length = inputs["input_ids"].shape[1]
    chosen = torch.from_numpy(np.flatnonzero(chosen_places)).to(input_ids.device)

    def select(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = arguments[0][:, -length:]
        return (hidden.flatten(0, 1).index_select(0, chosen), *arguments[1:])

    prefix = None
    if share_virtual_tokens and not packed:
        prefix = shared_prefix(model, len(input_ids))
    handle = head.register_forward_pre_hook(select, prepend=True)  # before other hooks
    try:
        if prefix is None:
            with apart:
                return model(**inputs, use_cache=False).logits
        return after_prefix(model, prefix, input_ids, mask).logits
    finally:
        handle.remove()


def needed_mask(attention_mask: Tensor, device: torch.device) -> Tensor | None:
    """Return a (B, T) mask of single texts on ``device``; None if padding is only on the right.

    A causal model reads no token after the one that it is at. Without a mask its kernels need not
    look for padding, and skip the half of attention that is always masked.
    """
    return None if padded_right(attention_mask.cpu().numpy()) else attention_mask.to(device)


def positions(segments: Tensor) -> Tensor:
    """Return (B, T) int64 positions within each run of equal numbers in (B, T) ``segments``.

    Padding is a run too.
    """
    indices = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return indices - torch.where(starts, indices, 0).cummax(dim=1).values
