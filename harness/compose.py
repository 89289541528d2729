"""From the command line to configuration: Hydra composes, this module checks.

Nothing here imports torch, so that a mistake is answered in a second. ``parse_arguments`` separates
what is fixed from what is searched, ``compose_sweep`` gives the sweep and one plan a method.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import methods, space
from harness.config import SweepConfig, TrialConfig, build
from harness.errors import InputError, unknown

TRIAL_KEYS = tuple(field.name for field in fields(TrialConfig))
SWEEP_KEYS = tuple(field.name for field in fields(SweepConfig))


def conf_dir() -> Path:
    """``conf/`` of the repository, or its copy inside an installed wheel."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


@dataclass(frozen=True)
class MethodPlan:
    """One method of a sweep: its configuration with the defaults, and what is searched."""

    method: str
    tree: Mapping[str, Any]  # trial keys, interpolations still open
    space: space.Space
    overrides: tuple[str, ...]  # what a person types to get this configuration

    def open_tree(self) -> DictConfig:
        """A copy to set values in; what depends on them is resolved afterwards."""
        return OmegaConf.create(dict(self.tree))

    @property
    def n_configurations(self) -> int | None:
        """How many there are to try; None where the space is continuous."""
        sizes = [len(d.values) for d in self.space.values() if isinstance(d, space.Choice)]
        return math.prod(sizes) if len(sizes) == len(self.space) else None

    def trial(self, values: Mapping[str, Any], **fixed: Any) -> TrialConfig:
        """The trial with ``values`` (dotted keys) and ``fixed`` (seed, stage) set. Raises InputError."""
        tree = self.open_tree()
        for key, value in {**values, **fixed}.items():
            OmegaConf.update(tree, key, value)
        whole = _container(tree)
        config = build(TrialConfig, {key: whole[key] for key in TRIAL_KEYS})
        methods.build(config.method)  # raises for a value that the method cannot take
        return config


