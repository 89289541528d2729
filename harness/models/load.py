"""Load a base: only safetensors, no code from the hub, at the configured precision."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import ModelConfig
from harness.errors import InputError, is_out_of_memory, sentence
from harness.models.checks.completeness import check_complete
from harness.models.quantization import Quantization
from harness.models.reached import read_by_others
from harness.models.stored_bytes import bits, stored_bytes
from harness.paths import user_path
from harness.records import heartbeat
from harness.records.disk_full import is_disk_full
from harness.records.fingerprint import digest

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Base:
    """A loaded base with its tokenizer and metadata."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str  # hash of the stored weights and tokenizer, and of the settings for loading
    provenance: dict[str, Any]


def model_path(config: ModelConfig) -> str:
    """Return the argument of ``from_pretrained``: a built-in or local folder, or a hub name."""
    if config.name in ("builtin", "builtin_chat"):
        from harness import builtin

        return str(builtin.MODEL if config.name == "builtin" else builtin.CHAT_MODEL)
    folder = user_path(config.name)
    return str(folder) if config.name.startswith("~") and folder.is_dir() else config.name


def check_model(config: ModelConfig) -> None:
    """Check the settings without loading the model. Raises InputError."""
    if not config.name:
        raise InputError("model.name is not set: give a hub name or a local directory.")
    path = Path(model_path(config))
    looks_local = config.name.startswith((".", "/", "~")) or path.exists()
    if not looks_local:
        if config.name.count("/") > 1:
            raise InputError(
                f"model.name={config.name!r} is neither an existing folder nor a hub name "
                "(owner/name); model=builtin is the built-in one."
            )
        return
    if not path.is_dir():
        raise InputError(f"model.name={config.name!r} cannot be used: this folder does not exist.")
    if (path / "adapter_config.json").is_file():
        raise InputError(
            f"model.name={config.name!r} cannot be used: it holds an adapter, not a model. Set "
            "model.name to the model that it was trained on. To measure the adapter, use "
            f"harness.evaluate with adapter={config.name}."
        )
    if not (path / "config.json").is_file():
        raise InputError(f"model.name={config.name!r} cannot be used: it has no config.json.")
    if not list(path.glob("*.safetensors")):
        raise InputError(
            f"model.name={config.name!r} cannot be used: it has no *.safetensors file. Other "
            "formats can contain code and are not read. Convert it with save_pretrained()."
        )


def pinned_revision(config: ModelConfig) -> str | None:
    """Return the commit of a hub model's revision; None for a local model.

    It is resolved once, before any fingerprint, so that a branch that moves later is not mistaken for
    the measured model. Without a network, it is the commit in the cache. Raises InputError.
    """
    if Path(model_path(config)).exists():
        return None
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    revision = config.revision or "main"
    if len(revision) == 40 and all(character in "0123456789abcdef" for character in revision):
        return revision
    cached = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=config.name, repo_type="model")
    try:
        if not constants.HF_HUB_OFFLINE:
            return HfApi().model_info(config.name, revision=revision, timeout=5).sha
    except (
        Exception
    ) as error:  # no network, no such model or no permission: the cache may still have it
        if not (cached / "refs" / revision).is_file():
            first = str(error).strip().splitlines()[0]
            raise InputError(
                f"model.name={config.name!r} cannot be used: it is neither an existing folder nor in "
                f"the cache, and the hub answered: {first}"
            ) from error
    try:
        return (cached / "refs" / revision).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(
            f"model.name={config.name!r} cannot be used: it is neither an existing folder nor in the "
            "cache, and HF_HUB_OFFLINE forbids downloading from the hub."
        ) from error


# Files of a model's folder that are never read: documentation, and weights in formats with code.
REPACKS = "support_avx512bf16_for_cpu"  # of a bitsandbytes layer
_UNREAD = (".md", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".pkl")


