"""Objectives of a sweep: measurements and their directions, quality first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from harness.config.metrics import ALWAYS, JUDGE, OF_CLASSES, OWN, is_external, measured_as
from harness.errors import InputError, unknown
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, Direction, kind_of
from harness.statistics.measurements.names import (
    AGREEMENT,
    DRIFT_KL,
    FORGETTING,
    FORGETTING_KL,
    FORGETTING_NLL,
    FORGETTING_NLL_WORST,
    GENERAL,
    INSTRUCTIONS,
    PROBES,
    TASKS,
    TEST,
    VALIDATION,
    VALIDATION_ACCURACY,
    VALIDATION_BLEU,
    VALIDATION_PERPLEXITY,
)

if TYPE_CHECKING:
    from harness.config import SweepConfig, TrialConfig
    from harness.data.rows.splits import Splits
    from harness.evaluation.sight import Sight

OF_ANSWERS = (*OWN, JUDGE)
SHORT = (*OF_ANSWERS, *ALWAYS, *OF_CLASSES)  # of the validation split
WHOLE_FORGETTING = (FORGETTING_KL, FORGETTING_NLL)  # overall; a domain's name may follow
NOT_SEARCHED = (TEST, GENERAL, TASKS, PROBES, INSTRUCTIONS, AGREEMENT, "base.")
KNOWN = (*(f"{VALIDATION}{name}" for name in SHORT), *WHOLE_FORGETTING, DRIFT_KL)


def resolve_objectives(
    given: Any, data: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> dict[str, str]:
    """Return the objectives in full: 'bleu' as 'validation.bleu', null as the data's default.

    Raises InputError for what cannot be searched by: the test split above all.
    """
    is_text, has_classes = data["text_column"] is not None, data["label_column"] is not None
    if given is None and has_classes:
        return {VALIDATION_ACCURACY: "maximize", FORGETTING_KL: "minimize"}
    if given is None:
        quality = {VALIDATION_BLEU: "maximize"}
        if is_text or "bleu" not in evaluation["metrics"]:
            quality = {VALIDATION_PERPLEXITY: "minimize"}
        return {**quality, FORGETTING_KL: "minimize"}
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"objectives={given!r} cannot be used: map a measurement to a direction.")
    named = {_in_full(str(name)): direction for name, direction in given.items()}
    for name in named:
        if name.startswith(NOT_SEARCHED):
            raise InputError(
                f"objectives: {name!r} cannot be searched by; name a measurement of the validation "
                "split (validation.bleu, validation.perplexity, ...), forgetting.* or drift.*."
            )
        metric = name.removeprefix(VALIDATION)
        external = metric.startswith("evaluate.")
        if (
            name not in KNOWN
            and not external
            and not name.startswith(tuple(f"{kind}." for kind in WHOLE_FORGETTING))
        ):
            raise unknown("measurement in objectives", name, (*KNOWN, *SHORT), KNOWN)
        if metric in SHORT and (metric in OF_CLASSES) != has_classes:
            what = "is set" if has_classes else "is not set"
            measured = OF_CLASSES if has_classes else [m for m in SHORT if m not in OF_CLASSES]
            raise InputError(
                f"objectives: {name} is not measured where data.label_column {what}: use one of "
                f"{', '.join(VALIDATION + m for m in measured)}."
            )
        if is_text and (external or metric in OF_ANSWERS):
            raise InputError(
                f"objectives: {name} needs answers, and data.text_column says plain text: "
                "use validation.perplexity."
            )
        if external or metric in OF_ANSWERS:
            _check_measured(name, metric, evaluation)
        _check_direction(name, named[name])
    return named


def _in_full(name: str) -> str:
    """Return 'validation.bleu' for 'bleu'."""
    short = name in SHORT or name.startswith("evaluate.")
    return f"{VALIDATION}{name}" if short else name


def _check_measured(name: str, metric: str, evaluation: Mapping[str, Any]) -> None:
    """Raise InputError if no trial of the search would have the measurement."""
    asked = [str(each) for each in evaluation["metrics"]]
    of_scripts = [measured_as(each) for each in asked if is_external(each)]
    given = any(metric == each or metric.startswith(f"{each}.") for each in of_scripts)
    if not given and metric not in asked:
        wanted = "evaluate:NAME or the path" if metric.startswith("evaluate.") else metric
        raise InputError(
            f"objectives: {name} is not measured: add {wanted} to evaluation.metrics "
            f"({', '.join(asked) or 'empty'})."
        )
    if metric == JUDGE and not evaluation["judge"]["during_search"]:
        raise InputError(
            f"objectives: {name} is measured of finalists only: evaluation.judge.during_search=true "
            "has every trial judged, at its price."
        )


def _check_direction(name: str, direction: Any) -> None:
    """Raise InputError if a known measurement would be searched for its worst values."""
    kind = METRIC_DEFINITIONS.get(kind_of(name))
    better = None if kind is None else kind.direction
    if direction not in ("maximize", "minimize") or better not in (None, direction):
        raise InputError(
            f"objectives: {name}={direction!r} cannot be used: it must be "
            f"{better or 'maximize or minimize'}."
        )


def that_tell(
    sweep: SweepConfig, config: TrialConfig, splits: Splits, by_default: bool
) -> dict[str, Direction]:
    """Return the objectives of ``sweep`` that can separate right answers from wrong ones.

    They are checked on each split that selects or tests. ``by_default``: the user named none, so a
    blind metric is replaced by the first one that separates most of the answers. Raises InputError
    for a blind objective that the user named.
    """
    from harness.evaluation.answers.configured import sights_of
    from harness.evaluation.sight import instead

    tested = splits.test if sweep.confirm.finalists else ()
    found: dict[str, list[tuple[str, Sight]]] = {}
    for split, examples in (("validation", splits.validation), ("test", tested)):
        for metric, sight in sights_of(examples, config.data, config.evaluation).items():
            found.setdefault(metric, []).append((split, sight))
    telling = [m for m, seen in found.items() if all(sight.sees_most for _, sight in seen)]
    always = "loss" if config.data.is_classification else "perplexity"
    objectives: dict[str, Direction] = {}
    for name, direction in sweep.objectives.items():
        metric = name.removeprefix(VALIDATION)
        blind = [(split, s.why) for split, s in found.get(metric, []) if s.why is not None]
        if by_default and metric in found and metric not in telling:
            metric = next(iter(telling), always)
            name, direction = (
                f"{VALIDATION}{metric}",
                METRIC_DEFINITIONS[metric].direction or direction,
            )
        elif blind:
            split, why = blind[0]
            others = " or ".join(telling)
            if not others and not config.data.is_classification:
                references = [example.references for example in getattr(splits, split)]
                others = instead(references, config.evaluation.tokenize)
            raise InputError(
                f"objectives: {name} cannot be used: on data.{split} {metric} cannot tell right "
                f"answers from wrong ones: {why}. Use {others or always}."
            )
        objectives[name] = direction
    return objectives


def check_values(objectives: Mapping[str, str], without: Mapping[str, str]) -> None:
    """Raise InputError for an objective whose measurement has a problem, see ``without``.

    Its keys are measurements behind their split, as ``evaluation.metrics.without`` gives them.
    """
    for name in objectives:
        for measured, why in without.items():
            if f"{name}.".startswith(f"{VALIDATION}{measured}."):
                raise InputError(f"objectives: {name} cannot be used: it {why}.")


def check_general(
    objectives: Mapping[str, str], limit: float | None, domains: Collection[str]
) -> None:
    """Raise InputError if forgetting is an objective or limited, but there is no general text.

    ``domains`` are those of the general text, ``limit`` is limits.forgetting.
    """
    asked = [f"objectives: {name}" for name in objectives if name.startswith(FORGETTING)]
    asked += ["limits.forgetting"] if limit is not None else []
    if asked and not domains:
        left = [f"{k}:{way}" for k, way in objectives.items() if not k.startswith(FORGETTING)]
        without = f"'objectives={{{','.join(left) or 'validation.perplexity:minimize'}}}'"
        raise InputError(
            f"{asked[0]} is measured on general text, and data.general is not set: give "
            "a file of text that the model should not forget (data.general=wiki.txt), or "
            "data.general=builtin, or leave it out "
            f"({without if asked[0] != 'limits.forgetting' else 'limits.forgetting=null'})."
        )
    parts = [f"{kind}.{domain}" for kind in WHOLE_FORGETTING for domain in domains]
    parts.append(FORGETTING_NLL_WORST)
    measured = {*KNOWN, *parts} if len(domains) > 1 else set(KNOWN)  # a single domain is the whole
    for name in objectives:
        if name not in measured and not name.startswith(VALIDATION + "evaluate."):
            raise unknown("measurement in objectives", name, measured)
