"""One composed method of a sweep, and the trials that it can build."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import methods
from harness.compose import override_grammar
from harness.config import TrialConfig
from harness.config.search_space import Space, points
from harness.config.strict import from_mapping, require
from harness.errors import InputError
from harness.methods.first_rate import FACTORS

RATE = "training.learning_rate"
TRIAL_KEYS = tuple(field.name for field in fields(TrialConfig))


@dataclass(frozen=True)
class OpenRate:
    """State of a learning rate and its range: open if the user set neither, so a rule may set them."""

    is_open: bool = False
    range_is_open: bool = False
    rule: str | None = None  # rule of ``search.rate`` that may set them


@dataclass(frozen=True)
class MethodPlan:
    """One method of a sweep: its default configuration and its search space."""

    method: str
    tree: Mapping[str, Any]  # composed tree with unresolved interpolations
    space: Space
    overrides: tuple[str, ...]  # arguments that give this configuration
    rate: OpenRate = OpenRate()

    def trial(self, values: Mapping[str, Any], **fixed: Any) -> TrialConfig:
        """Build the trial with ``values`` (by dotted key) and ``fixed`` (seed, stage).

        Raises InputError.
        """
        whole = self._with({**values, **fixed})
        config = from_mapping(TrialConfig, {key: whole[key] for key in TRIAL_KEYS})
        method = methods.build(config.method)  # raises for a value that the method cannot take
        if method.trains_base_weights and config.model.quantization != "none":
            raise InputError(
                f"model.quantization={config.model.quantization!r} cannot be used: method="
                f"{self.method} trains the base's own weights. Use none, or method=qlora."
            )
        if config.training.gradient_checkpointing and not method.allows_gradient_checkpointing:
            raise InputError(
                f"training.gradient_checkpointing=True cannot be used: method={self.method} works "
                "through the cache of keys and values, which is dropped when activations are "
                "recomputed. Set it to false."
            )
        if config.training.freeze_layers and not method.allows_freezing:
            raise InputError(
                f"training.freeze_layers={config.training.freeze_layers!r} cannot be used: method="
                f"{self.method} itself decides what is trained. Set it to []."
            )
        return config

    def _with(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole resolved tree with ``values`` in it."""
        if self._is_plain and not _is_open(values):
            whole = copy.deepcopy(dict(self.tree))
            for key, value in values.items():
                *parents, last = key.split(".")
                node = whole
                for parent in parents:
                    node = node[parent]
                node[last] = copy.deepcopy(value)
            return whole
        tree = OmegaConf.create(dict(self.tree))
        for key, value in values.items():
            OmegaConf.update(tree, key, value)
        return plain(tree)

    @cached_property
    def _is_plain(self) -> bool:
        """Return True if nothing is left to resolve, which saves 20 ms of OmegaConf for each trial."""
        return not _is_open(self.tree)

    def pinned(self, revision: str | None) -> MethodPlan:
        """Return the plan with ``model.revision`` set to the commit it refers to."""
        if revision is None:
            return self
        return replace(
            self, tree={**self.tree, "model": {**self.tree["model"], "revision": revision}}
        )

    @property
    def n_configurations(self) -> int | None:
        """Return the number of configurations; None if the space is continuous."""
        values = [points(dimension) for dimension in self.space.values()]
        finite = [len(each) for each in values if each is not None]
        return math.prod(finite) if len(finite) == len(values) else None


def _is_open(values: Mapping[str, Any]) -> bool:
    """Return True if any value is an interpolation or missing."""
    text = repr(values)
    return "${" in text or "???" in text


def plain(tree: DictConfig) -> dict[str, Any]:
    """Resolve the tree's own keys. Raises InputError for a dangling interpolation."""
    for key in tree:
        if OmegaConf.is_missing(tree, key):
            raise InputError(f"{key} is missing: set {key}=...")
    try:
        resolved = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        cause = error.__cause__ if isinstance(error.__cause__, InputError) else error
        where = f"{error.full_key}: " if error.full_key else ""
        raise InputError(f"{where}{str(cause).splitlines()[0]}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def close_rate(whole: dict[Any, Any], given: Sequence[Override]) -> OpenRate:
    """Put ``search.rate`` where ``whole`` refers to it, and return what was open to its rule.

    A reference stands where nothing set the key, so whatever does set it wins. Raises InputError for
    an unknown rule.
    """
    default, limits, rule = (whole["search"]["rate"].get(k) for k in ("default", "range", "rule"))
    accepted = f"one of {', '.join(FACTORS)} or null"
    require(rule is None or rule in FACTORS, "search.rate.rule", rule, accepted)
    refers = isinstance(default, str) and "${" in default
    is_rate = isinstance(default, float | int) and not isinstance(default, bool) and default > 0
    require(refers or is_rate, "search.rate.default", default, "a number above 0")
    if limits is not None and "${" not in str(limits):
        override_grammar.dimension_of(RATE, str(limits), "search.rate.range")
    space = whole["search"]["space"] or {}
    is_open = whole["training"]["learning_rate"] == "${search.rate.default}"
    range_is_open = space.get(RATE) == "${search.rate.range}"
    if is_open:
        whole["training"]["learning_rate"] = default
    if range_is_open:
        space[RATE] = limits
    typed = any(o.key_or_group == RATE and override_grammar.is_swept(o) for o in given)
    return OpenRate(is_open, range_is_open and not typed, rule)