def hydra_asked(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for something of Hydra's own: help, the config, completion."""
    own = (
        "--help",
        "-h",
        "--hydra-help",
        "--cfg",
        "-c",
        "--info",
        "-i",
        "--shell-completion",
        "-sc",
    )
    return any(argument.split("=")[0] in own for argument in arguments)


def show_hydra(arguments: Sequence[str]) -> None:
    """Let Hydra answer. Searched values are shown at their first choice."""
    parser = OverridesParser.create()
    shown = []
    for argument in arguments:
        if "=" in argument and not argument.startswith("-"):
            override = _parse(parser, argument)
            if override.is_sweep_override():
                first = _dimension(override).ends()[0]
                argument = f"{override.input_line.split('=')[0]}={first}"
        shown.append(argument)
    sys.argv = [sys.argv[0], *shown]
    entry = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
    entry(lambda config: None)()


def compose_sweep(arguments: Sequence[str]) -> tuple[SweepConfig, tuple[MethodPlan, ...]]:
    """The sweep and its methods' plans, checked as far as that goes without loading a model.

    Raises InputError with one message for anything that cannot be used.
    """
    flags, overrides = get_args_parser().parse_known_args(list(arguments))
    if overrides:
        raise InputError(f"Unknown option {overrides[0]}; overrides are written key=value.")
    parser = OverridesParser.create()
    typed = [_parse(parser, text) for text in flags.overrides]
    with _hydra(flags.config_dir) as groups:
        _check_groups(typed, groups)
        early = [o for o in typed if _is_group(o) or o.key_or_group in ("methods", "per_method")]
        first = _compose([o.input_line for o in early if not o.is_sweep_override()])
        names = _methods(typed, first)
        for name in names:
            if name not in groups("method"):
                raise unknown("method", name, groups("method"))
        trees = {name: _tree(name, typed, first, parser, names) for name in names}
    plans = tuple(_plan(name, *trees[name]) for name in names)
    _check_space(plans)
    sweep_tree = dict(_container(trees[names[0]][0]))
    sweep_tree["objectives"] = _objectives(sweep_tree)
    sweep_tree["search"].pop("space")
    given = {key: sweep_tree[key] for key in SWEEP_KEYS}
    given["name"] = _name(sweep_tree, plans)
    return build(SweepConfig, given), plans


def compose_trial(arguments: Sequence[str]) -> tuple[MethodPlan, TrialConfig, Mapping[str, Any]]:
    """One trial by hand: nothing is searched. Returns its plan, its config and the whole tree."""
    flags, rest = get_args_parser().parse_known_args(list(arguments))
    if rest:
        raise InputError(f"Unknown option {rest[0]}; overrides are written key=value.")
    parser = OverridesParser.create()
    typed = [_parse(parser, text) for text in flags.overrides]
    for override in typed:
        if override.is_sweep_override():
            raise InputError(
                f"{override.input_line}: a trial has one value a key; "
                "search ranges belong to `python -m harness.sweep`."
            )
    with _hydra(flags.config_dir) as groups:
        _check_groups(typed, groups)
        first = _compose([o.input_line for o in typed if _is_group(o)])
        name = first.method.name
        tree, _, used = _tree(name, typed, first, parser, [name])
    container = dict(_container(tree))
    plan = _plan(name, tree, {}, used)
    return plan, plan.trial({}), container


@contextmanager
def _hydra(config_dir: str | None) -> Iterator[Any]:
    """Hydra's Compose API on our conf/, with the user's own folder beside it."""
    searched = []
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise InputError(
                f"--config-dir={config_dir!r} cannot be used: there is no such folder."
            )
        searched = [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"]
    _guard_environment()
    with initialize_config_dir(config_dir=str(conf_dir().resolve()), version_base="1.3"):
        _EXTRA[:] = searched
        loader = GlobalHydra.instance().config_loader()
        compose("config", overrides=searched)

        def groups(name: str) -> list[str]:
            found = set(loader.get_group_options(name))
            if config_dir is not None:
                found |= {path.stem for path in (Path(config_dir) / name).glob("*.yaml")}
            return sorted(option for option in found if not option.startswith("_"))

        yield groups


_EXTRA: list[str] = []  # the search path of the user's --config-dir, for every composition


def _compose(overrides: Sequence[str]) -> DictConfig:
    try:
        return compose("config", overrides=[*_EXTRA, *overrides])
    except (HydraException, OmegaConfBaseException) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(" ".join(lines[:3])) from error


def _parse(parser: OverridesParser, text: str) -> Override:
    try:
        return parser.parse_override(text)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{text!r} is not an override: {str(error).splitlines()[0]}") from error


def _methods(typed: Sequence[Override], tree: DictConfig) -> list[str]:
    """Those named by ``method=`` on the command line, else those of the named sweep."""
    for override in typed:
        if override.key_or_group == "method":
            value = override.value()
            names = value.list if isinstance(value, ChoiceSweep) else [value]
            return list(dict.fromkeys(map(str, names)))
    return list(tree.methods) if tree.methods is not None else [tree.method.name]


def _tree(
    name: str,
    typed: Sequence[Override],
    first: DictConfig,
    parser: OverridesParser,
    names: Sequence[str],
) -> tuple[DictConfig, dict[str, space.Dimension], list[str]]:
    """One method's whole tree, its search space, and the overrides that were used for it."""
    from_sweep = [_parse(parser, text) for text in first.per_method.get(name, [])]
    chosen = [o for o in typed if o.key_or_group != "method"]
    plain = [o for o in [*from_sweep, *chosen] if not o.is_sweep_override()]
    swept = [o for o in [*from_sweep, *chosen] if o.is_sweep_override()]
    method = f"method={name}"
    defaults = _compose([method, *(o.input_line for o in chosen if _is_group(o))])
    keys = set(_flatten(defaults))
    for override in [*plain, *swept]:
        key = override.key_or_group
        if _is_group(override) or override.is_add() or key in keys or key.startswith("hydra."):
            continue
        if len(names) > 1 and key.startswith("method."):
            continue  # another method's own field; _check_somewhere below sees typing errors
        raise unknown("key", key, keys)
    if len(names) > 1:
        _check_somewhere([*plain, *swept], names)
    plain = [o for o in plain if _is_group(o) or o.key_or_group in keys or o.is_add()]
    swept = [o for o in swept if o.key_or_group in keys]
    used = [o.input_line for o in plain]
    tree = _compose([method, *used])
    dimensions: dict[str, space.Dimension] = {}
    for key, text in tree.search.space.items():
        if text is None:
            continue
        if key not in keys:
            raise unknown("key in search.space", key, keys)
        override = _parse(parser, f"{key}={text}")
        if not override.is_sweep_override():
            raise InputError(
                f"search.space.{key}={text!r} is no range: write choice(...), range(...), "
                "interval(...) or tag(log, interval(...))."
            )
        dimensions[key] = _dimension(override)
    for override in plain:
        dimensions.pop(override.key_or_group, None)
    for override in swept:
        dimensions[override.key_or_group] = _dimension(override)
    return tree, dimensions, [method, *used]


def _plan(
    name: str, tree: DictConfig, dimensions: dict[str, space.Dimension], used: Sequence[str]
) -> MethodPlan:
    outside = ("runs_dir=", "reports_dir=", "name=", "plan=", "seed=", "stage=")
    groups = ("search.", "confirm.", "limits.", "launcher", "tracking", "objectives", "sweep=")
    kept = tuple(o for o in used if not o.startswith((*outside, *groups)))
    whole = OmegaConf.to_container(tree, resolve=False)
    assert isinstance(whole, dict)
    return MethodPlan(name, {str(k): v for k, v in whole.items()}, dimensions, kept)


def _check_space(plans: Sequence[MethodPlan]) -> None:
    """Build the defaults and every end of every range: what cannot be built is said now."""
    for plan in plans:
        plan.trial({})
        for key, dimension in plan.space.items():
            for value in dimension.ends():
                plan.trial({key: value})


def _check_groups(typed: Sequence[Override], groups: Any) -> None:
    for override in typed:
        if _is_group(override) and not override.is_sweep_override():
            name, value = override.key_or_group, override.value()
            if value is not None and str(value) not in groups(name):
                raise unknown(name, value, groups(name))


def _check_somewhere(overrides: Sequence[Override], names: Sequence[str]) -> None:
    """With several methods, ``method.x=`` reaches those that have an x: one of them must."""
    known = {f"method.{field}" for name in names for field in methods.field_names(name)}
    for override in overrides:
        key = override.key_or_group
        if key.startswith("method.") and key not in known:
            raise unknown("key", key, known)


GROUPS = ("model", "data", "method", "training", "evaluation", "tracking", "launcher", "sweep")


def _is_group(override: Override) -> bool:
    return override.key_or_group in (*GROUPS, "tuned")


def _dimension(override: Override) -> space.Dimension:
    key, value = override.key_or_group, override.value()
    if isinstance(value, ChoiceSweep):
        return space.choice(
            key, [OmegaConf.to_object(OmegaConf.create([v]))[0] for v in value.list]
        )
    if isinstance(value, RangeSweep):
        assert value.start is not None and value.stop is not None
        return space.stepped(key, value.start, value.stop, value.step)
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        tags = value.tags
        return space.interval(key, value.start, value.end, log="log" in tags, integer="int" in tags)
    raise InputError(f"{override.input_line}: glob() cannot be searched; write choice(...).")


def _flatten(tree: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of the tree, inner nodes included."""
    if not isinstance(tree, DictConfig):
        return
    for key in tree:
        yield f"{prefix}{key}"
        yield from _flatten(tree._get_node(key), f"{prefix}{key}.")


def _container(tree: DictConfig) -> dict[str, Any]:
    try:
        resolved = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(str(error).splitlines()[0]) from error
    assert isinstance(resolved, dict)
    known = (*TRIAL_KEYS, *SWEEP_KEYS)
    return {str(key): value for key, value in resolved.items() if key in known}


def _objectives(tree: Mapping[str, Any]) -> dict[str, str]:
    """As configured, with 'bleu' meaning 'validation.bleu'; else what the data allows."""
    given = tree["objectives"]
    if given is None:
        quality = {"validation.bleu": "maximize"}
        if tree["data"]["text_column"] is not None or "bleu" not in tree["evaluation"]["metrics"]:
            quality = {"validation.perplexity": "minimize"}
        forgetting = tree["data"]["general"] is not None or tree["data"]["source"] == "builtin"
        return {**quality, **({"forgetting.kl": "minimize"} if forgetting else {})}
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"objectives={given!r} cannot be used: map a measurement to a direction.")
    short = ("bleu", "chrf", "perplexity", "bits_per_byte")
    named = {f"validation.{k}" if k in short else str(k): v for k, v in given.items()}
    for name in named:
        if not name.startswith(("validation.", "forgetting.", "drift.")):
            raise InputError(
                f"objectives: {name!r} cannot be searched by; name a measurement of the validation "
                "split (validation.bleu, validation.perplexity, ...), forgetting.* or drift.*."
            )
    return named


def _name(tree: Mapping[str, Any], plans: Sequence[MethodPlan]) -> str:
    """The given name, or one made of what runs: the same command finds its folder again."""
    if tree["name"] is not None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", str(tree["name"])):
            raise InputError(
                f"name={tree['name']!r} cannot be used: it names a folder, so letters, digits, "
                "'.', '_' and '-', at most 80."
            )
        return tree["name"]
    free = ("plan", "launcher", "tracking", "runs_dir", "reports_dir")
    what = json.dumps(
        [
            [plan.method, {key: str(d) for key, d in plan.space.items()}]
            + [{k: v for k, v in _container(plan.open_tree()).items() if k not in free}]
            for plan in plans
        ],
        sort_keys=True,
        default=str,
    )
    names = "-".join(plan.method for plan in plans) if len(plans) < 4 else f"{len(plans)}-methods"
    return f"{names}-{hashlib.sha256(what.encode()).hexdigest()[:6]}"


def _guard_environment() -> None:
    """``${oc.env:NAME}`` would write a secret into records: names that look like one are refused."""

    def read(name: str, default: Any = None) -> Any:
        if re.search(r"token|key|secret|passw", name, re.IGNORECASE):
            raise InputError(f"${{oc.env:{name}}}: a secret must not enter the configuration.")
        return os.environ.get(name, default)

    OmegaConf.register_new_resolver("oc.env", read, replace=True)
