"""Counts of texts that one split shares with another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.data.rows.example import Example

if TYPE_CHECKING:
    from harness.data.rows.splits import Splits
from harness.data.rows.overlap import (
    _SHOWN,
    _SHOWN_CHARACTERS,
    Side,
    as_examples,
    near,
    same_prompt,
    sharing_ngrams,
)


def overlap(splits: Splits, n: int, least: float) -> dict[str, Any]:
    """Count the overlap of every two sets of texts that should share none, as plain JSON.

    Each of ``pairs`` has ``of`` (held out), ``within``, the number of items of ``of``, how many of
    them overlap by each of OVERLAP_KINDS, and a few of the most similar texts. Nothing is dropped.
    """
    sides = {name: Side(examples, n) for name, examples in _sets(splits).items()}
    looked_at = [
        ("validation", "train"),
        ("test", "train"),
        ("test", "validation"),
        ("general", "train"),
        ("general", "replay"),
    ]
    pairs = [
        {"of": of, "within": within, **_counted(sides[of], sides[within], least)}
        for of, within in looked_at
        if sides[of].n_items and sides[within].n_items
    ]
    return {"ngram": n, "similarity": least, "pairs": pairs}


def _counted(side: Side, other: Side, least: float) -> dict[str, Any]:
    matches = near(side, other, least)
    closest = sorted(matches.values(), key=lambda match: (-match.similarity, match.item))
    return {
        "items": side.n_items,
        "prompt": len(same_prompt(side, other)),
        "near": len(matches),
        "ngram": len(sharing_ngrams(side, other)),
        "examples": [
            {
                "similarity": round(match.similarity, 4),
                "texts": [text[:_SHOWN_CHARACTERS] for text in match.texts],
            }
            for match in closest[:_SHOWN]
        ],
    }


def _sets(splits: Splits) -> dict[str, Sequence[Example]]:
    return {
        "train": splits.train,
        "validation": splits.validation,
        "test": splits.test,
        "general": as_examples(splits.general, splits.general_test),
        "replay": as_examples({"replay": splits.replay}),
    }
