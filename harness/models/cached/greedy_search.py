"""Greedy search whose finished rows leave the batch, for transformers' ``custom_generate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.models.cached.virtual_prefix import cache_argument, remembers_every_place

if TYPE_CHECKING:
    from torch import Tensor, nn


def lets_rows_leave(model: nn.Module) -> bool:
    """Return True if rows of the cache of ``model`` can be taken out, by this transformers."""
    return cache_argument(model) == "cache" and remembers_every_place(model)


@torch.no_grad()
def greedy_search(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **inputs: Any,
) -> Tensor:
    """Return (B, T + new) tokens as transformers' own greedy search does, padded after each end.

    The rows that have not ended go on alone. A logits processor with a method ``keep`` is told which
    rows stay, by their places among those it had.
    """
    n_rows, length = input_ids.shape
    padding = generation_config.pad_token_id
    found = input_ids.new_full((n_rows, generation_config.max_length), padding)
    rows = torch.arange(n_rows, device=input_ids.device)  # those that go on
    outputs = model._prefill(input_ids, generation_config, inputs)
    while True:
        inputs = model._update_model_kwargs_for_generation(outputs, inputs)
        scores = logits_processor(input_ids, outputs.logits[:, -1].float())
        input_ids = torch.cat([input_ids, scores.argmax(dim=-1, keepdim=True)], dim=1)
        ended = stopping_criteria(input_ids, scores)
        if ended.any():
            found[rows[ended], : input_ids.shape[1]] = input_ids[ended]
            length = input_ids.shape[1]
            (kept,) = torch.where(~ended)
            if not len(kept):
                return found[:, :length]
            rows, input_ids = rows[kept], input_ids[kept]
            inputs = _rows_of(inputs, kept, n=len(ended))
            for processor in logits_processor:
                getattr(processor, "keep", lambda kept: None)(kept)
        step = model.prepare_inputs_for_generation(input_ids, next_sequence_length=1, **inputs)
        outputs = model(**step, return_dict=True)


def _rows_of(inputs: dict[str, Any], kept: Tensor, n: int) -> dict[str, Any]:
    """Return the inputs of a step for the rows ``kept`` of ``n``; those of the cache are taken out."""
    inputs["cache"].reorder_cache(kept)
    own = {
        name: value[kept]
        for name, value in inputs.items()
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == n
    }
    return {**inputs, **own}
