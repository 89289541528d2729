"""Scores that were measured in another way than the rest are left out: they must not be compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.records import Measurement
from harness.reporting.evidence.folders.run_folder import FinishedTrial

_WORST = re.compile(r"\|domain:[^|]*\(the worst of \d+\)")  # of each its own: that is the point

# Of each tokenizer its own: what is the same is how it was found.
_AS_LONG_AS_REFERENCES = re.compile(r"\|max_new_tokens:auto\(\d+\)")

# A chat model is asked in its template, a base is not; the table of what they know says which.
_ASKED = re.compile(r"\|form:(completion|chat|completion\+chat)(?=\|)")


def comparable(rows: Sequence[FinishedTrial]) -> tuple[list[FinishedTrial], list[str]]:
    """The rows with one signature a measurement, that of most of them, and what was left out."""
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
                f"{name} was measured in {len(ways)} different ways, which may not be compared: its "
                f"value is left out where it was measured in another way than in most trials "
                f"({others} of {ways.total()}). Most: {ruling[name]}. Others: "
                f"{'; '.join(way for way in ways if way != ruling[name])}."
            )
    return [_kept(row, ruling) for row in rows] if remarks else list(rows), remarks


def same_way(one: Measurement, other: Measurement) -> bool:
    """Return True if two values may be compared."""
    return how_measured(one) == how_measured(other)


def how_measured(measured: Measurement) -> str:
    """The signature without what may differ between values that can be compared."""
    how = _AS_LONG_AS_REFERENCES.sub("|max_new_tokens:auto", measured.signature)
    return _ASKED.sub("", _WORST.sub("|domain:the worst", how))


def _kept(row: FinishedTrial, ruling: dict[str, str]) -> FinishedTrial:
    record = row.record
    kept = {n: m for n, m in record.measurements.items() if how_measured(m) == ruling[n]}
    # The base is measured as its trial is: one that is not says nothing about it.
    base = {n: m for n, m in record.base.items() if n not in ruling or how_measured(m) == ruling[n]}
    return replace(row, record=replace(record, measurements=kept, base=base))
