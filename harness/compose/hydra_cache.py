"""Cache of building blocks composed by Hydra, one composition per process for each choice.

A composition takes 0.2 s, because Hydra reads every file again. Values change the result only at the
end. Blocks are therefore composed once without values, and values are written into a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from harness.compose import override_grammar

__all__ = ["HydraCache"]


class HydraCache:
    """Composes from the files in ``folder`` and in the user's folder ``beside``, if given."""

    def __init__(self, folder: Path, beside: Path | None) -> None:
        self._folders = [folder, beside] if beside else [folder]
        stats = ((path, path.stat()) for path in sorted(folder.rglob("*.yaml")))
        self._files = tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats)
        self._searched = [f"hydra.searchpath=['file://{beside.resolve()}']"] if beside else []

    def options(self, group: str) -> list[str]:
        """Return the names of the available blocks of a group."""
        return _options(self._files, group)

    def tree(self, overrides: Sequence[str]) -> DictConfig:
        """Return the composed tree.

        It is shared: do not modify it. Raises Hydra's and OmegaConf's errors.
        """
        parsed = [override_grammar.parse(text) for text in overrides]
        values = [override for override in parsed if self._is_value(override)]
        blocks = [*self._searched, *(str(o.input_line) for o in parsed if o not in values)]
        if self._searched or any("$" in text for text in blocks):
            tree = compose(
                "config", overrides=blocks
            )  # compositions with a user's own files are not cached
        else:
            tree = _composed(self._files, tuple(blocks))
        if values:
            tree = copy.deepcopy(tree)
            ConfigLoaderImpl._apply_overrides_to_config(values, tree)  # as compose() itself does
        return tree

    def _is_value(self, override: Override) -> bool:
        """Return True if the override only sets a value, and is no block or Hydra setting."""
        key = override.key_or_group
        if override.package is not None or "/" in key or key.split(".")[0] == "hydra":
            return False
        return not any((folder / key).is_dir() for folder in self._folders)


@lru_cache(maxsize=256)
def _composed(files: Hashable, blocks: tuple[str, ...]) -> DictConfig:
    return compose("config", overrides=list(blocks))


@lru_cache(maxsize=64)
def _options(files: Hashable, group: str) -> list[str]:
    return GlobalHydra.instance().config_loader().get_group_options(group)
