"""Pool of untouched bases that trials borrow in turn, so that each base is loaded once."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.config import ModelConfig
from harness.models.load import Base, load_base, load_tokenizer
from harness.models.quantization import Quantization
from harness.models.views import as_pretrained, recomputes_activations
from harness.models.weights.master_weights import forget_compute_dtypes
from harness.models.weights.stored_bytes import stored_bytes, stored_tensors
from harness.terminal.phases import phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase


_Key = tuple[ModelConfig, Quantization | None]
FREEZES = 2  # the first trial imports more after its base is loaded
ROOM = 6  # bases that the host's free memory must have room for before one is parked in it


@dataclass
class _PooledBase:
    """A base with the checksums that it had when it was loaded."""

    base: Base
    checksums: dict[str, tuple[int, int]]


class ModelPool:
    """Pool that lends bases. A base that was changed, or not returned, is loaded again.

    Beside a trial only its own base is on the device. Others wait in the host's memory.
    """

    def __init__(self, device: str, host_gb: Callable[[], float] | None = None) -> None:
        """Park bases in the host's memory by turns if ``host_gb`` tells how much of it is free.

        None is for a CPU: there a second base would count in the peaks of trials.
        """
        self.device = device
        self._host_gb = host_gb
        self._kept: dict[_Key, _PooledBase] = {}  # on the device, ready to be lent
        self._parked: dict[_Key, _PooledBase] = {}  # in the memory of the host
        self._tokenizers: dict[ModelConfig, PreTrainedTokenizerBase] = {}
        self._loads = 0

    @property
    def device_gb(self) -> float:
        """Return the GB (1e9 bytes) of the bases on the device that nobody has borrowed."""
        return sum(stored_bytes(pooled.base.model) for pooled in self._kept.values()) / 1e9

    def tokenizer(self, config: ModelConfig) -> PreTrainedTokenizerBase:
        """Return the tokenizer without loading the base."""
        if config not in self._tokenizers:
            self._tokenizers[config] = load_tokenizer(config)
        return self._tokenizers[config]

    @contextmanager
    def lend(self, config: ModelConfig, quantization: Quantization | None) -> Iterator[Base]:
        """Lend the base of a configuration, bit-identical to the loaded one.

        The borrower may add adapters and train. Afterwards adapters are removed. The base is lent
        again only if every tensor has its original bits.
        """
        key = (config, quantization)
        pooled = self._kept.pop(key, None)
        if pooled is None:
            self._clear_device()
            pooled = self._unparked(key)
        if pooled is None:
            with phase(f"loading {config.name}"):
                if self._loads < FREEZES and not self._parked:
                    freeze_library_objects()
                self._loads += 1
                gc.collect()  # models contain reference cycles
                base = load_base(config, quantization, self.device)
            pooled = _PooledBase(base, checksums(base.model))
        yield pooled.base
        # Reached only without an exception: the base of a failed trial is not lent again.
        _strip(pooled.base.model)
        if _has_its_bits(pooled):
            pooled.base.model.requires_grad_(False).eval()
            self._kept[key] = pooled

    def _clear_device(self) -> None:
        """Take the base that is not lent off the device: two may not fit beside a trial.

        Methods take turns, so it is soon needed again. It waits in the host's memory if that has room
        for several, since each worker of the machine may do the same. Quantized ones are loaded
        again: what moves with their constants depends on the library.
        """
        for key, pooled in self._kept.items():
            size = stored_bytes(pooled.base.model) / 1e9
            if self._host_gb and key[1] is None and self._host_gb() > ROOM * size:
                _move(pooled.base, "cpu")
                self._parked[key] = pooled
        self._kept.clear()

    def _unparked(self, key: _Key) -> _PooledBase | None:
        """Return a parked base on the device; None without one, or if a bit of it has changed."""
        pooled = self._parked.pop(key, None)
        if pooled is None:
            return None
        gc.collect()
        _move(pooled.base, self.device)
        return pooled if _has_its_bits(pooled) else None


def _move(base: Base, device: str) -> None:
    model: Any = base.model  # transformers' decorated ``to`` has no usable type
    model.to(device)


def freeze_library_objects() -> None:
    """Exclude objects of the libraries from garbage collection.

    They are about a million, and each collection would take 0.5 s longer.
    """
    import peft  # noqa: F401
    import transformers.modeling_utils  # noqa: F401

    gc.collect()
    gc.freeze()


def _has_its_bits(pooled: _PooledBase) -> bool:
    """Return whether the base is the loaded one; found out at the first tensor that differs.

    The order must be the same too: it changes the rounding of sums over all parameters.
    """
    tensors, known = stored_tensors(pooled.base.model), pooled.checksums
    return list(tensors) == list(known) and all(
        hash_bits(tensor.detach()) == known[name] for name, tensor in tensors.items()
    )


def checksums(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return name → two hashes of the bits of each parameter, buffer and quantization constant."""
    tensors = stored_tensors(model)
    return {name: hash_bits(tensor.detach()) for name, tensor in tensors.items()}


def hash_bits(tensor: Tensor) -> tuple[int, int]:
    """Return the exclusive or, and the wrapping sum of squares, of a tensor's 8-byte words.

    Both would detect little over single bytes. In a plain sum, two changed signs could cancel.
    """
    import torch

    flat = tensor.contiguous().flatten().view(torch.uint8)
    words = torch.zeros(-(-len(flat) // 8), dtype=torch.int64, device=flat.device)
    words.view(torch.uint8)[: len(flat)] = flat
    return int(torch.hash_tensor(words).view(torch.int64)), int((words * words).sum())


def _ancestors(name: str) -> list[str]:
    """Return the names of enclosing modules: ``a`` and ``a.b`` for ``a.b.c``."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _strip(model: nn.Module) -> None:
    """Remove adapters from ``model`` in place, and undo settings of training."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    from harness.models.weights import masked_entries

    masked_entries.take_off(model)
    forget_compute_dtypes(model)
    model.zero_grad(set_to_none=True)  # a step that ran out of memory leaves gradients
    wrapped = {n: m for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    for name, module in wrapped.items():
        if wrapped.keys().isdisjoint(_ancestors(name)):  # only the outermost of nested wrappers
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    if recomputes_activations(model):
        as_pretrained(model).gradient_checkpointing_disable()
        as_pretrained(model).disable_input_require_grads()