@lru_cache(maxsize=8)
def stored_fingerprint(config: ModelConfig) -> str:
    """Hash all files of a local model that may be read; name and revision of a model on the hub.

    Templates and vocabularies have many names, so files are excluded by name instead of included.
    """
    path = Path(model_path(config))
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted([*path.iterdir(), *path.glob("additional_chat_templates/*")]):
            named = file.is_file() and not file.name.startswith(".")
            if named and file.suffix.lower() not in _UNREAD:
                digest.update(file.relative_to(path).as_posix().encode())
                with file.open("rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
    else:
        digest.update(f"{config.name}@{config.revision}".encode())
    return digest.hexdigest()[:16]


def base_fingerprint(config: ModelConfig, quantization: Quantization | None) -> str:
    """Hash the stored weights and tokenizer, and the settings they are loaded with."""
    how = [
        config.dtype,
        config.attention,
        quantization and [quantization.kind, quantization.double],
        compute_dtype(config, quantization),
    ]
    return digest([stored_fingerprint(config), *how], 16)


def compute_dtype(config: ModelConfig, quantization: Quantization | None) -> str | None:
    """Return the dtype in which 4-bit weights are multiplied; None for other storage."""
    if quantization is None or quantization.kind == "int8":
        return None
    if config.compute_dtype != "auto":
        return config.compute_dtype
    return "bfloat16" if config.dtype in ("auto", "bfloat16") else "float32"


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    options = {"revision": config.revision or "main", "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(model_path(config), **options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_skeleton(config: ModelConfig) -> nn.Module:
    """Load the modules of a model without weights, to check names and sizes."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from harness.models.checks.causality import refuse_encoder_decoder

    check_model(config)
    options = {"revision": config.revision or "main", "trust_remote_code": False}
    with _as_input(config):
        architecture = AutoConfig.from_pretrained(model_path(config), **options)
        refuse_encoder_decoder(architecture, config.name)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                architecture, trust_remote_code=False, attn_implementation=_attention(config)
            )


def weights_dtype(config: ModelConfig, skeleton: nn.Module) -> torch.dtype | None:
    """Return the dtype the weights will have; None if only the weights themselves can tell."""
    import torch

    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    stored = getattr(skeleton.config, "dtype", None)
    return getattr(torch, stored) if isinstance(stored, str) else stored


def load_base(config: ModelConfig, quantization: Quantization | None, device: str) -> Base:
    """Load the base on ``device``, in evaluation mode, with nothing trainable.

    Raises InputError if the model is not found, is not a causal language model, has weights that are
    missing in its files, or if this machine cannot run the quantization.
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
    with _as_input(config):
        refuse_encoder_decoder(AutoConfig.from_pretrained(path, **options), config.name)
        tokenizer = load_tokenizer(config)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            **options,
            use_safetensors=True,
            dtype=config.dtype,
            attn_implementation=_attention(config),
            quantization_config=_quantization_config(config, quantization),
            device_map=device if quantization is not None else None,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
    model, info = loaded
    model.config.return_dict = True  # outputs are read by name, whatever config.json sets
    check_complete(model, info, config.name)
    if quantization is None:
        model.to(torch.device(device))
    else:
        _keep_packing(model)
    model.requires_grad_(False).eval()
    with _as_input(config):
        check_causal(model, config.name)
    model.get_input_embeddings().register_forward_pre_hook(_progressed)
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


@contextmanager
def _as_input(config: ModelConfig) -> Iterator[None]:
    """Turn an error of the libraries about this model into an InputError for the user."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error) or is_disk_full(error):
            raise
        said = sentence(error)
        if config.attention != "auto" and "attention" in said.lower():
            raise InputError(
                f"model.attention={config.attention!r} cannot be used with "
                f"model.name={config.name!r}: {said.split('. ')[0]}. Use model.attention=eager, which "
                "every model has, or auto."
            ) from error
        raise InputError(f"model.name={config.name!r} cannot be loaded: {said}") from error


def _attention(config: ModelConfig) -> str | None:
    return None if config.attention == "auto" else config.attention


def _progressed(*about: Any) -> None:
    """Record progress. Called before each forward pass: for each batch and each generated token."""
    heartbeat.mark()


def _keep_packing(model: nn.Module) -> None:
    """Keep bitsandbytes from repacking its 4-bit weights.

    On CPUs with AVX512-BF16 its layers repack themselves at the first forward pass without gradients.
    This rounds block maxima to bfloat16 and undoes double quantization permanently. The base would
    differ before and after its first evaluation, and layers whose size is not a multiple of 32 fail.
    """
    for module in model.modules():
        if hasattr(module, REPACKS):
            setattr(module, REPACKS, False)


def _quantization_config(config: ModelConfig, quantization: Quantization | None) -> Any:
    if quantization is None:
        return None
    import torch
    from transformers import BitsAndBytesConfig

    options: dict[str, Any] = {"llm_int8_skip_modules": _not_to_pack(config)}
    if quantization.kind == "int8":
        # It warns at every layer that float32 inputs become float16. The record notes it once.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True, **options)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.kind,
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=getattr(torch, str(compute_dtype(config, quantization))),
        **options,
    )


def _not_to_pack(config: ModelConfig) -> list[str] | None:
    """Return the layers that stay at full precision because other modules read their weights.

    None if there are none: the library then makes its own choice, which a list would replace.
    """
    from transformers.quantizers.base import get_keys_to_not_convert

    skeleton = load_skeleton(config)
    read = read_by_others(skeleton)
    return [*read, *get_keys_to_not_convert(skeleton)] if read else None
