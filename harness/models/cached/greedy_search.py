"""Greedy search that removes finished rows from the batch, for transformers' ``custom_generate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.models.cached.virtual_prefix import cache_argument, caches_every_position

if TYPE_CHECKING:
    from torch import Tensor, nn


def can_remove_rows(model: nn.Module) -> bool:
    """Return True if rows can be removed from the cache of ``model`` in this transformers version."""
    return cache_argument(model) == "cache" and caches_every_position(model)


@torch.no_grad()
def greedy_search(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **inputs: Any,
) -> Tensor:
    """Return (B, T + new) tokens as transformers' own greedy search, padded after each end.

    Finished rows are removed from the batch. If a logits processor has a method ``keep``, it is
    called with the indices of the remaining rows among the current ones.
    """
    n_rows, length = input_ids.shape
    padding = generation_config.pad_token_id
    output = input_ids.new_full((n_rows, generation_config.max_length), padding)
    rows = torch.arange(n_rows, device=input_ids.device)  # original indices of unfinished rows
    outputs = model._prefill(input_ids, generation_config, inputs)
    while True:
        inputs = model._update_model_kwargs_for_generation(outputs, inputs)
        scores = logits_processor(input_ids, outputs.logits[:, -1].float())
        input_ids = torch.cat([input_ids, scores.argmax(dim=-1, keepdim=True)], dim=1)
        ended = stopping_criteria(input_ids, scores)
        if ended.any():
            output[rows[ended], : input_ids.shape[1]] = input_ids[ended]
            length = input_ids.shape[1]
            (kept,) = torch.where(~ended)
            if not len(kept):
                return output[:, :length]
            rows, input_ids = rows[kept], input_ids[kept]
            inputs = _rows_of(inputs, kept, n=len(ended))
            for processor in logits_processor:
                getattr(processor, "keep", lambda kept: None)(kept)
        step = model.prepare_inputs_for_generation(input_ids, next_sequence_length=1, **inputs)
        outputs = model(**step, return_dict=True)


def _rows_of(inputs: dict[str, Any], kept: Tensor, n: int) -> dict[str, Any]:
    """Return the inputs of a step reduced to the rows ``kept`` of ``n``. Changes the cache in place."""
    inputs["cache"].reorder_cache(kept)
    own = {
        name: value[kept]
        for name, value in inputs.items()
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == n
    }
    return {**inputs, **own}
