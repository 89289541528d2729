"""Drawing of splits: remove duplicates, draw splits from train, and keep a share of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from harness.config import DataConfig
from harness.data.rows.example import Example
from harness.errors import InputError


def without_duplicates(examples: Sequence[Example]) -> list[Example]:
    """Return the first of each set of equal examples, in order."""
    return list(dict.fromkeys(examples))


def share(examples: Sequence[Example], part: float, seed: int) -> list[Example]:
    """Return all examples of a random share of the inputs (at least one input), in order."""
    if part == 1:
        return list(examples)
    groups = list(dict.fromkeys(example.group for example in examples))
    chosen = random.Random(f"share-{seed}").sample(groups, max(1, round(part * len(groups))))
    kept = set(chosen)
    return [example for example in examples if example.group in kept]


def draw(rows: dict[str, list[Example]], config: DataConfig) -> None:
    """Move whole prompts (plain text: whole documents) from train to the splits not given."""
    missing = [name for name in ("validation", "test") if name not in rows]
    groups = list(dict.fromkeys(example.group for example in rows["train"]))
    random.Random(config.split_seed).shuffle(groups)
    target = dict.fromkeys(groups, "train")
    fractions = {"validation": config.validation_fraction, "test": config.test_fraction}
    if "validation" in missing and config.validation_fraction == 0:
        raise InputError(
            "data.validation is not set and data.validation_fraction is 0: give a validation "
            "split, or a share of train to draw it from, e.g. data.validation_fraction=0.1."
        )
    sizes = {
        name: max(1, round(fractions[name] * len(groups))) if fractions[name] else 0
        for name in missing
    }
    if sum(sizes.values()) >= len(groups):
        unit = (
            "documents"
            if config.is_plain_text
            else "texts"
            if config.is_classification
            else "prompts"
        )
        text = "In a text file, blank lines separate documents. " * (config.source == "text")
        raise InputError(
            f"data.train has {len(groups)} different {unit}: too few to draw "
            f"{' and '.join(f'{size} for {name}' for name, size in sizes.items() if size)} from. "
            + text
            + " ".join(
                f"Set data.{name} to a split of its own." for name, size in sizes.items() if size
            )
        )
    start = 0
    for name, size in sizes.items():
        target.update(dict.fromkeys(groups[start : start + size], name))
        start += size
    drawn: dict[str, list[Example]] = {name: [] for name in ("train", *missing)}
    for example in rows["train"]:
        drawn[target[example.group]].append(example)
    rows.update(drawn)
