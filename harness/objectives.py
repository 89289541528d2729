"""What a sweep searches by: measurements and their directions, quality first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from harness.errors import InputError, unknown

OF_CLASSES = ("accuracy", "macro_f1", "loss")  # of a classifier
SHORT = ("bleu", "chrf", "perplexity", "bits_per_byte", *OF_CLASSES)  # of the validation split
FORGETTING = ("forgetting.kl", "forgetting.nll")  # overall; of one domain with its name behind
KNOWN = (*(f"validation.{name}" for name in SHORT), *FORGETTING, "drift.kl_target")


def resolve_objectives(
    given: Any, data: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> dict[str, str]:
    """As configured, 'bleu' meaning 'validation.bleu'; null: what these data allow.

    Raises InputError for what cannot be searched by: the test split above all.
    """
    is_text, has_classes = data["text_column"] is not None, data["label_column"] is not None
    if given is None and has_classes:
        return {"validation.accuracy": "maximize", "forgetting.kl": "minimize"}
    if given is None:
        quality = {"validation.bleu": "maximize"}
        if is_text or "bleu" not in evaluation["metrics"]:
            quality = {"validation.perplexity": "minimize"}
        return {**quality, "forgetting.kl": "minimize"}
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"objectives={given!r} cannot be used: map a measurement to a direction.")
    named = {f"validation.{k}" if k in SHORT else str(k): v for k, v in given.items()}
    for name in named:
        if not name.startswith(("validation.", "forgetting.", "drift.")):
            raise InputError(
                f"objectives: {name!r} cannot be searched by; name a measurement of the validation "
                "split (validation.bleu, validation.perplexity, ...), forgetting.* or drift.*."
            )
        if name not in KNOWN and not name.startswith(tuple(f"{kind}." for kind in FORGETTING)):
            raise unknown("measurement in objectives", name, KNOWN)
        metric = name.removeprefix("validation.")
        if metric in SHORT and (metric in OF_CLASSES) != has_classes:
            what = "is set" if has_classes else "is not set"
            measured = OF_CLASSES if has_classes else [m for m in SHORT if m not in OF_CLASSES]
            raise InputError(
                f"objectives: {name} is not measured where data.label_column {what}: use one of "
                f"{', '.join(f'validation.{m}' for m in measured)}."
            )
        if is_text and name in ("validation.bleu", "validation.chrf"):
            raise InputError(
                f"objectives: {name} needs answers, and data.text_column says plain text: "
                "use validation.perplexity."
            )
        if metric in ("bleu", "chrf") and metric not in evaluation["metrics"]:
            raise InputError(
                f"objectives: {name} is not measured: add {metric} to evaluation.metrics "
                f"({', '.join(evaluation['metrics']) or 'empty'})."
            )
    return named


def check_general(
    objectives: Mapping[str, str], limit: float | None, domains: Collection[str]
) -> None:
    """Raises InputError where forgetting is searched by or limited, without text to measure it on.

    ``domains`` are those of the general text, ``limit`` is limits.forgetting.
    """
    asked = [f"objectives: {name}" for name in objectives if name.startswith("forgetting.")]
    asked += ["limits.forgetting"] if limit is not None else []
    if asked and not domains:
        raise InputError(
            f"{asked[0]} is measured on general text, and data.general is not set: give "
            "a file of text that the model should not forget (data.general=wiki.txt), or "
            "data.general=builtin, or leave it out (objectives={bleu:maximize})."
        )
    parts = [f"{kind}.{domain}" for kind in FORGETTING for domain in domains]
    parts.append("forgetting.nll.worst_domain")
    measured = {*KNOWN, *parts} if len(domains) > 1 else set(KNOWN)  # of one, the whole is all
    for name in objectives:
        if name not in measured:
            raise unknown("measurement in objectives", name, measured)
