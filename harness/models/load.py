"""Loading of a base and its tokenizer: safetensors only, without code from the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.config import ModelConfig
from harness.models.checks.completeness import check_complete
from harness.models.loading.base_fingerprint import base_fingerprint, stored_fingerprint
from harness.models.loading.location import check_model, model_path
from harness.models.loading.quantized_loading import (
    bitsandbytes_config,
    compute_dtype,
    disable_repacking,
)
from harness.models.loading.skeleton import attention_implementation, library_errors_as_input
from harness.models.quantization import Quantization
from harness.models.weights.stored_bytes import bits, stored_bytes
from harness.records import heartbeat

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Base:
    """A loaded base with its tokenizer and its provenance for the record."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str  # hash of stored files and loading settings
    provenance: dict[str, Any]


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer. Its padding token, if missing, becomes the end-of-text token.

    Raises InputError if its files are missing or cannot be read.
    """
    from transformers import AutoTokenizer

    options = {"revision": config.revision or "main", "trust_remote_code": False}
    with library_errors_as_input(config):
        tokenizer = AutoTokenizer.from_pretrained(model_path(config), **options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_base(config: ModelConfig, quantization: Quantization | None, device: str) -> Base:
    """Load the base on ``device`` in evaluation mode, with all parameters frozen.

    Raises InputError if the model is not found or not causal, if its files lack weights, or if this
    machine cannot run the quantization.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    from harness.models.checks.causality import check_causal, refuse_encoder_decoder

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    check_model(config)
    path = model_path(config)
    options: dict[str, Any] = {"revision": config.revision or "main", "trust_remote_code": False}
    with library_errors_as_input(config):
        refuse_encoder_decoder(AutoConfig.from_pretrained(path, **options), config.name)
        tokenizer = load_tokenizer(config)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            **options,
            use_safetensors=True,
            dtype=config.dtype,
            attn_implementation=attention_implementation(config),
            quantization_config=bitsandbytes_config(config, quantization),
            device_map=device if quantization is not None else None,
            ignore_mismatched_sizes=True,  # check_complete refuses them with their names
            output_loading_info=True,
        )
    model, info = loaded
    model.config.return_dict = True  # outputs are accessed by name
    check_complete(model, info, config.name)
    if quantization is None:
        model.to(torch.device(device))
    else:
        disable_repacking(model)
    model.requires_grad_(False).eval()
    with library_errors_as_input(config):
        check_causal(model, config.name)
    model.get_input_embeddings().register_forward_pre_hook(_mark_progress)
    storage = "none" if quantization is None else quantization.kind
    return Base(
        model,
        tokenizer,
        base_fingerprint(config, quantization),
        {
            "name": config.name,
            "revision": getattr(model.config, "_commit_hash", None) or config.revision,
            "stored_fingerprint": stored_fingerprint(config),
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": storage,
            "double_quantization": quantization is not None and quantization.double,
            "compute_dtype": compute_dtype(config, quantization),
            "attention": getattr(model.config, "_attn_implementation", None) or config.attention,
            **bits(model),
            "base_bytes": stored_bytes(model),
        },
    )


def _mark_progress(*args: Any) -> None:
    """Update the heartbeat. Called before each forward pass, so for each batch and generated token."""
    heartbeat.mark()
