"""Cautions about truncated answers, and about prompts truncated to make room for answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.reporting.evidence.candidates import Candidate, CandidateSet

FEW = 1.0  # percent of answers that may be cut without a caution


def answer_cautions(candidates: CandidateSet) -> list[str]:
    """Return a caution for each candidate with truncated answers, and one for truncated prompts."""
    split = "test" if candidates.confirmed else "validation"
    found, shortened = [], 0
    for candidate in candidates.members:
        cut = candidate.estimates.get(f"{split}.unfinished")
        length = _answer_length(candidate)
        shortened = max(shortened, int(length.get("prompts_cut", 0)))
        if cut is not None and cut.value > FEW:
            at = f" at {length['tokens']} tokens (evaluation.max_new_tokens)" if length else ""
            found.append(
                f"{candidate.label}: {cut.value:.0f} % of the answers were cut{at} before the model "
                "had ended them. The scores are those of the truncated answers."
            )
    if shortened:
        were = "1 prompt was" if shortened == 1 else f"{shortened:,} prompts were"
        found.append(f"{were} shortened to leave room for an answer within data.max_length.")
    return found


def _answer_length(candidate: Candidate) -> Mapping[str, Any]:
    """Return the recorded largest length of answers, and the number of shortened prompts."""
    for row in candidate.rows:
        recorded = row.record.provenance.get("answers")
        if isinstance(recorded, dict) and "tokens" in recorded:
            return recorded
    return {}
