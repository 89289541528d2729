"""Removal of scores that were measured in another way than most, and so cannot be compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.language import say
from harness.records import Measurement
from harness.reporting.evidence.folders.run_folder import FinishedTrial

# Parts of a signature that may differ between comparable values:
# the worst domain may be another one for each model,
_WORST = re.compile(r"\|domain:[^|]*\(the worst of \d+\)")
# the derived answer length depends on the tokenizer, but follows the same rule,
_AS_LONG_AS_REFERENCES = re.compile(r"\|max_new_tokens:auto\(\d+\)")
# the floor of a classifier has no class head,
_HEAD = re.compile(r"\|head:[^|]*")
# and chat models are asked in their template, which the table of knowledge shows.
_ASKED = re.compile(r"\|form:(completion|chat|completion\+chat)(?=\|)")


def comparable(rows: Sequence[FinishedTrial]) -> tuple[list[FinishedTrial], list[str]]:
    """Keep for each measurement only its most frequent signature; also return remarks on the rest."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        for name, measured in row.record.measurements.items():
            found.setdefault(name, Counter())[how_measured(measured)] += 1
    ruling = {name: ways.most_common(1)[0][0] for name, ways in found.items()}
    remarks = []
    for name, ways in found.items():
        if len(ways) > 1:
            others = ways.total() - ways[ruling[name]]
            remarks.append(
                say(
                    "{name} was measured in {n} different ways, which may not be compared: its "
                    "value is left out where it was measured in another way than in most trials "
                    "({others} of {trials}). Most: {ruling}. Others: {rest}.",
                    name=name,
                    n=len(ways),
                    others=others,
                    trials=ways.total(),
                    ruling=ruling[name],
                    rest="; ".join(way for way in ways if way != ruling[name]),
                )
            )
    return [_kept(row, ruling) for row in rows] if remarks else list(rows), remarks


def same_way(one: Measurement, other: Measurement) -> bool:
    """Return True if two values may be compared."""
    return how_measured(one) == how_measured(other)


def how_measured(measured: Measurement) -> str:
    """Return the signature without the parts that may differ between comparable values."""
    how = _AS_LONG_AS_REFERENCES.sub("|max_new_tokens:auto", measured.signature)
    return _HEAD.sub("", _ASKED.sub("", _WORST.sub("|domain:the worst", how)))


def _kept(row: FinishedTrial, ruling: dict[str, str]) -> FinishedTrial:
    record = row.record
    kept = {n: m for n, m in record.measurements.items() if how_measured(m) == ruling[n]}
    # A base value is kept only if it was measured like the trials.
    base = {n: m for n, m in record.base.items() if n not in ruling or how_measured(m) == ruling[n]}
    return replace(row, record=replace(record, measurements=kept, base=base))
