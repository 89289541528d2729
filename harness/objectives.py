"""What a sweep searches by: measurements and their directions, quality first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import InputError

SHORT = ("bleu", "chrf", "perplexity", "bits_per_byte")  # of the validation split


def resolve_objectives(
    given: Any, data: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> dict[str, str]:
    """As configured, 'bleu' meaning 'validation.bleu'; null: what these data allow.

    Raises InputError for what cannot be searched by: the test split above all.
    """
    is_text = data["text_column"] is not None
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
        if is_text and name in ("validation.bleu", "validation.chrf"):
            raise InputError(
                f"objectives: {name} needs answers, and data.text_column says plain text: "
                "use validation.perplexity."
            )
    return named


def check_general(objectives: Mapping[str, str], has_general: bool) -> None:
    """Raises InputError where forgetting is an objective and there is no text to measure it on."""
    for name in objectives:
        if name.startswith("forgetting") and not has_general:
            raise InputError(
                f"objectives: {name} is measured on general text, and data.general is not set: give "
                "a file of text that the model should not forget (data.general=wiki.txt), or "
                "data.general=builtin, or objectives without it."
            )
