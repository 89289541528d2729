"""Application of peft adapters to a model, with a check that peft adapts the selected layers."""

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
    """Apply peft's ``config`` to ``model`` and return peft's wrapper. Changes ``model``.

    ``chosen`` are the full names of the modules to adapt. ``options`` are passed to
    ``get_peft_model``. Raises InputError if peft adapts other modules, and any error of peft.
    """
    from peft import get_peft_model

    with layer_names_as_they_are():
        tuned = get_peft_model(model, config, **options)
    adapted = getattr(tuned.base_model, "targeted_module_names", None)
    if chosen is not None and adapted is not None:
        _check_same(set(chosen), set(adapted), config)
    return tuned


def load_adapter(model: nn.Module, folder: Path) -> Any:
    """Load the adapter saved in ``folder`` onto ``model`` and return peft's wrapper."""
    from peft import PeftModel

    if not _is_for_layers_of(model, folder):
        return PeftModel.from_pretrained(model, folder)
    with layer_names_as_they_are():
        return PeftModel.from_pretrained(model, folder)


@contextmanager
def layer_names_as_they_are() -> Iterator[None]:
    """Keep peft from converting names of layers to names of expert tensors.

    In mixtures of experts, peft 0.21 takes ``gate_proj``, ``up_proj`` and ``down_proj`` for the
    experts of transformers 4, which were layers of these names. It then adapts the expert tensors
    instead. In transformers 5 these names belong to shared experts and dense layers, which would
    get no adapter.
    """
    from peft.utils import transformers_weight_conversion as conversion

    original = conversion.convert_peft_config_for_transformers
    conversion.convert_peft_config_for_transformers = lambda *args, **kwargs: None
    try:
        yield
    finally:
        conversion.convert_peft_config_for_transformers = original


def _is_for_layers_of(model: nn.Module, folder: Path) -> bool:
    """Return True if every tensor of the saved adapter belongs to a module of ``model``."""
    from safetensors import safe_open

    modules = {name for name, _ in model.named_modules()}
    with safe_open(str(folder / ADAPTER_FILE), "pt") as file:
        names = [name.removeprefix("base_model.model.") for name in file.keys()]  # noqa: SIM118
    return all(_owner(name) in modules for name in names)


def _owner(name: str) -> str:
    """Return the module of an adapter tensor: ``mlp.gate_proj.lora_A.weight`` → ``mlp.gate_proj``."""
    return name.partition(".lora_")[0]


def _check_same(chosen: set[str], adapted: set[str], config: Any) -> None:
    """Raise InputError if peft adapted other modules than the ``chosen`` ones."""
    if chosen == adapted:
        return
    different = sorted(chosen ^ adapted)
    verb = "leaves out" if different[0] in chosen else "adds"
    raise InputError(
        f"method.target_modules cannot be used with this model: peft's {config.peft_type.value} "
        f"{verb} {different[0]} ({len(different)} such layers), so it would not adapt the selected "
        "layers. Name layers instead."
    )
