"""From the command line to configuration: Hydra composes, this module checks.

Nothing here imports torch, so that a mistake is answered in a second. ``compose_sweep`` gives the
sweep and one plan a method; ``compose_trial`` one plan, of which nothing is searched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import grammar, methods
from harness.config import SweepConfig
from harness.errors import InputError, unknown
from harness.objectives import resolve_objectives
from harness.plans import MethodPlan, plain
from harness.records.fingerprint import digest
from harness.space import Dimension
from harness.strict import build

SWEEP_KEYS = tuple(field.name for field in fields(SweepConfig))
SEARCHABLE = ("method.", "training.", "retention.")
# What changes no result: no part of a sweep's name, and free to differ when it is resumed.
FREE_KEYS = ("name", "plan", "launcher", "tracking", "runs_dir", "reports_dir")


def conf_dir() -> Path:
    """``conf/`` of the repository, or its copy inside an installed wheel."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def hydra_asked(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for something of Hydra's own: help, the config, completion."""
    own = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}
    own |= {"--shell-completion", "-sc", "--version"}
    return any(argument.split("=")[0] in own for argument in arguments)


def show_hydra(arguments: Sequence[str]) -> None:
    """Let Hydra answer. Searched values are shown at their first choice."""
    shown = []
    for argument in arguments:
        if "=" in argument and not argument.startswith("-"):
            override = grammar.parse(argument)
            if grammar.is_swept(override):
                first = grammar.dimension(override).ends()[0]
                argument = f"{argument.split('=')[0]}={first}"
            argument = _opened(argument)
        shown.append(argument)
    sys.argv = [sys.argv[0], *shown]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(print)()


def compose_sweep(arguments: Sequence[str]) -> tuple[SweepConfig, tuple[MethodPlan, ...]]:
    """The sweep and its methods' plans, checked as far as that goes without loading a model.

    Raises InputError with one message for anything that cannot be used.
    """
    with _composer(arguments) as composer:
        names = composer.methods()
        composed = {name: composer.method(name, names) for name in names}
        label = composer.label(names)
    plans = tuple(plan for plan, _ in composed.values())
    for plan in plans:
        _check_space(plan)
    _check_alike(plans)
    whole = plain(composed[names[0]][1])
    whole["objectives"] = resolve_objectives(
        whole["objectives"], whole["data"], whole["evaluation"]
    )
    if isinstance(whole["search"], dict):
        whole["search"].pop("space", None)  # has become the plans' spaces
    whole["name"] = checked_name(whole["name"]) or _made_name(label, plans)
    return build(SweepConfig, {key: whole[key] for key in SWEEP_KEYS}), plans


def compose_trial(arguments: Sequence[str]) -> tuple[MethodPlan, Mapping[str, Any]]:
    """One trial by hand: its plan, and the whole tree resolved. Raises InputError."""
    with _composer(arguments) as composer:
        for override in composer.typed:
            if grammar.is_swept(override):
                raise InputError(
                    f"{override.input_line}: a trial has one value a key; "
                    "search ranges belong to `python -m harness.sweep`."
                )
        (name,) = composer.methods()[:1]
        plan, tree = composer.method(name, [name])
    whole = plain(tree)
    whole["name"] = checked_name(whole["name"]) or "by-hand"
    return plan, whole


@contextmanager
def _composer(arguments: Sequence[str]) -> Iterator[_Composer]:
    """Hydra's Compose API on our conf/, with the user's own ``--config-dir`` beside it."""
    flags, rest = get_args_parser().parse_known_intermixed_args(list(arguments))
    if rest:
        raise InputError(f"Unknown option {rest[0]}; overrides are written key=value.")
    beside = []
    if flags.config_dir is not None:
        folder = Path(flags.config_dir)
        if not folder.is_dir():
            raise InputError(f"--config-dir={flags.config_dir!r}: there is no such folder.")
        beside = [f"hydra.searchpath=['file://{folder.resolve()}']"]
    grammar.guard_environment()
    with initialize_config_dir(config_dir=str(conf_dir().resolve()), version_base="1.3"):
        typed = [grammar.parse(text) for text in flags.overrides]
        yield _Composer(typed, beside, Path(flags.config_dir) if flags.config_dir else None)


