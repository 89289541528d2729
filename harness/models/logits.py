"""Logits only at the positions that need them.

A causal model computes a (batch, length, vocabulary) tensor, but a loss on the answer needs only a
fraction of its rows. With a vocabulary of 150 thousand this tensor is most of the memory of a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.models.cached.virtual_prefix import after_prefix, shared_prefix
from harness.models.classifier import class_logits
from harness.models.views import as_pretrained, output_layer

if TYPE_CHECKING:
    from torch import Tensor, nn


def logits_at(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    where: Tensor | None,
    share_virtual_tokens: bool = True,
) -> Tensor:
    """Return (K, vocabulary) logits at the K true positions of ``where`` (batch, length), row by row.

    ``logits_at(...)[k]`` is the distribution of the token *after* position k. The output layer
    receives only these hidden states. If a method puts virtual tokens before the input, only the last
    ``length`` hidden states belong to the input.

    If ``where`` is None, it returns (batch, classes) logits of the model's classifier.

    A mask that counts (1, 2, ... within a row, 0 at padding) is of texts packed into one row, none of
    which may see another: the model is given positions that begin anew with each text, and no mask,
    which is how transformers tells them apart (``harness.models.checks.packing`` checks that it does).

    Virtual tokens are read once for all rows where ``harness.models.cached.virtual_prefix`` can.
    """
    if where is None:
        return class_logits(model, input_ids, attention_mask)
    head = output_layer(model)
    told: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
    packed = bool((attention_mask > 1).any())
    if packed:
        told |= {"attention_mask": None, "position_ids": positions(attention_mask)}
        if attends_by_flash(model):  # its kernel tells texts apart in a batch of one row alone
            rows = {name: told[name].reshape(1, -1) for name in ("input_ids", "position_ids")}
            told, where = told | rows, where.reshape(1, -1)
    length = where.shape[1]

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = inputs[0]
        return (hidden[:, -length:][where], *inputs[1:])

    prefix = None
    if share_virtual_tokens and not packed:
        prefix = shared_prefix(model, len(input_ids))
    handle = head.register_forward_pre_hook(keep, prepend=True)  # other hooks see what it keeps
    try:
        if prefix is None:
            return model(**told, use_cache=False).logits
        return after_prefix(model, prefix, input_ids, attention_mask).logits
    finally:
        handle.remove()


def positions(segments: Tensor) -> Tensor:
    """(B, T) int64 places within each run of one number in (B, T) ``segments``; padding is a run."""
    places = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return places - torch.where(begins, places, 0).cummax(dim=1).values


def attends_by_flash(model: nn.Module) -> bool:
    """Return whether attention runs in a kernel of the flash attention library."""
    from transformers.utils.generic import is_flash_attention_requested

    return is_flash_attention_requested(config=as_pretrained(model).config)
