"""Composition of the command line into configuration: Hydra composes, this module checks.

Nothing here imports torch, so a mistake is reported within a second. ``compose_sweep`` returns the
sweep and one plan for each method. ``compose_trial`` returns one plan without a search space.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser

from harness import __version__
from harness.compose import override_grammar
from harness.compose.accepted_values import accepted
from harness.compose.folders import conf_dir, own_folder
from harness.compose.inferred import general_text, missing_overrides
from harness.compose.key_comments import explain, explain_sweep
from harness.compose.keys import SWEEP_KEYS, check_folders, checked_name, opened
from harness.compose.method_plan import MethodPlan, plain
from harness.compose.objectives import resolve_objectives
from harness.compose.refusals import check_top_keys
from harness.compose.tree import PARTS, method_trees
from harness.config import SweepConfig
from harness.config.strict import from_mapping
from harness.errors import InputError
from harness.records.fingerprint import digest

__all__ = [
    "FREE_KEYS",
    "compose_from_data",
    "compose_sweep",
    "compose_trial",
    "conf_dir",
    "hydra_asked",
    "show_hydra",
]

# What changes no result: no part of a sweep's name, and free to differ when it is resumed.
FREE_KEYS = ("name", "plan", "budget", "launcher", "tracking", "report", "runs_dir", "reports_dir")


def hydra_asked(arguments: Sequence[str]) -> bool:
    """Return True if the command line uses a Hydra flag: help, the config, completion."""
    own = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i"}
    own |= {"--shell-completion", "-sc", "--version"}
    return any(argument.split("=")[0] in own for argument in arguments)


def show_hydra(arguments: Sequence[str], usage: str) -> None:
    """Let Hydra answer, after ``usage`` if help is requested.

    ``--help KEY`` explains that key alone, ``sweep=NAME --help`` that sweep. Searched values are shown
    at their first choice. Raises InputError for a key or a sweep that does not exist.
    """
    if "--version" in arguments:
        print(f"harness {__version__}")
        return
    help_asked = bool({"-h", "--help"} & set(arguments))
    keys = [word for word in arguments if not word.startswith("-") and "=" not in word]
    if help_asked and keys:
        print("\n\n".join(explain(key, conf_dir()) for key in keys))
        return
    named = [text.removeprefix("sweep=") for text in arguments if text.startswith("sweep=")]
    if help_asked and named and named[-1] != "null":
        flags, _ = get_args_parser().parse_known_intermixed_args(list(arguments))
        print(explain_sweep(named[-1], conf_dir(), own_folder(flags.config_dir)))
        return
    shown = []
    for argument in arguments:
        if "=" in argument and not argument.startswith("-"):
            override = override_grammar.parse(argument)
            if override_grammar.is_swept(override):
                first = override_grammar.dimension(override).ends()[0]
                override = override_grammar.parse(
                    f"{argument.split('=')[0]}={override_grammar.shown(first)}"
                )
            argument = opened(override_grammar.for_hydra(override))
        shown.append(argument)
    sys.argv = [sys.argv[0], *shown]
    try:
        if help_asked:
            print(usage.strip(), end="\n\n", flush=True)
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(print)()
    except BrokenPipeError:  # a pager or `head` closed the pipe
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the process exits


def compose_sweep(arguments: Sequence[str]) -> tuple[SweepConfig, tuple[MethodPlan, ...]]:
    """Return the sweep and its methods' plans, checked as far as possible without loading a model.

    Raises InputError with one message for anything that cannot be used.
    """
    with method_trees(arguments) as compose:
        names = compose.methods()
        composed = {name: compose.method(name, names) for name in names}
        label = compose.label(names)
    plans = tuple(plan for plan, _ in composed.values())
    for plan in plans:
        _check_space(plan)
    _check_alike(plans)
    whole = plain(composed[names[0]][1])
    whole["objectives"] = resolve_objectives(
        whole["objectives"], whole["data"], whole["evaluation"]
    )
    if isinstance(whole["search"], dict):
        for key in ("space", "rate"):  # already in the plans
            whole["search"].pop(key, None)
    check_folders(whole)
    for plan in plans:
        check_top_keys(plan.tree, PARTS)
    whole["name"] = checked_name(whole["name"]) or _made_name(label, plans)
    return from_mapping(SweepConfig, {key: whole[key] for key in SWEEP_KEYS}), plans


def compose_from_data(
    arguments: Sequence[str],
) -> tuple[SweepConfig, tuple[MethodPlan, ...], list[str]]:
    """Return the sweep, its plans, and the overrides that its data answered for the user.

    Raises InputError as ``compose_sweep`` does, and where the columns of the data are not clear.
    """
    taken = missing_overrides(arguments)
    sweep, plans = compose_sweep([*arguments, *taken])
    first = plans[0].trial({})
    general = general_text(sweep.objectives, first.data, first.model.name)
    if general:
        taken += general
        sweep, plans = compose_sweep([*arguments, *taken])
    return sweep, plans, taken


def compose_trial(arguments: Sequence[str]) -> tuple[MethodPlan, Mapping[str, Any]]:
    """Return the plan of a single trial, and the whole resolved tree. Raises InputError."""
    for argument in arguments:
        if argument in ("--multirun", "-m"):
            raise InputError(
                f"{argument}: a trial is one run. Use `python -m harness.sweep` for several."
            )
    with method_trees(arguments) as compose:
        for override in compose.typed:
            if override_grammar.is_swept(override):
                a_list = accepted(override.key_or_group).list
                raise InputError(
                    f"{override.input_line}: a trial has one value a key; search ranges belong to "
                    "`python -m harness.sweep`." + " A list is written [a,b]." * a_list
                )
        (name,) = compose.methods()[:1]
        plan, tree = compose.method(name, [name])
    whole = plain(tree)
    check_folders(whole)
    check_top_keys(plan.tree, PARTS)
    whole["name"] = checked_name(whole["name"]) or "by-hand"
    return plan, whole


def _check_space(plan: MethodPlan) -> None:
    """Build the defaults and both ends of every range, so that invalid values fail early."""
    plan.trial({})
    for key, dimension in plan.space.items():
        for value in dimension.ends():
            try:
                plan.trial({key: value})
            except InputError as error:
                hint = " tag(int, interval(...)) has whole numbers." * isinstance(value, float)
                raise InputError(f"{error}{hint * ('integer' in str(error))}") from None


def _check_alike(plans: Sequence[MethodPlan]) -> None:
    """Check that all methods share data and evaluation, and that all models are loaded alike.

    Variants may name another model: each is then measured against its own base."""
    first, *others = ((plan.method, plan.trial({})) for plan in plans)
    for name, config in others:
        for part in ("model", "data", "evaluation"):
            one, other = getattr(first[1], part), getattr(config, part)
            for field in fields(one):
                if part == "model" and field.name in ("name", "revision"):
                    continue
                values = getattr(one, field.name), getattr(other, field.name)
                if values[0] != values[1]:
                    raise InputError(
                        f"{part}.{field.name} is {values[0]!r} for {first[0]} and {values[1]!r} for "
                        f"{name}: the methods of a sweep share data, evaluation and how a model is "
                        "loaded."
                    )


def _made_name(label: str, plans: Sequence[MethodPlan]) -> str:
    """Derive a name from the configuration, so that the same command finds its folder again."""
    what = [
        [
            plan.method,
            {key: str(dimension) for key, dimension in plan.space.items()},
            {key: value for key, value in plan.tree.items() if key not in FREE_KEYS},
            *([plan.tree["budget"]] if plan.tree["budget"] is not None else []),
        ]
        for plan in plans
    ]
    return f"{label}-{digest(what, 6)}"
