"""Skeleton of a model: its modules without weights, to check names, shapes and sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.config import ModelConfig
from harness.errors import InputError, is_out_of_memory, sentence
from harness.models.loading.location import check_model, model_path
from harness.records.disk_full import is_disk_full

if TYPE_CHECKING:
    import torch
    from torch import nn


def load_skeleton(config: ModelConfig) -> nn.Module:
    """Load the modules of a model without weights (on the meta device).

    Raises InputError if the model is not found or is an encoder-decoder.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from harness.models.checks.causality import refuse_encoder_decoder

    check_model(config)
    options = {"revision": config.revision or "main", "trust_remote_code": False}
    with library_errors_as_input(config):
        architecture = AutoConfig.from_pretrained(model_path(config), **options)
        refuse_encoder_decoder(architecture, config.name)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                architecture,
                trust_remote_code=False,
                attn_implementation=attention_implementation(config),
            )


def weights_dtype(config: ModelConfig, skeleton: nn.Module) -> torch.dtype | None:
    """Return the dtype of the weights after loading; None if the configuration does not tell."""
    import torch

    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    stored = getattr(skeleton.config, "dtype", None)
    return getattr(torch, stored) if isinstance(stored, str) else stored


@contextmanager
def library_errors_as_input(config: ModelConfig) -> Iterator[None]:
    """Convert errors of the libraries about this model to InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error) or is_disk_full(error):
            raise
        reason = sentence(error)
        if config.attention != "auto" and "attention" in reason.lower():
            raise InputError(
                f"model.attention={config.attention!r} cannot be used with "
                f"model.name={config.name!r}: {reason.split('. ')[0]}. Use "
                "model.attention=eager, which every model has, or auto."
            ) from error
        raise InputError(f"model.name={config.name!r} cannot be loaded: {reason}") from error


def attention_implementation(config: ModelConfig) -> str | None:
    """Return the ``attn_implementation`` argument; None for the library's default."""
    return None if config.attention == "auto" else config.attention
