"""Models of real size without weights, and methods as their YAMLs have them."""

from __future__ import annotations

from functools import cache
from typing import Any

from harness import methods
from harness.compose.command_line import compose_trial, conf_dir
from harness.errors import InputError
from harness.methods.base import AdaptContext, Method

PLAN: Any = AdaptContext(10, 10, None, None, 0)  # for methods that look at neither tokens nor texts

LLAMA_3B = {  # Llama-3.2-3B: 28 layers, 3072 wide, keys 1024, MLP 8192
    "vocab_size": 128256,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
LLAMA_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
GPT2 = {  # small, medium, large
    "s": {"n_layer": 12, "n_embd": 768, "n_head": 12},
    "m": {"n_layer": 24, "n_embd": 1024, "n_head": 16},
    "l": {"n_layer": 36, "n_embd": 1280, "n_head": 20},
}


def skeleton(kind: str, **fields: Any) -> Any:
    """A model on the meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields))


def configured(option: str, **changes: Any) -> Method:
    """Return the configuration of ``method=option``, with some fields replaced."""
    return methods.build({**_composed(option), **changes})


@cache
def _composed(option: str) -> dict[str, Any]:
    return dict(compose_trial([f"method={option}"])[0].trial({}).method)


def trained(method: Method, model: Any) -> int:
    """Count the parameters that require gradients after ``adapt``."""
    return sum(p.numel() for p in method.adapt(model, PLAN).parameters() if p.requires_grad)


@cache
def refused_by_the_builtin_model() -> frozenset[str]:
    """Methods that the built-in model cannot take: BitFit, since Llamas have no biases."""
    from harness.models.loading.skeleton import load_skeleton

    refused = set()
    for path in sorted((conf_dir() / "method").glob("*.yaml")):
        config = compose_trial([f"method={path.stem}"])[0].trial({})
        try:
            methods.fitted(config.method, load_skeleton(config.model))
        except InputError:
            refused.add(path.stem)
    return frozenset(refused)
