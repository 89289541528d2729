"""Generation of continuations with explicit options, ignoring a model's own generation config."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.models.cached.virtual_prefix import (
    are_keys_and_values,
    cache_argument,
    n_virtual_tokens,
    shared_prefix,
)
from harness.models.views import as_peft

if TYPE_CHECKING:
    from torch import Tensor, nn

WINDOWS = (
    "sliding_window",
    "attention_chunk_size",
    "window_size",
)  # fields of model configurations with the width of an attention window


def continued(model: nn.Module, ids: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """Return (B, T + new) tokens: (B, T) ``ids``, left-padded as in ``mask``, and generated ones.

    ``options`` are those of transformers' ``generate``. The model's own generation_config is
    ignored. Virtual tokens are inserted here instead of by peft. peft's way depends on names inside
    transformers, and leaves padding between virtual tokens and text, which shifts positions.
    """
    base = without_wrapper(model)
    beams = options.get("num_beams") or getattr(options.get("generation_config"), "num_beams", 1)
    with _blank_generation_config(base):
        return base.generate(
            input_ids=ids, **_inputs(model, base, ids, mask, beams or 1), **options
        )


def without_wrapper(model: nn.Module) -> Any:
    """Return the transformers model in peft's wrapper, with its adapted layers."""
    return as_peft(model).get_base_model() if hasattr(model, "get_base_model") else model


def counts_padding(model: nn.Module, longest: int) -> bool:
    """Return True if padding can change the answers of ``model``.

    ``longest`` is the length of the longest prompt with its answer, in tokens. Learned keys and
    values precede the padding. Padding thus moves them further from the text, possibly out of an
    attention window.
    """
    n = n_virtual_tokens(model)
    if not n or not are_keys_and_values(model):
        return False
    config = without_wrapper(model).config.get_text_config()
    windows = [getattr(config, name, None) for name in WINDOWS]
    return any(window is not None and n + longest > window for window in windows)


def _inputs(model: nn.Module, base: Any, ids: Tensor, mask: Tensor, beams: int) -> dict[str, Any]:
    """Return the arguments of ``generate`` other than ``ids``."""
    import torch

    n = n_virtual_tokens(model)
    if not n:
        return {"attention_mask": mask}
    extended_mask = torch.cat([mask.new_ones(len(mask), n), mask], dim=1)
    prefix = shared_prefix(model, len(ids) * beams)
    if prefix is None and are_keys_and_values(model):
        prefix = as_peft(model).get_prompt(len(ids) * beams)
    if prefix is not None:
        return {"attention_mask": extended_mask, cache_argument(base): prefix}
    texts = base.get_input_embeddings()(ids)
    virtual = as_peft(model).get_prompt(len(ids)).to(texts.dtype)
    # Virtual tokens go between padding and text.
    padding = (mask == 0).sum(dim=1, keepdim=True)
    position = torch.arange(n + ids.shape[1], device=ids.device).expand(len(ids), -1)
    source = torch.where(position < padding + n, position - padding, position)
    source = torch.where(position < padding, n, source)
    joined = torch.cat([virtual, texts], dim=1)
    embeddings = joined.gather(1, source.unsqueeze(-1).expand_as(joined))
    return {"attention_mask": (position >= padding).to(mask.dtype), "inputs_embeds": embeddings}


@contextmanager
def _blank_generation_config(base: Any) -> Iterator[None]:
    """Context without a generation config, which would supply omitted arguments."""
    from transformers import GenerationConfig

    original_config, base.generation_config = base.generation_config, GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = original_config
