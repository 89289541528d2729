"""Linear layers that text passes through, determined by a forward pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from torch import nn

LENGTH = 8  # tokens of the test text

# Names of encoders for other inputs, used if the model cannot run on text alone.
_OTHER_INPUTS = re.compile(r"vision|visual|image|audio|speech|video", re.IGNORECASE)

_called_modules: WeakKeyDictionary[nn.Module, Mapping[str, bool]] = WeakKeyDictionary()


def linear_layers(model: nn.Module) -> dict[str, Any]:
    """Return name → layer of all linear layers but the output layer, with GPT-2's Conv1D."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    output = getattr(model, "get_output_embeddings", lambda: None)()
    kinds = (nn.Linear, Conv1D)  # quantized layers are Linear too
    return {n: m for n, m in model.named_modules() if isinstance(m, kinds) and m is not output}


def reached_by_text(model: nn.Module) -> dict[str, Any]:
    """Return the linear layers that a forward pass of text calls and that return one tensor.

    Excluded are layers of an image encoder, layers whose weights another module reads (Mamba's
    ``dt_proj``), and routers that return a tuple. If one expert is called, all count, because a
    short text reaches only a few. ``model`` may be a skeleton on the meta device.
    """
    layers, called = linear_layers(model), _called(model)
    if called is None:
        return {name: m for name, m in layers.items() if not _OTHER_INPUTS.search(name)}
    return {name: layer for name, layer in layers.items() if called.get(kind_of(name))}


def read_by_others(model: nn.Module) -> list[str]:
    """Return names of linear layers whose weights other modules read without calling the layer.

    Such a weight can neither have an adapter nor be quantized.
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
    """Return True if a fused kernel reads the weight of layer ``name``, as Mamba's ``out_proj``.

    An adapter on such a layer would have no effect, and peft refuses some of them. A state-space
    mixer is recognised by its parameters A and D.
    """
    owner, _, leaf = name.rpartition(".")
    mixer = model.get_submodule(owner)
    return leaf == "out_proj" and hasattr(mixer, "A_log") and hasattr(mixer, "D")


def kind_of(name: str) -> str:
    """Return a module name with the number of an expert replaced by ``*``.

    For example ``layers.3.experts.*.up_proj``. It depends on the text which experts are called.
    Other numbered layers are always called.
    """
    return re.sub(r"(expert\w*\.)\d+(?=\.|$)", r"\1*", name, flags=re.IGNORECASE)


def _called(model: nn.Module) -> Mapping[str, bool] | None:
    """Return kind of module → True if it returned one tensor, for modules called on text.

    None if the model cannot run on text alone.
    """
    if model not in _called_modules:
        called = _record_calls(model)
        if called is None:
            return None
        _called_modules[model] = called
    return _called_modules[model]


def _record_calls(model: nn.Module) -> Mapping[str, bool] | None:
    """Run the model on a short text and return the result of ``_called``."""
    import torch

    called: dict[str, bool] = {}

    def recorder(kind: str) -> Any:
        def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            called[kind] = isinstance(output, torch.Tensor)

        return record

    try:
        with ExitStack() as stack:
            for name, module in model.named_modules():
                handle = module.register_forward_hook(recorder(kind_of(name)))
                stack.callback(handle.remove)
            _run_on_text(model)
    except Exception:  # a model without embeddings, or one that needs other inputs too
        return None
    return called


def _run_on_text(model: Any) -> None:
    """Run a forward pass of ``LENGTH`` tokens without gradients."""
    import torch

    weight = model.get_input_embeddings().weight
    ids = torch.arange(LENGTH, device=weight.device).remainder(weight.shape[0])[None]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), _fake_tensors(model) if weight.is_meta else ExitStack():
            model(input_ids=ids, use_cache=False)
    finally:
        model.train(was_training)


@contextmanager
def _fake_tensors(model: Any) -> Iterator[None]:
    """Context to run a skeleton without values.

    Experts get an implementation that needs only shapes.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    before = model.get_experts_implementation()
    model.set_experts_implementation("batched_mm")
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        model.set_experts_implementation(before)