class _Composer:
    """Composes one tree a method from the same command line."""

    def __init__(self, typed: list[Override], beside: list[str], folder: Path | None) -> None:
        self.typed, self._beside, self._folder = typed, beside, folder
        for override in typed:
            if grammar.is_group(override) and not (
                grammar.is_swept(override) or override.is_delete()
            ):
                self._check_option(override.key_or_group, override.value())
            if override.key_or_group.split(".")[-1] == "_target_":
                raise InputError(
                    f"{override.input_line}: configuration is data, no code is called."
                )
        early = [o for o in typed if grammar.is_group(o) or o.key_or_group.split(".")[0] in _EARLY]
        early = [o for o in early if not grammar.is_swept(o) and o.key_or_group != "method"]
        self._first = self._compose([o.input_line for o in early])
        self._variants = _texts("variants", self._first.variants)
        self._own = _texts("per_method", self._first.per_method)
        self._class_of: dict[str, str] = {}

    def methods(self) -> list[str]:
        """Those named by ``method=`` on the command line, else those of the named sweep."""
        named = self._first.methods or list(self._variants) or self._first.method.name
        names = [named] if isinstance(named, str) else list(named)
        for override in self.typed:
            if override.key_or_group == "method":
                value = override.value()
                names = value.list if isinstance(value, ChoiceSweep) else [value]
        names = list(dict.fromkeys(map(str, names)))
        for name in (*names, *self._own):
            if name not in self._variants:
                self._check_option("method", name)
        return names

    def label(self, names: Sequence[str]) -> str:
        """What a sweep without a name= is called: the named sweep it is, or its methods."""
        for override in self.typed:
            if override.key_or_group == "sweep" and override.value() is not None:
                return str(override.value())
        return "-".join(names) if len(names) < 4 else f"{len(names)}-methods"

    def method(self, name: str, names: Sequence[str]) -> tuple[MethodPlan, DictConfig]:
        """The plan and the whole tree of one of ``names``."""
        given = [grammar.parse(text) for text in self._own.get(name, ())]
        given += [override for override in self.typed if override.key_or_group != "method"]
        option = self._option(name)
        if name in self._variants:
            own = [grammar.parse(text) for text in self._variants[name]]
            given = [o for o in own if o.key_or_group != "method"] + given
        groups = [o.input_line for o in given if grammar.is_group(o)]
        tree = self._compose([f"method={option}", *groups])
        self._class_of[option] = str(tree.method.name)
        tuned = self._tuned(option, str(tree.model.name))
        if tuned:
            groups += tuned
            tree = self._compose([f"method={option}", *groups])
        keys = set(grammar.keys_of(tree))
        values = [o for o in given if not grammar.is_group(o)]
        here = [o for o in values if self._belongs(o, keys, names)]
        plain = [o.input_line for o in here if not grammar.is_swept(o)]
        if plain:
            tree = self._compose([f"method={option}", *groups, *plain])
        space: dict[str, Dimension] = {}
        for key, text in (OmegaConf.select(tree, "search.space") or {}).items():
            if text is None or not self._has(key, keys, names, "key in search.space"):
                continue  # a sweep or a user took it out, or it is another method's
            space[key] = grammar.dimension_of(key, text)
        for override in here:  # in the order typed: the last word counts
            space.pop(override.key_or_group, None)
            if grammar.is_swept(override):
                space[override.key_or_group] = grammar.dimension(override)
        self._leave_to_match(OmegaConf.to_container(tree.method), space, here)
        for key in space:
            if not key.startswith(SEARCHABLE):
                raise InputError(
                    f"{key} cannot be searched: only method.*, training.* and retention.* can. What "
                    "the trials of a sweep are measured on is the same for all of them: run one "
                    "sweep a value."
                )
        typed = tuple(o for o in [f"method={option}", *groups, *plain] if _of_trial(o))
        if self._folder is not None:
            typed = (f"--config-dir={self._folder}", *typed)
        whole = OmegaConf.to_container(tree, resolve=False)
        assert isinstance(whole, dict)
        return MethodPlan(name, {str(k): v for k, v in whole.items()}, space, typed), tree

    def _leave_to_match(
        self, method: Any, space: dict[str, Dimension], here: Sequence[Override]
    ) -> None:
        """What ``method.match`` decides is not searched. Raises InputError where it is typed too."""
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
        """Whether the key exists for this method. Raises InputError if it exists for none."""
        if key in keys or _free_parent(key) in keys:
            return True
        of_any = {
            f"method.{field}" for name in names for field in methods.field_names(self._class(name))
        }
        if key in of_any:
            return False  # another method's own field
        if _free_parent(key) in of_any:
            return False
        raise unknown(what, key, keys | of_any, _siblings(key, keys | of_any))

    def _option(self, name: str) -> str:
        """The file in conf/method of a method or variant."""
        chosen = [text for text in self._variants.get(name, ()) if text.startswith("method=")]
        if name not in self._variants:
            return name
        if len(chosen) != 1:
            raise InputError(f"variants.{name} must name one method: put method=... into its list.")
        option = chosen[0].removeprefix("method=")
        self._check_option("method", option)
        return option

    def _class(self, name: str) -> str:
        """What ``method.name`` is there: several files may configure one class."""
        option = self._option(name)
        if option not in self._class_of:
            self._class_of[option] = str(self._compose([f"method={option}"]).method.name)
        return self._class_of[option]

    def _tuned(self, option: str, model: str) -> list[str]:
        """What the class of a method of ours needs on this model, where the method has no file itself.

        A user's own method is left as it stands in its file.
        """
        if not (conf_dir() / "method" / f"{option}.yaml").is_file():
            return []
        known = GlobalHydra.instance().config_loader().get_group_options("tuned")
        of_class = f"{model}_{self._class(option)}"
        wanted = f"{model}_{option}" not in known and of_class in known
        return [f"tuned={of_class}"] if wanted else []

    def _check_option(self, group: str, option: Any) -> None:
        known = set(GlobalHydra.instance().config_loader().get_group_options(group))
        if self._folder is not None:
            known |= {path.stem for path in (self._folder / group).glob("*.yaml")}
        known = {name for name in known if not name.startswith("_")}
        if str(option) not in known:
            raise unknown(group, option, known)

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        try:
            return compose("config", overrides=[*self._beside, *map(_opened, overrides)])
        except (HydraException, OmegaConfBaseException) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise InputError(" ".join(lines[:3])) from error


