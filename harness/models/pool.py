"""Pool of unchanged bases, lent to one trial after another so that each is loaded once."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from harness.config import ModelConfig
from harness.models.load import Base, load_base, load_tokenizer
from harness.models.precision import forget_rest
from harness.models.quantization import Quantization
from harness.models.stored_bytes import stored_tensors
from harness.models.views import as_pretrained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase


@dataclass
class _Kept:
    base: Base
    checksums: dict[str, tuple[int, int]]


class ModelPool:
    """Lends bases. A base that is changed or not given back is loaded again the next time."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._kept: dict[tuple[ModelConfig, Quantization | None], _Kept] = {}
        self._tokenizers: dict[ModelConfig, PreTrainedTokenizerBase] = {}

    def tokenizer(self, config: ModelConfig) -> PreTrainedTokenizerBase:
        """Return the tokenizer without loading the base, which cached measurements do not need."""
        if config not in self._tokenizers:
            self._tokenizers[config] = load_tokenizer(config)
        return self._tokenizers[config]

    @contextmanager
    def lend(self, config: ModelConfig, quantization: Quantization | None) -> Iterator[Base]:
        """Lend the base of a configuration, bit-identical to the loaded one.

        The borrower may add adapters and train. On return the adapters are removed, and the base is
        kept only if every tensor has its original bits.
        """
        key = (config, quantization)
        kept = self._kept.pop(key, None)
        if kept is None:
            self._kept.clear()  # one base at a time: two may not fit into memory
            _set_modules_aside()
            gc.collect()  # models contain reference cycles
            base = load_base(config, quantization, self.device)
            kept = _Kept(base, checksums(base.model))
        yield kept.base
        # Reached only without an exception: the base of a failed trial is not lent again.
        _strip(kept.base.model)
        # The order must be the same too: it changes the rounding of sums over all parameters.
        if list(checksums(kept.base.model).items()) == list(kept.checksums.items()):
            kept.base.model.requires_grad_(False).eval()
            self._kept[key] = kept


@cache
def _set_modules_aside() -> None:
    """Exclude the libraries' million objects from garbage collection, which takes 0.5 s each time."""
    import peft  # noqa: F401
    import transformers.modeling_utils  # noqa: F401

    gc.collect()
    gc.freeze()


def checksums(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return two hashes of the bits of each parameter, buffer and quantization constant, by name."""
    tensors = stored_tensors(model)
    return {name: _bits(tensor.detach()) for name, tensor in tensors.items()}


def _bits(tensor: Tensor) -> tuple[int, int]:
    """Return exclusive or and wrapping sum of squares of words of 8 bytes.

    Over single bytes both would detect little. In a plain sum, two changed signs could cancel.
    """
    import torch

    flat = tensor.contiguous().flatten().view(torch.uint8)
    words = torch.zeros(-(-len(flat) // 8), dtype=torch.int64, device=flat.device)
    words.view(torch.uint8)[: len(flat)] = flat
    return int(torch.hash_tensor(words).view(torch.int64)), int((words * words).sum())


def _around(name: str) -> list[str]:
    """Return the names of the modules around ``name``: ``a`` and ``a.b`` for ``a.b.c``."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _strip(model: nn.Module) -> None:
    """Remove adapter layers from ``model`` in place, and undo what training switched on."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    from harness.models import masked_entries

    masked_entries.take_off(model)
    forget_rest(model)
    model.zero_grad(set_to_none=True)  # a step that ran out of memory keeps them
    wrapped = {n: m for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    for name, module in wrapped.items():
        if wrapped.keys().isdisjoint(
            _around(name)
        ):  # only the outermost of nested ones, which holds the others
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    if model.is_gradient_checkpointing:
        as_pretrained(model).gradient_checkpointing_disable()
        as_pretrained(model).disable_input_require_grads()
