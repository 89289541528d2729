"""Selection of the linear layers that a method adapts, by preset or by name, in any architecture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harness.config.strict import require
from harness.errors import InputError, unknown
from harness.models.text_layers import linear_layers, reached_by_text, read_by_kernels

if TYPE_CHECKING:
    from torch import nn

PRESETS = ("qv", "kv-down", "attention", "mlp", "all-linear")

Shapes = Mapping[str, tuple[int, int]]  # full module name → (in, out) features

# Names of attention and MLP modules, then names of the layers in them.
_ATTENTION_PATH = re.compile(r"att(n|ention)", re.IGNORECASE)
_MLP_PATH = re.compile(r"mlp|ffn|feed_?forward|denserelu|experts?$|moe", re.IGNORECASE)
_QUERY = re.compile(r"(q|query|wq|q_?(proj|lin)|query_proj)", re.IGNORECASE)
_KEY = re.compile(r"(k|key|wk|k_?(proj|lin)|key_proj)", re.IGNORECASE)
_VALUE = re.compile(r"(v|value|wv|v_?(proj|lin)|value_proj)", re.IGNORECASE)
_FUSED = re.compile(r"c_attn|query_key_value|qkv(_proj)?|wqkv|attn_qkv", re.IGNORECASE)
_MLP = re.compile(
    r"(fc\d?|fc_(in|out)|c_fc|w[123]|(gate|up|down|gate_up)_proj|dense_(h_to_4h|4h_to_h))",
    re.IGNORECASE,
)


def linear_modules(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return name → (in, out) features of the linear layers that text passes through.

    Leaves out the output layer, and layers without text input such as those of an image encoder.
    Includes the Conv1D layers of GPT-2.
    """
    return {name: _shape(layer) for name, layer in reached_by_text(model).items()}


def _shape(layer: Any) -> tuple[int, int]:
    """Return (in, out) features of a Linear or Conv1D layer."""
    if hasattr(layer, "in_features"):
        return layer.in_features, layer.out_features
    return layer.weight.shape[0], layer.weight.shape[1]


def _is_for_presets(model: nn.Module, name: str, shape: tuple[int, int]) -> bool:
    """Return True if a preset may adapt the layer.

    Excludes gates with a single output and layers whose weights a fused kernel reads directly.
    """
    return min(shape) > 1 and not read_by_kernels(model, name)


def chosen_modules(model: nn.Module, targets: str | list[str]) -> dict[str, tuple[int, int]]:
    """Return name → (in, out) features of the layers that ``method.target_modules`` selects.

    A preset is resolved by module paths. ``qv`` requires separate layers for queries and values,
    ``kv-down`` for keys and values, with the MLP's down projections added. A name selects every
    layer whose path ends with it. Raises InputError with the names that the model has.
    """
    linear = linear_modules(model)
    if isinstance(targets, str) and targets in PRESETS:
        linear = {n: shape for n, shape in linear.items() if _is_for_presets(model, n, shape)}
        chosen = _preset(linear, targets)
        if not chosen:
            raise InputError(
                f"method.target_modules={targets!r} cannot be used: {type(model).__name__} has no "
                "linear layer that could be adapted."
            )
        return {name: linear[name] for name in chosen}
    requested = [targets] if isinstance(targets, str) else list(targets)
    if not requested:
        raise InputError(f"method.target_modules is empty; this model has: {_listed(linear)}.")
    selected: dict[str, tuple[int, int]] = {}
    for target in requested:
        matches = {name: shape for name, shape in linear.items() if _ends_with(name, target)}
        if not matches:
            raise _not_linear(model, linear, target)
        selected |= matches
    return selected


