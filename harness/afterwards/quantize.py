"""Quantization of a tuned model: what it costs in quality and forgetting."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.config.evaluation import QUANTIZATIONS
from harness.errors import InputError
from harness.language import recorded
from harness.models.weights.stored_bytes import quantizable_layers, stored_bytes

if TYPE_CHECKING:
    from torch import nn

    from harness.data.tokens.batches import Batch

CALIBRATION_SEQUENCES = 16  # training sequences, one at a time, so that no padding is observed
GROUP_SIZES = (128, 64, 32)  # supported by the int4 kernel; arXiv:2306.00978 uses 128
SMOOTHING = 0.5  # α of arXiv:2211.10438 Eq. 4
INC = ("inc_rtn", "inc_gptq")  # by Intel Neural Compressor
ON_A_CPU = ("int4", "awq", *INC)  # torchao's 4-bit CPU kernel; INC was tried on a CPU only
GROUPED = ("int4", "awq", *INC)


def check_schemes(schemes: Iterable[str], model: nn.Module, device: str) -> None:
    """Check each scheme by quantizing a one-layer model. ``model`` may be a skeleton without weights.

    Raises InputError if torchao is missing, or if this machine or ``model`` does not support a
    scheme.
    """
    for scheme in schemes:
        at = f"evaluation.quantization={scheme}"
        package, extra = ("neural_compressor", "inc") if scheme in INC else ("torchao", "ptq")
        if scheme != "nf4" and find_spec(package) is None:
            raise InputError(
                f"{at} needs {package}, which is not installed: "
                f"pip install 'finetune-harness[{extra}]'. Without it: nf4."
            )
        if scheme in ON_A_CPU and device != "cpu":
            others = ", ".join(name for name in QUANTIZATIONS if name not in ON_A_CPU)
            raise InputError(f"{at} runs on a CPU only, and this is {device}; here: {others}.")
        if not _layers(model):
            raise InputError(f"{at} cannot be used with this model: it has no nn.Linear layer.")
        if scheme in GROUPED:
            groups_of(model)
        try:
            _try(scheme, device)
        except Exception as error:  # backends raise many types
            raise InputError(
                f"{at} cannot be used on this machine's {device}: {str(error).splitlines()[0]}"
            ) from error


class Quantized(NamedTuple):
    """A model whose linear layers were quantized."""

    model: nn.Module
    n_bytes: int  # stored bytes, including scales
    how: str  # description of the scheme


def quantized(model: nn.Module, scheme: str, calibration: Iterable[Batch]) -> Quantized:
    """Return a copy of ``model`` with quantized linear layers, its bytes, and a description.

    ``model`` is at full precision and stays unchanged. Embeddings and the output layer are not
    quantized. ``calibration`` yields batches of one sequence, used by smoothquant, awq and gptq. For
    awq the inputs of every layer are kept in memory. The bytes include the scales.
    """
    assert scheme in QUANTIZATIONS, scheme
    logging.getLogger("torchao").setLevel(
        logging.ERROR
    )  # hides warnings about kernels for other machines
    copied = copy.deepcopy(model).requires_grad_(False).eval()
    if scheme in INC:
        from harness.afterwards.neural_compressor import compressed

        groups = groups_of(copied)
        copied, how = compressed(copied, scheme, groups.layers, groups.size, calibration)
    else:
        how = SCHEMES[scheme](copied, calibration)
    return Quantized(model=copied, n_bytes=stored_bytes(copied), how=how)


def _int8(model: nn.Module, calibration: Iterable[Batch]) -> str:
    from torchao.quantization import Int8WeightOnlyConfig

    _apply(model, Int8WeightOnlyConfig(set_inductor_config=False), _layers(model))
    return recorded("int8 weights with a scale per row")


def _w8a8(model: nn.Module, calibration: Iterable[Batch]) -> str:
    _apply(model, _dynamic_int8(), _layers(model))
    activations = recorded("int8 activations with a scale per token, at run time")
    return f"{recorded('int8 weights with a scale per row')}; {activations}"


def _smoothquant(model: nn.Module, calibration: Iterable[Batch]) -> str:
    """Scale by s_j = max|X_j|^α / max|W_j|^(1−α), then as w8a8 (arXiv:2211.10438 Eq. 3, 4).

    The paper folds 1/s into the norm before a layer; torchao multiplies by it, with the same result.
    """
    from torchao.prototype.smoothquant import SmoothQuantConfig
    from torchao.prototype.smoothquant.core import SmoothQuantObservedLinear
    from torchao.quantization.quantize_.common.quantization_step import QuantizationStep

    def config(step: QuantizationStep) -> Any:
        return SmoothQuantConfig(_dynamic_int8(), step, SMOOTHING, use_running_absmax=True)

    _apply(model, config(QuantizationStep.PREPARE), _layers(model))
    n = _calibrate(model, calibration)
    _apply(model, config(QuantizationStep.CONVERT), _instances(model, SmoothQuantObservedLinear))
    return recorded(
        "as w8a8, smoothed with α = {alpha:g} on {n} training sequences", alpha=SMOOTHING, n=n
    )


def _int4(model: nn.Module, calibration: Iterable[Batch]) -> str:
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

    groups = groups_of(_in_bfloat16(model))
    config = PrototypeInt4WeightOnlyConfig(group_size=groups.size, set_inductor_config=False)
    _apply(model, config, groups.layers)
    return groups.note


def _awq(model: nn.Module, calibration: Iterable[Batch]) -> str:
    """Scale by s = mean|X|^α, with α of the least output error (arXiv:2306.00978 Eq. 4, 5)."""
    from torchao.prototype.awq import AWQConfig
    from torchao.prototype.awq.core import AWQObservedLinear
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
    from torchao.quantization.quantize_.common.quantization_step import QuantizationStep

    groups = groups_of(_in_bfloat16(model))
    base = PrototypeInt4WeightOnlyConfig(group_size=groups.size, set_inductor_config=False)
    _apply(model, AWQConfig(base, QuantizationStep.PREPARE), groups.layers)
    n = _calibrate(model, calibration)
    _apply(model, AWQConfig(base, QuantizationStep.CONVERT), _instances(model, AWQObservedLinear))
    scaled = recorded("scaled by activations of {n} training sequences", n=n)
    return f"{groups.note}; {scaled}"


def _nf4(model: nn.Module, calibration: Iterable[Batch]) -> str:
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, layer in _layers(model).items():
        bias = layer.bias is not None
        options = {"compute_dtype": layer.weight.dtype, "quant_type": "nf4"}
        packed = Linear4bit(layer.in_features, layer.out_features, bias, **options)
        # pyright reads the parameters of Tensor, not those of bitsandbytes' own __new__
        pack: Any = Params4bit
        packed.weight = pack(layer.weight.data, requires_grad=False, quant_type="nf4")
        packed.bias = layer.bias
        packed.support_avx512bf16_for_cpu = False  # as in harness/models/load.py
        model.set_submodule(name, packed.to(layer.weight.device))
    return recorded("4-bit NormalFloat in blocks of 64, double quantization")


SCHEMES: dict[str, Callable[[Any, Iterable[Any]], str]] = {
    "int8": _int8,
    "int4": _int4,
    "w8a8": _w8a8,
    "smoothquant": _smoothquant,
    "awq": _awq,
    "nf4": _nf4,
}
assert {*SCHEMES, *INC} == set(QUANTIZATIONS)


def _layers(model: nn.Module) -> dict[str, Any]:
    """Return the layers to quantize: nn.Linear only, so none of GPT-2's transposed Conv1D."""
    from torch import nn

    layers = quantizable_layers(model)
    return {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}


