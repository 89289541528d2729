"""Training chosen entries of a model's tensors, and of nothing else. Imports torch: import it late.

The dense tensors stay frozen and stay where they are. Beside each lie the values of its chosen entries,
which are what the optimizer sees: it keeps no state for the rest, and neither weight decay nor momentum
can reach it. A dense gradient lives only while one tensor's backward pass runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.models.precision import as_computed

FILE = "mask.safetensors"


class Chosen(nn.Module):
    """Parametrization of one tensor: itself, with gradients for ``values`` (k,) at ``index`` (k,).

    ``index`` counts in the flattened tensor. Where the tensor is in half precision the values are
    kept in 32 bits, as peft keeps adapters: small steps add up before they are rounded.
    """

    values: nn.Parameter
    index: Tensor

    def __init__(self, dense: Tensor, index: Tensor) -> None:
        super().__init__()
        kept = dense.detach().flatten()[index]
        self.values = nn.Parameter(kept.to(torch.promote_types(dense.dtype, torch.float32)))
        short = torch.int32 if dense.numel() < 2**31 else torch.int64
        self.register_buffer("index", index.to(dense.device, short))

    def forward(self, dense: Tensor) -> Tensor:
        return _AsItStands.apply(self.values, dense, self.index)

    @torch.no_grad()
    def write(self, dense: Tensor) -> None:
        """Put the values where they belong."""
        flat = dense.view(-1)
        flat.index_copy_(0, self.index.long(), as_computed(self.values, flat.dtype, self.index))


class _AsItStands(torch.autograd.Function):
    """The dense tensor, not copied; its gradient is gathered at the index and dropped."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, dense: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.dtype = values.dtype
        return dense.view_as(dense)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return gradients[0].flatten()[index].to(ctx.dtype), None, None


def attach(model: nn.Module, chosen: Mapping[str, Tensor]) -> None:
    """Make the entries at ``chosen`` (parameter name → (k,) places) all that is trained, in place.

    A tensor that several modules own has one set of values, which gets the gradients of all.
    """
    model.requires_grad_(False)
    named = dict(model.named_parameters())
    masks = {id(named[name]): Chosen(named[name], at) for name, at in chosen.items() if len(at)}
    for module in list(model.modules()):
        for attribute, parameter in list(module.named_parameters(recurse=False)):
            mask = masks.get(id(parameter))
            if mask is not None:
                parametrize.register_parametrization(module, attribute, mask, unsafe=True)


class Attached(NamedTuple):
    """A tensor with chosen entries."""

    name: str  # in the base
    dense: Tensor
    mask: Chosen


def attached(model: nn.Module) -> Iterator[Attached]:
    """(name in the base, dense tensor, mask) of every tensor with chosen entries, each once."""
    seen = set()
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for attribute, parts in cast(nn.ModuleDict, module.parametrizations).items():
                if parts[0] not in seen:
                    seen.add(parts[0])
                    yield Attached(f"{name}.{attribute}", cast(Tensor, parts.original), parts[0])


def write(model: nn.Module) -> None:
    """Bring all dense tensors up to their values."""
    for one in attached(model):
        one.mask.write(one.dense)


def take_off(model: nn.Module) -> None:
    """The base's own modules and tensors again, as they stand; in place."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for attribute in list(cast(nn.ModuleDict, module.parametrizations)):
                parametrize.remove_parametrizations(module, attribute, leave_parametrized=False)


def base_name(name: str) -> str:
    """Return the base's name for a parameter or buffer of a masked model."""
    return name.replace(".parametrizations.", ".").removesuffix(".original")


def base_state(model: nn.Module) -> dict[str, Tensor]:
    """``state_dict`` in the base's own form; tensors with chosen entries in the dtype of those."""
    ours = (".0.values", ".0.index")
    state: dict[str, Tensor] = dict(model.state_dict())
    found = {base_name(name): t for name, t in state.items() if not name.endswith(ours)}
    exact: dict[int, Tensor] = {}  # by the place of the dense tensor, which two names may share
    halves = [one for one in attached(model) if one.mask.values.dtype != one.dense.dtype]
    for _, dense, mask in halves:
        whole = dense.detach().to(mask.values.dtype, copy=True)
        whole.view(-1).index_copy_(0, mask.index.long(), mask.values.detach())
        exact[dense.data_ptr()] = whole
    return {name: exact.get(tensor.data_ptr(), tensor) for name, tensor in found.items()}


def save(model: nn.Module, folder: Path) -> None:
    """``mask.safetensors``: index and values by tensor; with the base they make the tuned model."""
    from safetensors.torch import save_file

    tensors = {}
    for name, _, mask in attached(model):
        tensors[f"{name}.index"] = mask.index.cpu()
        tensors[f"{name}.values"] = mask.values.detach().cpu()
    save_file(tensors, folder / FILE)


def places(model: nn.Module) -> dict[str, Tensor]:
    """Name in the base → (k,) places of the chosen entries, in order."""
    return {one.name: one.mask.index for one in attached(model)}


def overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Jaccard index |A ∩ B| / |A ∪ B| of two masks: 1 for equal ones.

    Two random ones that keep a share q each have q / (2 − q) on average.
    """
    both = sum(int(torch.isin(first[name], second[name]).sum()) for name in first if name in second)
    either = sum(len(at) for at in (*first.values(), *second.values())) - both
    return both / either
