"""Find the linear layers that text runs through, by a forward pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from torch import nn

LENGTH = 8  # tokens of the test text

# Names of the towers for other inputs, used if no text can be run.
_OTHER_INPUTS = re.compile(r"vision|visual|image|audio|speech|video", re.IGNORECASE)

_seen: WeakKeyDictionary[nn.Module, Mapping[str, bool]] = WeakKeyDictionary()


def linear_layers(model: nn.Module) -> dict[str, Any]:
    """Return name → layer of all linear layers but the output layer; GPT-2's are Conv1D."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    output = getattr(model, "get_output_embeddings", lambda: None)()
    kinds = (nn.Linear, Conv1D)  # quantized layers are Linear too
    return {n: m for n, m in model.named_modules() if isinstance(m, kinds) and m is not output}


def reached_by_text(model: nn.Module) -> dict[str, Any]:
    """Return the linear layers that a forward pass of text calls and that return one tensor.

    This excludes layers of an image tower, layers whose weights another module reads (Mamba's
    ``dt_proj``), and routers that return a tuple. All experts count if one is called, because a short
    text reaches few of them. A skeleton on the meta device is enough.
    """
    layers, called = linear_layers(model), _called(model)
    if called is None:
        return {name: m for name, m in layers.items() if not _OTHER_INPUTS.search(name)}
    return {name: layer for name, layer in layers.items() if called.get(kind_of(name))}


def read_by_others(model: nn.Module) -> list[str]:
    """Return linear layers whose weights other modules read directly, instead of calling the layer.

    Such a weight can neither have an adapter nor be packed by quantization.
    """
    layers, called = linear_layers(model), _called(model)
    if called is None:
        return []
    return [
        name
        for name in layers
        if read_by_kernels(model, name)
        or (not called.get(kind_of(name)) and kind_of(name.rpartition(".")[0]) in called)
    ]


def read_by_kernels(model: nn.Module, name: str) -> bool:
    """Return True if fused kernels read that layer's weight directly: Mamba's ``out_proj``.

    An adapter beside such a layer would have no effect, and peft refuses it in some of these
    models. A state-space mixer is recognised by its parameters A and D.
    """
    owner, _, leaf = name.rpartition(".")
    mixer = model.get_submodule(owner)
    return leaf == "out_proj" and hasattr(mixer, "A_log") and hasattr(mixer, "D")


def kind_of(name: str) -> str:
    """Return ``layers.3.experts.*.up_proj`` for ``layers.3.experts.5.up_proj``: all experts as one.

    Chance decides which experts a text runs through. Other numbered layers are always called.
    """
    return re.sub(r"(expert\w*\.)\d+(?=\.|$)", r"\1*", name, flags=re.IGNORECASE)


def _called(model: nn.Module) -> Mapping[str, bool] | None:
    """Return kind of module → True if it returned one tensor, for called modules; None if none ran."""
    if model not in _seen:
        called = _watched(model)
        if called is None:
            return None
        _seen[model] = called
    return _seen[model]


def _watched(model: nn.Module) -> Mapping[str, bool] | None:
    import torch

    called: dict[str, bool] = {}

    def noting(kind: str) -> Any:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            called[kind] = isinstance(output, torch.Tensor)

        return note

    try:
        with ExitStack() as stack:
            for name, module in model.named_modules():
                handle = module.register_forward_hook(noting(kind_of(name)))
                stack.callback(handle.remove)
            _read_a_text(model)
    except Exception:  # a model without embeddings, or one that needs other inputs too
        return None
    return called


def _read_a_text(model: Any) -> None:
    import torch

    weight = model.get_input_embeddings().weight
    ids = torch.arange(LENGTH, device=weight.device).remainder(weight.shape[0])[None]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _without_values(model) if weight.is_meta else ExitStack():
            model(input_ids=ids, use_cache=False)
    finally:
        model.train(was_training)


@contextmanager
def _without_values(model: Any) -> Iterator[None]:
    """Context for a skeleton: shapes alone, with the implementation of experts that needs no values."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    before = model.get_experts_implementation()
    model.set_experts_implementation("batched_mm")
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        model.set_experts_implementation(before)
