"""Virtual tokens read once for all rows of a batch.

In a causal model their keys and values do not depend on the text behind them. They are the same in
every row, so one row of them is computed and the others are views of it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from harness.models.views import as_peft

if TYPE_CHECKING:
    from torch import Tensor, nn

KEYS_AND_VALUES = ("PREFIX_TUNING", "CARTRIDGE")  # methods of peft that learn them directly

_plain: WeakKeyDictionary[nn.Module, tuple[bool, bool]] = WeakKeyDictionary()


def n_virtual_tokens(model: nn.Module) -> int:
    """Learned vectors that stand before each text of ``model``."""
    config = getattr(model, "active_peft_config", None)
    if config is None or not config.is_prompt_learning:
        return 0
    return int(config.num_virtual_tokens)


def are_keys_and_values(model: nn.Module) -> bool:
    """Return True if the virtual tokens of ``model`` are keys and values, not embeddings."""
    return model.active_peft_config.peft_type in KEYS_AND_VALUES


def cache_argument(base: Any) -> str:
    """``cache`` since transformers 5.24, ``past_key_values`` before."""
    known = inspect.signature(base.prepare_inputs_for_generation).parameters
    return "cache" if "cache" in known else "past_key_values"


def shared_prefix(model: nn.Module, rows: int) -> Any:
    """Return a new cache with the virtual tokens of ``model`` before each of ``rows`` rows.

    None without virtual tokens, and where rows need their own: the base does not remember a key and
    a value of every place, or forgets them to save memory, or draws dropout for each row. Gradients
    flow through it.
    """
    if not n_virtual_tokens(model):
        return None
    base: Any = as_peft(model).get_base_model()
    if base not in _plain:
        _plain[base] = (remembers_every_place(base), _may_drop(base.config))
    every_place, may_drop = _plain[base]
    encoder = as_peft(model).prompt_encoder
    own = may_drop or any(getattr(module, "p", 0) for module in encoder.modules())
    own = own or base.is_gradient_checkpointing
    if not every_place or (model.training and own):
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


def after_prefix(model: nn.Module, prefix: Any, ids: Tensor, mask: Tensor) -> Any:
    """Return the outputs of ``model`` for (B, T) ``ids`` behind ``prefix``, padded as ``mask`` says."""
    base: Any = as_peft(model).get_base_model()
    longer = torch.cat([mask.new_ones(len(mask), n_virtual_tokens(model)), mask], dim=1)
    return base(input_ids=ids, attention_mask=longer, **{cache_argument(base): prefix})


def remembers_every_place(base: Any) -> bool:
    """Return True if all layers of ``base`` attend to keys and values of all earlier places."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if not {cache_argument(base), "position_ids"} <= set(
        inspect.signature(base.forward).parameters
    ):
        return False
    if getattr(base.config.get_text_config(), "window_size", None) is not None:
        return False  # GPT-Neo's: not in its cache, but in its mask
    layers = DynamicCache(config=base.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _may_drop(config: Any) -> bool:
    """Return True if some rate of dropout in ``config`` is above 0."""
    values = config.get_text_config().to_dict().items()
    return any("drop" in name and isinstance(v, int | float) and v > 0 for name, v in values)