def is_conv1d(model: nn.Module, name: str) -> bool:
    """Return True for GPT-2's Conv1D, whose weight is (in, out): peft's ``fan_in_fan_out``."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(model.get_submodule(name), Conv1D)


def refuse_conv1d(model: nn.Module, shapes: Shapes, method: str) -> None:
    """Raise InputError if a target is a Conv1D, for a ``method`` of peft that supports Linear only."""
    for name in shapes:
        if is_conv1d(model, name):
            raise InputError(
                f"{method} cannot be used on this model: its {_leaf(name)} is a Conv1D, and peft "
                f"supports {method} for Linear layers only."
            )


def out_of_mlp(shapes: Shapes) -> list[str]:
    """Return the down projections of MLPs: layers whose output is narrower than their input."""
    return [
        name for name, (d_in, d_out) in shapes.items() if _group(name) == "mlp" and d_in > d_out
    ]


def resolve_targets(model: nn.Module, targets: str | list[str]) -> list[str]:
    """Return the selected layers as the shortest name suffixes that match no other module."""
    return shortest_ends(chosen_modules(model, targets), (n for n, _ in model.named_modules()))


def peft_targets(model: nn.Module, targets: str | list[str]) -> dict[str, Any]:
    """Return the selected layers as arguments of a peft configuration that supports Conv1D."""
    first = next(iter(chosen_modules(model, targets)))
    return {
        "target_modules": resolve_targets(model, targets),
        "fan_in_fan_out": is_conv1d(model, first),
    }


def shortest_ends(chosen: Iterable[str], everything: Iterable[str]) -> list[str]:
    """Return the shortest dotted suffix of each name in ``chosen`` that no other name has.

    ``everything`` contains all names, ``chosen`` included. Each suffix is returned once.
    """
    chosen = list(chosen)
    of_chosen, of_all = (
        Counter(end for name in names for end in _ends(name)) for names in (chosen, everything)
    )
    return sorted({next(e for e in _ends(n) if of_chosen[e] >= of_all[e]) for n in chosen})


def check_rank(shapes: Shapes, field: str, rank: int, *, every: bool = False) -> None:
    """Raise InputError if ``rank`` exceeds the smaller side of every target.

    With ``every``, it must not exceed the smaller side of any target. Initial values from a
    decomposition of each weight require this.
    """
    most = largest_rank(shapes, every=every)
    require(rank <= most, field, rank, f"at most {most}, the largest rank a target can have")


def largest_rank(shapes: Shapes, *, every: bool = False) -> int:
    """Return the largest rank that one target (with ``every``: each target) can have."""
    sides = [min(shape) for shape in shapes.values()]
    return min(sides) if every else max(sides)


def _preset(linear: Shapes, preset: str) -> list[str]:
    """Return the names of the layers in ``linear`` that a preset selects.

    Raises InputError if the model has no such layers.
    """
    if preset == "all-linear":
        return list(linear)
    groups = {name: _group(name) for name in linear}
    mlp = [name for name, group in groups.items() if group == "mlp"]
    attention = [name for name, group in groups.items() if group == "attention"]
    if preset in ("attention", "mlp"):
        parts = {preset: attention if preset == "attention" else mlp}
    else:
        first = {"queries": _QUERY} if preset == "qv" else {"keys": _KEY}
        parts = {
            part: [name for name in attention if pattern.fullmatch(_leaf(name))]
            for part, pattern in (first | {"values": _VALUE}).items()
        }
        if preset == "kv-down":
            parts["down projections of the MLP"] = out_of_mlp(linear)
    for part, names in parts.items():
        if not names:
            fused = sorted({_leaf(n) for n in attention if _FUSED.fullmatch(_leaf(n))})
            reason = f"this model has no {part} among its linear layers"
            if fused and part in ("queries", "keys", "values"):
                reason = f"this model computes queries, keys and values in one layer, {fused[0]}"
            advice = f"Name layers instead, [{fused[0]}]" if fused else "Name layers instead"
            raise InputError(
                f"method.target_modules={preset!r} cannot be used: {reason}. {advice}; it has: "
                f"{_listed(linear)}."
            )
    return [name for names in parts.values() for name in names]


def _group(name: str) -> str | None:
    """Return ``attention`` or ``mlp`` for a layer, or None if its path names neither.

    The innermost matching module decides, then the name of the layer itself.
    """
    *path, leaf = name.split(".")
    for part in reversed(path):
        if _ATTENTION_PATH.search(part):
            return "attention"
        if _MLP_PATH.search(part):
            return "mlp"
    if leaf == "o_proj" or any(p.fullmatch(leaf) for p in (_QUERY, _KEY, _VALUE, _FUSED)):
        return "attention"
    return "mlp" if _MLP.fullmatch(leaf) else None


def _not_linear(model: nn.Module, linear: Shapes, target: str) -> InputError:
    """Return the error for a ``target`` that matches no linear layer with text input."""
    for name, module in model.named_modules():
        if _ends_with(name, target) and name in linear_layers(model):
            return InputError(
                f"method.target_modules={target!r} cannot be used: text does not run through "
                f"{name}, "
                f"so an adapter on it would not learn. Layers of text: {_listed(linear)}."
            )
        if _ends_with(name, target) and name:
            return InputError(
                f"method.target_modules={target!r} cannot be used: {name} is a "
                f"{type(module).__name__}; only Linear and Conv1D layers other than the output "
                "layer "
                f"can be adapted. This model has: {_listed(linear)}."
            )
    return unknown("module in method.target_modules", target, {*map(_leaf, linear), *PRESETS})


def _leaf(name: str) -> str:
    """Return the last part of a dotted module name."""
    return name.rsplit(".", 1)[-1]


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _ends(name: str) -> list[str]:
    """Return all dotted suffixes of a module name, shortest first."""
    parts = name.split(".")
    return [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]


def _listed(linear: Shapes) -> str:
    return ", ".join(sorted(set(map(_leaf, linear)))) or "no linear layers"
