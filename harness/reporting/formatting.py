"""Formatting of numbers and names, shared by the page, the Markdown and the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.language import phrase, say
from harness.records import Measurement
from harness.statistics.measurements.definitions import METRIC_DEFINITIONS, kind_of

MISSING = "–"
# First parts of the names of measurements, which their titles begin with.
HEADS = (
    phrase("validation"),
    phrase("test"),
    phrase("forgetting"),
    phrase("forgetting_from_quantized"),
    phrase("drift"),
    phrase("general"),
    phrase("tasks"),
    phrase("probes"),
    phrase("instructions"),
    phrase("agreement"),
    phrase("update"),
    phrase("merged"),
)
SHORT = {
    "learning_rate": "lr",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "num_virtual_tokens": "tokens",
    "batch_size": "batch",
    "max_steps": "steps",
    "weight_decay": "wd",
    "warmup_steps": "warmup",
}


def title(measurement: str) -> str:
    """Return the title of a measurement: 'test BLEU' for test.bleu, 'forgetting (KL)'."""
    head, kind = measurement.split(".")[0], kind_of(measurement)
    name = say(METRIC_DEFINITIONS[kind].title) if kind in METRIC_DEFINITIONS else kind
    rest = ".".join(measurement.split(".")[2:])
    if head in ("forgetting", "drift"):
        return say("{head} ({name})", head=say(head), name=f"{name}, {rest}" if rest else name)
    if rest:  # a metric of another library, which may have several values
        return f"{say(head)} {rest}"
    return f"{say(head)} {name}" if head != kind else name


def in_percent(measurement: str) -> bool:
    """Return True if the title of a measurement ends in its unit: 'test exact match, %'."""
    return title(measurement).endswith(", %")


def prose_title(measurement: str) -> str:
    """Return the title for running text, without a unit: 'test exact match'."""
    return title(measurement).removesuffix(", %")


def unit(measurement: str) -> str:
    """Return the unit after a number; '' if the title is enough (BLEU)."""
    kind = METRIC_DEFINITIONS.get(kind_of(measurement))
    return "" if kind is None else say(kind.shown_unit)


def scale(measurement: str) -> float:
    """Return the factor of shown values: 100 for accuracy changes, shown in percentage points."""
    kind = METRIC_DEFINITIONS.get(kind_of(measurement))
    return 100.0 if kind is not None and kind.shown_unit == "points" else 1.0


def number(value: float | None, decimals: int, sign: bool = False) -> str:
    """Format a number with fixed decimals and a true minus; '–' if missing, and never '−0.0'."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:+,.{decimals}f}" if sign else f"{value:,.{decimals}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def decimals_for(measurement: str, *values: float | None) -> int:
    """Return the number of decimals for these values of a measurement."""
    kind = kind_of(measurement)
    largest = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    known = METRIC_DEFINITIONS.get(kind)
    if known is not None and known.decimals is not None:
        return known.decimals
    if kind == "perplexity":
        return 2 if largest < 100 else 1
    if 0 < largest < 0.01:
        return min(8, 1 - math.floor(math.log10(largest)))  # two digits of the largest
    return 3


def score(measurement: str, value: float | None, sign: bool = False) -> str:
    """Format a value without its unit: '48.8', '0.031'."""
    if value is None:
        return MISSING
    shown = value * scale(measurement)
    return number(shown, decimals_for(measurement, shown), sign)


def with_interval(
    measurement: str,
    value: float | None,
    low: float | None,
    high: float | None,
    sign: bool = False,
    units: bool = False,
) -> str:
    """Format a value: '48.8 [46.1, 51.2]', or '0.031 [0.027, 0.036] nats/token' with ``units``."""
    if value is None:
        return MISSING
    factor = scale(measurement)
    shown = [None if v is None else v * factor for v in (value, low, high)]
    decimals = decimals_for(measurement, *shown)
    text = number(shown[0], decimals, sign)
    if low is not None and high is not None:
        text += f" [{number(shown[1], decimals)}, {number(shown[2], decimals)}]"
    return f"{text} {unit(measurement)}" if units and unit(measurement) else text


def measured(name: str, measurement: Measurement | None) -> str:
    """Format a recorded measurement: '48.8 [46.1, 51.2]'."""
    if measurement is None:
        return MISSING
    low, high = measurement.interval or (None, None)
    return with_interval(name, measurement.value, low, high)


def p_value(p: float | None) -> str:
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def equals_p(p: float | None) -> str:
    """Format a p-value: 'p = 0.31' or 'p < 0.001'."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def duration(seconds: float | None) -> str:
    """Format seconds as '41 s', '3.4 min' or '2.1 h'."""
    if seconds is None:
        return MISSING
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(value: float | None) -> str:
    """Format a count as '1,234', '0.42 M' or '1.2 B'."""
    if value is None:
        return MISSING
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if abs(value) >= size / 10:
            return f"{value / size:.2f} {letter}"
    return f"{value:,.0f}"


def percent(value: float | None) -> str:
    """Format a percentage: '13.2 %'."""
    return MISSING if value is None else f"{value:.3g} %"


def gigabytes(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.2f} GB" if value < 10 else f"{value:.1f} GB"


def file_size(value: float | None) -> str:
    if value is None:
        return MISSING
    for size, letter in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.1f} {letter}"
    return f"{value:.0f} B"


def setting(value: Any) -> str:
    """Format a hyper-parameter as it would be typed: '3e-4', '8', 'cosine'."""
    if isinstance(value, float):
        if value == 0 or 0.01 <= abs(value) < 10_000:
            return f"{value:.4g}"
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return str(value)


def settings(values: Mapping[str, Any]) -> str:
    """Format settings by short names: 'r=8, lr=3e-4' for method.r and training.learning_rate."""
    parts = []
    for path, value in values.items():
        name = path.rsplit(".", 1)[-1]
        parts.append(f"{SHORT.get(name, name)}={setting(value)}")
    return ", ".join(parts)


def joined(items: list[str]) -> str:
    """Join items in a sentence: 'a', 'a and b', 'a, b and c'."""
    if len(items) == 1:
        return items[0]
    return say("{items} and {last}", items=say(", ").join(items[:-1]), last=items[-1])
