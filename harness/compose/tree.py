"""One composed tree per method: groups, tuned presets, variants and typed overrides, in that order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import methods
from harness.compose import override_grammar
from harness.compose.aliases import counterparts
from harness.compose.folders import conf_dir, own_folder
from harness.compose.hydra_cache import HydraCache
from harness.compose.keys import SWEEP_KEYS, checked_name, free_parent, of_trial, opened, siblings
from harness.compose.method_plan import TRIAL_KEYS, MethodPlan, close_rate
from harness.compose.refusals import (
    check_flags,
    check_mapping,
    check_of_trials,
    check_own_block,
    check_parts,
    flags_of,
)
from harness.config.search_space import Dimension
from harness.errors import InputError, unknown

PARTS = {*SWEEP_KEYS, *TRIAL_KEYS, "methods", "variants", "per_method"}
_LIKE = {"builtin_chat": "builtin"}  # the same model with other weights: it needs the same presets
_EARLY = ("methods", "per_method", "variants")  # decide which trees are composed


@contextmanager
def method_trees(arguments: Sequence[str]) -> Iterator[MethodTrees]:
    """Open Hydra's Compose API on our conf/, together with the user's ``--config-dir``."""
    flags, rest = flags_of(arguments)
    check_flags(flags, rest)
    folder = own_folder(flags.config_dir)
    override_grammar.guard_environment()
    with initialize_config_dir(config_dir=str(conf_dir().resolve()), version_base="1.3"):
        typed = override_grammar.parse_all(flags.overrides)
        yield MethodTrees(typed, folder)


class MethodTrees:
    """Composes one tree per method from the same command line."""

    def __init__(self, typed: list[Override], folder: Path | None) -> None:
        self.typed, self._folder = typed, folder
        self._blocks = HydraCache(conf_dir(), folder)
        for override in typed:
            if override_grammar.is_group(override) and not override.is_delete():
                self._check_block(override)
            if override.is_delete() and override.key_or_group in PARTS:
                raise InputError(
                    f"{override.input_line} cannot be used: no part of the configuration can be "
                    f"removed. Set {override.key_or_group}, or a key in it, instead."
                )
            if override.key_or_group.split(".")[-1] == "_target_":
                raise InputError(
                    f"{override.input_line}: configuration is data, no code is called."
                )
        early = [
            o
            for o in typed
            if override_grammar.is_group(o) or o.key_or_group.split(".")[0] in _EARLY
        ]
        early = [
            o for o in early if not override_grammar.is_swept(o) and o.key_or_group != "method"
        ]
        for override in early:
            if override.key_or_group in ("variants", "per_method"):
                check_mapping(override, {})
        self._first = self._compose([override_grammar.text_of(o) for o in early])
        self._variants = _texts("variants", self._first.variants)
        self._own = _texts("per_method", self._first.per_method)
        self._class_of: dict[str, str] = {}

    def methods(self) -> list[str]:
        """Return the methods of ``method=`` on the command line, else those of the named sweep."""
        named = self._first.methods or list(self._variants) or self._first.method.name
        names = [named] if isinstance(named, str) else list(named)
        for override in self.typed:
            if override.key_or_group == "method":
                value = override.value()
                value = value.list if isinstance(value, ChoiceSweep) else value
                names = value if isinstance(value, list) else [value]
        names = list(dict.fromkeys(map(str, names)))
        if not names or self._first.methods == []:
            raise InputError(
                "methods=[] cannot be used: name a method or several, such as method=lora,full."
            )
        for name in (*names, *self._own):
            if name not in self._variants:
                self._check_option("method", name)
        return names

    def label(self, names: Sequence[str]) -> str:
        """Return the default name of a sweep: the named sweep's name, or its methods."""
        for override in self.typed:
            if override.key_or_group == "sweep" and override.value() is not None:
                return str(override.value())
        return "-".join(names) if len(names) < 4 else f"{len(names)}-methods"

    def method(self, name: str, names: Sequence[str]) -> tuple[MethodPlan, DictConfig]:
        """Return the plan and the whole tree of one of ``names``."""
        given = [override_grammar.parse(text) for text in self._own.get(name, ())]
        check_of_trials(f"per_method.{name}", given)
        given += [override for override in self.typed if override.key_or_group != "method"]
        option = self._option(name)
        if name in self._variants:
            own = [override_grammar.parse(text) for text in self._variants[name]]
            check_of_trials(f"variants.{name}", own)
            given = [o for o in own if o.key_or_group != "method"] + given
        groups = [override_grammar.text_of(o) for o in given if override_grammar.is_group(o)]
        tree = self._compose([f"method={option}", *groups])
        self._class_of[option] = str(tree.method.name)
        tuned = self._tuned(option, str(tree.model.name))
        if tuned:
            groups += tuned
            tree = self._compose([f"method={option}", *groups])
        check_parts(tree)
        self._check_tuned(name, groups, tree)
        keys = set(override_grammar.keys_of(tree))
        values = [o for o in given if not override_grammar.is_group(o)]
        here = [o for o in values if self._belongs(o, keys, names)]
        for override in here:
            check_mapping(override, OmegaConf.select(tree, override.key_or_group))
        plain = [override_grammar.text_of(o) for o in here if not override_grammar.is_swept(o)]
        if plain:
            tree = self._compose([f"method={option}", *groups, *plain])
        space: dict[str, Dimension] = {}
        for key, text in (OmegaConf.select(tree, "search.space") or {}).items():
            if text is None or not self._has(key, keys, names, "key in search.space"):
                continue  # removed by a sweep or a user, or a key of another method
            space[key] = override_grammar.dimension_of(key, text)
        for override in here:  # in the order typed: the last one counts
            space.pop(override.key_or_group, None)
            if override_grammar.is_swept(override):
                space[override.key_or_group] = override_grammar.dimension(override)
        self._leave_to_match(OmegaConf.to_container(tree.method), space, here)
        for key in space:
            if key.startswith("search.space."):
                own = key.removeprefix("search.space.")
                self._has(own, keys, names, "key in search.space")
                raise InputError(f"{key}: a range is typed at its own key, {own}=choice(...).")
            if not key.startswith(override_grammar.SEARCHABLE):
                raise InputError(
                    f"{key} cannot be searched: only method.*, training.* and retention.* can. What "
                    "the trials of a sweep are measured on is the same for all of them: run one "
                    "sweep a value."
                )
        typed = tuple(o for o in [f"method={option}", *groups, *plain] if of_trial(o))
        if self._folder is not None:
            typed = (f"--config-dir={self._folder}", *typed)
        whole = OmegaConf.to_container(tree, resolve=False)
        assert isinstance(whole, dict)
        rate = close_rate(whole, given)
        return MethodPlan(name, {str(k): v for k, v in whole.items()}, space, typed, rate), tree

    def _leave_to_match(
        self, method: Any, space: dict[str, Dimension], here: Sequence[Override]
    ) -> None:
        """Remove from the search the keys that ``method.match`` sets.

        Raises InputError if one is also typed.
        """
        decided = methods.matched_key(method)
        for override in here:
            if decided is not None and override.key_or_group == decided:
                raise InputError(
                    f"{override.input_line}: {decided} follows from method.match.trainable_parameters="
                    f"{method['match']['trainable_parameters']}; leave one of them out."
                )
        space.pop(decided or "", None)

    def _belongs(self, override: Override, keys: set[str], names: Sequence[str]) -> bool:
        return override.is_add() or self._has(override.key_or_group, keys, names, "key")

    def _has(self, key: str, keys: set[str], names: Sequence[str], what: str) -> bool:
        """Return True if the key exists for this method. Raises InputError if it exists for none."""
        if key in keys or free_parent(key) in keys:
            return True
        of_any = {
            f"method.{field}" for name in names for field in methods.field_names(self._class(name))
        }
        if key in of_any:
            return False  # a field of another method
        if free_parent(key) in of_any:
            return False
        known = keys | of_any
        raise unknown(what, key, known, siblings(key, known), counterparts(key, known))

    def _option(self, name: str) -> str:
        """Return the file in conf/method of a method or variant."""
        chosen = [text for text in self._variants.get(name, ()) if text.startswith("method=")]
        if name not in self._variants:
            return name
        if len(chosen) != 1:
            raise InputError(
                f"variants.{name} must name one method: put method=... into its list, "
                f"{list(self._variants[name])}."
            )
        option = chosen[0].removeprefix("method=")
        self._check_option("method", option)
        return option

    def _class(self, name: str) -> str:
        """Return the value of ``method.name`` in that file: several files may configure one class."""
        option = self._option(name)
        if option not in self._class_of:
            self._class_of[option] = str(self._compose([f"method={option}"]).method.name)
        return self._class_of[option]

    def _tuned(self, option: str, model: str) -> list[str]:
        """Return the overrides that a built-in method needs on this model, if it has no file for it.

        A user's own method is used as its file defines it.
        """
        if not (conf_dir() / "method" / f"{option}.yaml").is_file():
            return []
        known = self._blocks.options("tuned")
        if f"{model}_{option}" in known:
            return []  # already composed
        like = _LIKE.get(model, model)
        presets = (f"{like}_{option}", f"{like}_{self._class(option)}")
        return [f"tuned={name}" for name in presets if name in known][:1]

    def _check_tuned(self, name: str, groups: Sequence[str], tree: DictConfig) -> None:
        """Raise InputError if a preset sets fields that the method does not have."""
        own = {*methods.field_names(str(tree.method.name)), "name", "match"}
        known = str(tree.method.name) in methods.METHODS
        others = sorted(str(f) for f in tree.method if known and str(f) not in own)
        for text in groups:
            if others and text.startswith("tuned="):
                raise InputError(
                    f"{text} cannot be used with method={name}: it sets "
                    f"{', '.join(f'method.{field}' for field in others)}, which {name} does not have. "
                    "Leave it out: what is known for a method and a model is chosen by itself."
                )

    def _check_block(self, override: Override) -> None:
        """Raise InputError if a group is set to anything but one of its blocks."""
        group, value = override.key_or_group, override.value()
        if group == "method" and (override_grammar.is_swept(override) or isinstance(value, list)):
            return  # several methods, checked by name
        if override_grammar.is_swept(override):
            raise InputError(
                f"{override.input_line}: {group} cannot be searched, the methods of a sweep share it. "
                "Run one sweep for each."
            )
        if isinstance(value, dict):
            key = next(iter(value), "key")
            raise InputError(
                f"{override.input_line}: {group} chooses a block by its name. Set its keys one by one, "
                f"such as {group}.{key}={override_grammar.shown(value.get(key))}."
            )
        self._check_option(group, value)

    def _check_option(self, group: str, option: Any) -> None:
        known = set(self._blocks.options(group))
        if self._folder is not None:
            known |= {path.stem for path in (self._folder / group).glob("*.yaml")}
        known = {name for name in known if not name.startswith("_")}
        if str(option) not in known:
            raise unknown(group, option, known)
        if self._folder is not None:
            check_own_block(self._folder, group, str(option))

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        try:
            return self._blocks.tree([opened(text) for text in overrides])
        except (HydraException, OmegaConfBaseException) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            if isinstance(
                error.__cause__, OmegaConfBaseException
            ):  # its message gives the error, not only the place
                lines[1:1] = str(error.__cause__).splitlines()[:1]
            raise InputError(" ".join(lines[:3])) from error


def _texts(key: str, lists: Any) -> dict[str, list[str]]:
    """Return the lists of overrides in ``per_method`` or ``variants``. Raises InputError."""
    found = {}
    for name, own in (lists or {}).items():
        if isinstance(own, str):
            raise InputError(f"{key}.{name}={own!r} cannot be used: it must be a list of texts.")
        if key == "variants":
            checked_name(name, f"{key}: ")
        found[str(name)] = [str(text) for text in own or ()]
    return found
