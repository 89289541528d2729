"""Casts of a module to its class in transformers, peft or torch, for the type checker.

torch declares every attribute of a module as a tensor or another module. A PEFT wrapper forwards the
methods of its model, but does not declare them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel


def as_pretrained(model: nn.Module) -> PreTrainedModel:
    """Return ``model`` itself: a transformers model, or a PEFT wrapper of one."""
    return cast("PreTrainedModel", model)


def as_peft(model: nn.Module) -> PeftModel:
    """Return ``model`` itself, a PEFT wrapper."""
    return cast("PeftModel", model)


def input_embeddings(model: nn.Module) -> nn.Embedding:
    """Return the layer that maps token ids to vectors."""
    return cast("nn.Embedding", as_pretrained(model).get_input_embeddings())


def output_layer(model: nn.Module) -> nn.Linear:
    """Return the layer that maps hidden states to logits over the vocabulary."""
    return cast("nn.Linear", as_pretrained(model).get_output_embeddings())


def recomputes_activations(model: nn.Module) -> bool:
    """Return True with gradient checkpointing, by the flag that transformers sets in modules."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
