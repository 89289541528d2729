"""Linear layers that a method adapts: presets and names, for any architecture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harness.config.strict import require
from harness.errors import InputError, unknown
from harness.models.reached import linear_layers, reached_by_text, read_by_kernels

if TYPE_CHECKING:
    from torch import nn

PRESETS = ("qv", "kv-down", "attention", "mlp", "all-linear")

Shapes = Mapping[str, tuple[int, int]]  # full module name → (in, out) features

# What the parts of a module's path are called, and where these say nothing, the layer itself.
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
    """Name → (in, out) features of the linear layers that text runs through, but the output one.

    GPT-2's are Conv1D. What no text reaches, an image tower for one, could not learn from it.
    """
    return {name: _shape(layer) for name, layer in reached_by_text(model).items()}


def _shape(layer: Any) -> tuple[int, int]:
    if hasattr(layer, "in_features"):
        return layer.in_features, layer.out_features
    return layer.weight.shape[0], layer.weight.shape[1]


def _is_for_presets(model: nn.Module, name: str, shape: tuple[int, int]) -> bool:
    """Not a gate, whose one output has no rank, nor what kernels read past an adapter."""
    return min(shape) > 1 and not read_by_kernels(model, name)


def chosen_modules(model: nn.Module, targets: str | list[str]) -> dict[str, tuple[int, int]]:
    """The linear layers that ``method.target_modules`` means, by full name.

    A preset goes by what a module's path is called: ``qv`` and ``kv-down`` (keys, values, and what
    leads out of the MLP) need layers of their own for each. A name means every module whose path
    ends with it. Raises InputError with the names that the model has.
    """
    linear = linear_modules(model)
    if isinstance(targets, str) and targets in PRESETS:
        linear = {n: shape for n, shape in linear.items() if _is_for_presets(model, n, shape)}
        chosen = _preset(linear, targets)
        if not chosen:
            raise InputError(
                f"method.target_modules={targets!r} cannot be used: {type(model).__name__} has no "
                "linear layer that an adapter could be put beside."
            )
        return {name: linear[name] for name in chosen}
    wanted = [targets] if isinstance(targets, str) else list(targets)
    if not wanted:
        raise InputError(f"method.target_modules is empty; this model has: {_listed(linear)}.")
    found: dict[str, tuple[int, int]] = {}
    for target in wanted:
        of_target = {name: shape for name, shape in linear.items() if _ends_with(name, target)}
        if not of_target:
            raise _not_linear(model, linear, target)
        found |= of_target
    return found


def is_conv1d(model: nn.Module, name: str) -> bool:
    """Return True for GPT-2's Conv1D, whose weight is (in, out): peft's ``fan_in_fan_out``."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(model.get_submodule(name), Conv1D)


def refuse_conv1d(model: nn.Module, shapes: Shapes, method: str) -> None:
    """Raise InputError if a target is a Conv1D and peft's ``method`` knows Linear only."""
    for name in shapes:
        if is_conv1d(model, name):
            raise InputError(
                f"{method} cannot be used on this model: its {_leaf(name)} is a Conv1D, and peft "
                f"has {method} for Linear layers only."
            )


def out_of_mlp(shapes: Shapes) -> list[str]:
    """Return the layers that lead out of an MLP: their output is narrower than their input."""
    return [
        name for name, (d_in, d_out) in shapes.items() if _group(name) == "mlp" and d_in > d_out
    ]


def resolve_targets(model: nn.Module, targets: str | list[str]) -> list[str]:
    """The same as the shortest ends of module names that mean these modules and no others."""
    return shortest_ends(chosen_modules(model, targets), (n for n, _ in model.named_modules()))


def peft_targets(model: nn.Module, targets: str | list[str]) -> dict[str, Any]:
    """The same as fields of a peft configuration, for the methods that know Conv1D."""
    first = next(iter(chosen_modules(model, targets)))
    return {
        "target_modules": resolve_targets(model, targets),
        "fan_in_fan_out": is_conv1d(model, first),
    }


def shortest_ends(chosen: Iterable[str], everything: Iterable[str]) -> list[str]:
    """For each name its shortest dotted end that no name outside ``chosen`` has, each end once."""
    chosen = list(chosen)
    of_chosen, of_all = (
        Counter(end for name in names for end in _ends(name)) for names in (chosen, everything)
    )
    return sorted({next(e for e in _ends(n) if of_chosen[e] >= of_all[e]) for n in chosen})


def check_rank(shapes: Shapes, field: str, rank: int, *, every: bool = False) -> None:
    """A rank above the smaller side of every target cannot be used by any of them.

    ``every``: each target must be able to, as where a decomposition of it is cut to that rank.
    """
    most = largest_rank(shapes, every=every)
    require(rank <= most, field, rank, f"at most {most}, the largest rank a target can have")


def largest_rank(shapes: Shapes, *, every: bool = False) -> int:
    sides = [min(shape) for shape in shapes.values()]
    return min(sides) if every else max(sides)


def _preset(linear: Shapes, preset: str) -> list[str]:
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
            what: [name for name in attention if pattern.fullmatch(_leaf(name))]
            for what, pattern in (first | {"values": _VALUE}).items()
        }
        if preset == "kv-down":
            parts["layers out of the MLP"] = out_of_mlp(linear)
    for what, names in parts.items():
        if not names:
            fused = sorted({_leaf(n) for n in attention if _FUSED.fullmatch(_leaf(n))})
            why = f"this model has no {what} among its linear layers"
            if fused and what in ("queries", "keys", "values"):
                why = f"this model computes queries, keys and values in one layer, {fused[0]}"
            advice = f"Name layers instead, [{fused[0]}]" if fused else "Name layers instead"
            raise InputError(
                f"method.target_modules={preset!r} cannot be used: {why}. {advice}; it has: "
                f"{_listed(linear)}."
            )
    return [name for names in parts.values() for name in names]


def _group(name: str) -> str | None:
    """``attention`` or ``mlp``: the innermost part of the path that says so, else the layer's name."""
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
    for name, module in model.named_modules():
        if _ends_with(name, target) and name in linear_layers(model):
            return InputError(
                f"method.target_modules={target!r} cannot be used: text does not run through {name}, "
                f"so what is put beside it would not learn. Layers of text: {_listed(linear)}."
            )
        if _ends_with(name, target) and name:
            return InputError(
                f"method.target_modules={target!r} cannot be used: {name} is of kind "
                f"{type(module).__name__}; only Linear and Conv1D layers below the output one can be "
                f"adapted. This model has: {_listed(linear)}."
            )
    return unknown("module in method.target_modules", target, {*map(_leaf, linear), *PRESETS})


def _leaf(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]


def _listed(linear: Shapes) -> str:
    return ", ".join(sorted(set(map(_leaf, linear)))) or "no linear layers"
