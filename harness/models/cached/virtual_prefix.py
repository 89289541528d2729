"""Virtual tokens computed once for all rows of a batch.

In a causal model their keys and values do not depend on the text that follows. One row is computed,
and the other rows are views of it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from harness.models.views import as_peft, recomputes_activations

if TYPE_CHECKING:
    from torch import Tensor, nn

KEYS_AND_VALUES = ("PREFIX_TUNING", "CARTRIDGE")  # peft types that learn keys and values directly

_properties: WeakKeyDictionary[nn.Module, tuple[bool, bool]] = WeakKeyDictionary()


def n_virtual_tokens(model: nn.Module) -> int:
    """Return the number of virtual tokens before each text of ``model``."""
    config = getattr(model, "active_peft_config", None)
    if config is None or not config.is_prompt_learning:
        return 0
    return int(config.num_virtual_tokens)


def are_keys_and_values(model: nn.Module) -> bool:
    """Return True if the virtual tokens of ``model`` are keys and values instead of embeddings."""
    return model.active_peft_config.peft_type in KEYS_AND_VALUES


def cache_argument(base: Any) -> str:
    """Return ``cache``, the argument's name since transformers 5.24, or ``past_key_values``."""
    known = inspect.signature(base.prepare_inputs_for_generation).parameters
    return "cache" if "cache" in known else "past_key_values"


def shared_prefix(model: nn.Module, rows: int) -> Any:
    """Return a new cache with the virtual tokens of ``model`` for each of ``rows`` rows.

    Gradients flow through it. None without virtual tokens, and if rows cannot share them. The
    latter is the case if a layer does not cache keys and values of all positions, with gradient
    checkpointing, and if dropout differs by row.
    """
    if not n_virtual_tokens(model):
        return None
    base: Any = as_peft(model).get_base_model()
    if base not in _properties:
        _properties[base] = (caches_every_position(base), _may_drop(base.config))
    caches_all, may_drop = _properties[base]
    encoder = as_peft(model).prompt_encoder
    differs_by_row = may_drop or any(getattr(module, "p", 0) for module in encoder.modules())
    differs_by_row = differs_by_row or recomputes_activations(base)
    if not caches_all or (model.training and differs_by_row):
        return None
    prompt = as_peft(model).get_prompt(1)
    if are_keys_and_values(model):
        cache: Any = prompt
    else:
        embeddings = prompt.to(base.get_input_embeddings().weight.dtype)
        cache = base.base_model(inputs_embeds=embeddings, use_cache=True)[cache_argument(base)]
    for layer in cache.layers:
        layer.keys, layer.values = (
            each.expand(rows, *each.shape[1:]) for each in (layer.keys, layer.values)
        )
    return cache


def after_prefix(model: nn.Module, prefix: Any, ids: Tensor, mask: Tensor | None) -> Any:
    """Return outputs of ``model`` for (B, T) ``ids`` after ``prefix``, with padding as in ``mask``."""
    base: Any = as_peft(model).get_base_model()
    if mask is not None:
        mask = torch.cat([mask.new_ones(len(mask), n_virtual_tokens(model)), mask], dim=1)
    return base(input_ids=ids, attention_mask=mask, **{cache_argument(base): prefix})


def caches_every_position(base: Any) -> bool:
    """Return True if all layers of ``base`` attend to keys and values of all earlier positions."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if not {cache_argument(base), "position_ids"} <= set(
        inspect.signature(base.forward).parameters
    ):
        return False
    if getattr(base.config.get_text_config(), "window_size", None) is not None:
        return False  # GPT-Neo has a window in its mask, not in its cache
    layers = DynamicCache(config=base.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _may_drop(config: Any) -> bool:
    """Return True if a dropout rate in ``config`` is above 0."""
    values = config.get_text_config().to_dict().items()
    return any("drop" in name and isinstance(v, int | float) and v > 0 for name, v in values)
