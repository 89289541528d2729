"""Logits only where they are needed.

A causal model computes a (batch, length, vocabulary) tensor although a loss on the answer needs a
fraction of its rows; with a vocabulary of 150 thousand that is most of the memory of a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.models.cached.virtual_prefix import after_prefix, shared_prefix
from harness.models.classifier import class_logits
from harness.models.packing import attention_arguments
from harness.models.views import output_layer

if TYPE_CHECKING:
    from torch import Tensor, nn


def logits_at(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    where: Tensor | None,
    share_virtual_tokens: bool = True,
) -> Tensor:
    """(K, vocabulary) logits at the K true places of ``where`` (batch, length), row by row.

    ``logits_at(...)[k]`` is the distribution of the token *after* place k. The output layer sees
    only those hidden states. Methods that put virtual tokens before the input lengthen the hidden
    states: the last ``length`` of them are the input's.

    ``where`` None: (batch, classes) logits of what the model's classifier makes of each sequence.

    A mask that counts (1, 2, ... within a row, 0 at padding) is of texts packed into one row, none of
    which may see another: the model is given positions that begin anew with each text, and no mask,
    which is how transformers tells them apart (``harness.models.packing`` checks that it does).

    Virtual tokens are read once for all rows where ``harness.models.cached.virtual_prefix`` can.
    """
    if where is None:
        return class_logits(model, input_ids, attention_mask)
    head = output_layer(model)
    length = input_ids.shape[1]

    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = inputs[0]
        return (hidden[:, -length:][where], *inputs[1:])

    arguments = attention_arguments(attention_mask)
    prefix = None
    if share_virtual_tokens and "position_ids" not in arguments:
        prefix = shared_prefix(model, len(input_ids))
    handle = head.register_forward_pre_hook(keep)
    try:
        if prefix is None:
            return model(input_ids=input_ids, use_cache=False, **arguments).logits
        return after_prefix(model, prefix, input_ids, attention_mask).logits
    finally:
        handle.remove()
