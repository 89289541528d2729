"""The one place where peft puts an adapter on a model: what was chosen is what is adapted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

ADAPTER_FILE = "adapter_model.safetensors"


def put_adapter(
    model: nn.Module, config: Any, chosen: Iterable[str] | None = None, **options: Any
) -> Any:
    """peft's model of ``config`` around ``model``, which it changes.

    ``chosen`` are the full names of the modules to be adapted. Raises InputError where peft adapts
    others, and what peft raises.
    """
    from peft import get_peft_model

    with layer_names_as_they_are():
        tuned = get_peft_model(model, config, **options)
    adapted = getattr(tuned.base_model, "targeted_module_names", None)
    if chosen is not None and adapted is not None:
        _check_same(set(chosen), set(adapted), config)
    return tuned


def load_adapter(model: nn.Module, folder: Path) -> Any:
    """peft's model around ``model`` with the adapter that was saved in ``folder``."""
    from peft import PeftModel

    if not _is_for_layers_of(model, folder):
        return PeftModel.from_pretrained(model, folder)
    with layer_names_as_they_are():
        return PeftModel.from_pretrained(model, folder)


@contextmanager
def layer_names_as_they_are() -> Iterator[None]:
    """Keep peft from taking the names of layers for those of experts.

    In mixtures of experts peft (0.21) reads ``gate_proj``, ``up_proj`` and ``down_proj`` as the experts
    of transformers 4, which were layers of these names, and adapts the experts' tensors instead. A
    shared expert or a dense first layer is called so today, and would get no adapter.
    """
    from peft.utils import transformers_weight_conversion as conversion

    taken_for_experts = conversion.convert_peft_config_for_transformers
    conversion.convert_peft_config_for_transformers = lambda *about, **more: None
    try:
        yield
    finally:
        conversion.convert_peft_config_for_transformers = taken_for_experts


def _is_for_layers_of(model: nn.Module, folder: Path) -> bool:
    """Return True if every tensor of the adapter belongs to a module name of ``model``."""
    from safetensors import safe_open

    modules = {name for name, _ in model.named_modules()}
    with safe_open(str(folder / ADAPTER_FILE), "pt") as file:
        names = [name.removeprefix("base_model.model.") for name in file.keys()]  # noqa: SIM118
    return all(_owner(name) in modules for name in names)


def _owner(name: str) -> str:
    """``mlp.gate_proj.lora_A.weight`` → ``mlp.gate_proj``."""
    return name.partition(".lora_")[0]


def _check_same(chosen: set[str], adapted: set[str], config: Any) -> None:
    if chosen == adapted:
        return
    odd = sorted(chosen ^ adapted)
    what = "leaves out" if odd[0] in chosen else "adds"
    raise InputError(
        f"method.target_modules cannot be used with this model: peft's {config.peft_type.value} "
        f"{what} {odd[0]} ({len(odd)} such layers), so that other layers would be adapted than were "
        "asked for. Name layers instead."
    )
