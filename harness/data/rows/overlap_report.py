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
    Comparison,
    Side,
    as_examples,
    parts,
)
from harness.records import heartbeat


def overlap(splits: Splits, n: int, least: float) -> dict[str, Any]:
    """Count the overlap of every two sets of texts that should share none, as plain JSON.

    Each of ``pairs`` has ``of`` (held out), ``within``, the number of items of ``of``, how many of
    them overlap by each of OVERLAP_KINDS, and a few of the most similar texts. Nothing is dropped.
    """
    sets = _sets(splits)
    held_out = {name: Side(sets[name], n) for name in ("validation", "test", "general")}
    looked_at = [
        ("validation", "train"),
        ("test", "train"),
        ("test", "validation"),
        ("general", "train"),
        ("general", "replay"),
    ]
    found = {
        (of, within): Comparison(held_out[of], least)
        for of, within in looked_at
        if sets[of] and sets[within]
    }
    for name, examples in sets.items():
        comparisons = [each for (_, within), each in found.items() if within == name]
        for part in parts(examples, n) if comparisons else ():
            for each in comparisons:
                each.look(part)
            heartbeat.mark()
    pairs = [{"of": of, "within": within, **_counted(each)} for (of, within), each in found.items()]
    return {"ngram": n, "similarity": least, "pairs": pairs}


def _counted(found: Comparison) -> dict[str, Any]:
    closest = sorted(found.near.values(), key=lambda match: (-match.similarity, match.item))
    return {
        "items": found.side.n_items,
        "prompt": len(found.prompt),
        "near": len(found.near),
        "ngram": len(found.ngram),
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
