"""Check that the files of a model contain all of its weights. Missing ones would be random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harness.errors import InputError

if TYPE_CHECKING:
    from torch import nn

SHOWN = 3
# Prefixes that other tools add to parameter names, with advice.
PREFIXES = {
    "_orig_mod.": "it was saved under torch.compile: save the model that was compiled, "
    "model._orig_mod",
    "base_model.model.": "it was saved with an adapter of peft around it: merge it first, "
    "model.merge_and_unload(), or give the base as model.name and the adapter as adapter=",
    "module.": "it was saved within DataParallel: save model.module",
    "_fsdp_wrapped_module.": "it was saved within FSDP: gather a full state dict first",
}


def check_complete(model: nn.Module, info: Mapping[str, Any], name: str) -> None:
    """Raise InputError if weights of ``model`` are missing in its files, or if some were not loaded.

    ``info`` is returned by ``from_pretrained(..., output_loading_info=True)``. Tied weights and
    computed ones do not count as missing. Unused tensors are allowed if they belong to no layer of
    the model, such as an image encoder. Unused biases or scales of its layers are not.
    """
    missing, unread = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    mismatched = sorted(str(key[0]) for key in info.get("mismatched_keys", ()))
    prefix = f"model.name={name!r} cannot be used"
    if mismatched:
        raise InputError(
            f"{prefix}: {_some(mismatched)} in its files have other shapes than in config.json."
        )
    if missing:
        raise InputError(
            f"{prefix}: its files do not hold {_some(missing)} of {type(model).__name__}, which "
            f"would then be random. {_reason(missing, unread)}"
        )
    ignored = [key for key in unread if _belongs(model, key)]
    if ignored:
        raise InputError(
            f"{prefix}: its files hold {_some(ignored)}, for which {type(model).__name__} has no "
            "place "
            "with this config.json. The model would compute something else than the saved one. Use "
            "the config.json that was saved with it."
        )


def _reason(missing: list[str], unread: list[str]) -> str:
    """Explain the missing weights by what the files contain instead."""
    for prefix, reason in PREFIXES.items():
        if any(prefix in key for key in unread):
            return f"They hold {_some(unread)} instead: {reason}."
    if all(key.startswith(("lm_head", "embed_out", "output")) for key in missing):
        reason = "It is the body of a model, or a classifier: a language model has an output layer."
        return f"{reason} They hold {_some(unread)} instead." if unread else reason
    if unread:
        return f"They hold {_some(unread)} instead, so they belong to another config.json."
    return "A file of the checkpoint is missing, or config.json describes a larger model."


def _some(keys: list[str]) -> str:
    """Describe tensors by number and first names: '2 tensors (a.weight, b.weight)'."""
    suffix = ", ..." if len(keys) > SHOWN else ""
    plural = "s" if len(keys) > 1 else ""
    return f"{len(keys)} tensor{plural} ({', '.join(keys[:SHOWN])}{suffix})"


def _belongs(model: nn.Module, key: str) -> bool:
    """Return True if ``key`` names a parameter of a layer of ``model`` that has other parameters."""
    owner, _, leaf = key.rpartition(".")
    try:
        module = model.get_submodule(owner)
    except AttributeError:
        return False
    return leaf not in module._buffers and _has_own(module.parameters(recurse=False))


def _has_own(parameters: Iterable[Any]) -> bool:
    """Return True if there is a parameter."""
    return next(iter(parameters), None) is not None