def _free_parent(key: str) -> str | None:
    """The mapping of a method's that ``key`` lies in and whose keys are not ours to know."""
    return next((name for name in methods.free_fields() if key.startswith(f"{name}.")), None)


def _opened(override: str) -> str:
    """A key below such a mapping need not exist yet: Hydra wants that said."""
    return f"++{override}" if _free_parent(override) else override


def _texts(key: str, lists: Any) -> dict[str, list[str]]:
    """``per_method`` or ``variants``: a list of overrides each. Raises InputError."""
    found = {}
    for name, own in (lists or {}).items():
        if isinstance(own, str):
            raise InputError(f"{key}.{name}={own!r} cannot be used: it must be a list of texts.")
        if key == "variants":
            checked_name(name, f"{key}: ")
        found[str(name)] = [str(text) for text in own or ()]
    return found


_EARLY = ("methods", "per_method", "variants")  # decide what is composed at all


def _check_space(plan: MethodPlan) -> None:
    """Build the defaults and every end of every range: what cannot be built is said now."""
    plan.trial({})
    for key, dimension in plan.space.items():
        for value in dimension.ends():
            try:
                plan.trial({key: value})
            except InputError as error:
                hint = " tag(int, interval(...)) has whole numbers." * isinstance(value, float)
                raise InputError(f"{error}{hint * ('integer' in str(error))}") from None


def _check_alike(plans: Sequence[MethodPlan]) -> None:
    """Methods can be compared on the same base, data and evaluation only."""
    first, *others = ((plan.method, plan.trial({})) for plan in plans)
    for name, config in others:
        for part in ("model", "data", "evaluation"):
            one, other = getattr(first[1], part), getattr(config, part)
            for field in fields(one):
                values = getattr(one, field.name), getattr(other, field.name)
                if values[0] != values[1]:
                    raise InputError(
                        f"{part}.{field.name} is {values[0]!r} for {first[0]} and {values[1]!r} for "
                        f"{name}: the methods of a sweep share model, data and evaluation."
                    )


def _siblings(key: str, keys: set[str]) -> set[str]:
    """The keys beside ``key``: those under its parent, or the top ones if there is no such parent."""
    parent = key.rpartition(".")[0]
    if parent not in keys:
        return {name for name in keys if "." not in name}
    depth = parent.count(".") + 1
    return {k for k in keys if k.startswith(f"{parent}.") and k.count(".") == depth}


def _of_trial(override: str) -> bool:
    """Whether a typed override belongs to a trial, not to the sweep around it."""
    name = re.split(r"[.=]", override.lstrip("+~"))[0]
    return name not in (*SWEEP_KEYS, "stage", "methods", "per_method", "variants")


def checked_name(given: Any, what: str = "name=") -> str | None:
    """``name=`` as text. Raises InputError where it is no name of a folder."""
    if given is None or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", str(given)):
        return None if given is None else str(given)
    raise InputError(
        f"{what}{given!r} cannot be used: it names a folder, so letters, digits, "
        "'.', '_' and '-', at most 80, a letter or digit first."
    )


def _made_name(label: str, plans: Sequence[MethodPlan]) -> str:
    """One made of what runs: the same command finds its folder again."""
    what = [
        [
            plan.method,
            {key: str(dimension) for key, dimension in plan.space.items()},
            {key: value for key, value in plan.tree.items() if key not in FREE_KEYS},
        ]
        for plan in plans
    ]
    return f"{label}-{digest(what, 6)}"
