"""Tiny random models of many architectures on disk, with the built-in tokenizer: made in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.tiny_architectures import TINY
from harness import builtin
from harness.config import ModelConfig

HUB = ModelConfig("", None, "auto", "auto", "none", True, "auto")


def built(architecture: str, **fields: Any) -> Any:
    """A model of ``TINY``, in evaluation mode, with other values for some fields."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, own = TINY[architecture]
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**own, **fields})).eval()


def saved(model: Any, folder: Path) -> ModelConfig:
    """The configuration that means ``model`` once it is saved in ``folder``."""
    from transformers import AutoTokenizer

    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(builtin.MODEL).save_pretrained(folder)
    return replace(HUB, name=str(folder))