@lru_cache
def _try(scheme: str, device: str) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.data.tokens.batches import Batch

    config = LlamaConfig(
        vocab_size=32,
        num_hidden_layers=1,
        hidden_size=128,
        intermediate_size=128,
        num_attention_heads=4,
    )
    with torch.device(device):
        model = LlamaForCausalLM(config)
    ids = torch.arange(32, device=device).unsqueeze(0)
    ones = torch.ones_like(ids)
    batch = Batch(ids, ones, ones.bool(), ids[0], ones[0])
    small = quantized(model, scheme, [batch]).model
    with torch.no_grad():
        small(ids)


def _dynamic_int8() -> Any:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    # By default torchao changes the float32 matmul precision of the whole process.
    return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)


def _apply(model: nn.Module, config: Any, layers: dict[str, nn.Module]) -> None:
    from torchao.quantization import quantize_

    quantize_(model, config, filter_fn=lambda module, name: name in layers)


def _instances(model: nn.Module, kind: type) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, kind)}


def _calibrate(model: nn.Module, calibration: Iterable[Batch]) -> int:
    """Run the calibration data through the observers and return the number of sequences."""
    import torch

    n = 0
    with torch.no_grad():
        for batch in calibration:
            assert len(batch.input_ids) == 1, "otherwise padding would be observed"
            model(batch.input_ids, use_cache=False)
            n += 1
    assert n > 0
    return n


def _in_bfloat16(model: nn.Module) -> nn.Module:
    """Convert parameters to bfloat16 for the int4 kernel. Buffers stay: positions need float32."""
    import torch

    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    return model


class Groups(NamedTuple):
    layers: dict[str, Any]
    size: int
    note: str


def groups_of(model: nn.Module) -> Groups:
    """Return the layers that divide into groups, the group size that fits most of them, and a note."""
    layers = _layers(model)

    def fitting(size: int) -> dict[str, nn.Module]:
        return {name: m for name, m in layers.items() if m.in_features % size == 0}

    size = max(GROUP_SIZES, key=lambda size: (len(fitting(size)), size))
    chosen = fitting(size)
    if not chosen:
        raise InputError(
            f"evaluation.quantization={', '.join(GROUPED)} cannot be used with this model: the input "
            f"of no linear layer is a multiple of {min(GROUP_SIZES)}."
        )
    note = recorded("int4 weights in groups of {size}, the rest in bfloat16", size=size)
    if len(chosen) < len(layers):
        left = len(layers) - len(chosen)
        undivided = recorded("{n} of {of} layers do not divide into groups", n=left, of=len(layers))
        note = f"{note}; {undivided}"
    return Groups(layers=chosen, size=size, note=note)
