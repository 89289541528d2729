"""Cautions about truncated answers, and about prompts truncated to make room for answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.reporting.evidence.candidates import Candidate, CandidateSet

FEW = 1.0  # percent of answers that may be cut without a word


def answer_cautions(candidates: CandidateSet) -> list[str]:
    """A sentence for each candidate whose answers were cut, and one for prompts that were."""
    split = "test" if candidates.confirmed else "validation"
    found, shortened = [], 0
    for candidate in candidates.members:
        cut = candidate.estimates.get(f"{split}.unfinished")
        about = _about(candidate)
        shortened = max(shortened, int(about.get("prompts_cut", 0)))
        if cut is not None and cut.value > FEW:
            at = f" at {about['tokens']} tokens (evaluation.max_new_tokens)" if about else ""
            found.append(
                f"{candidate.label}: {cut.value:.0f} % of the answers were cut{at} before the model "
                "had ended them: scores of answers are of what was said until then."
            )
    if shortened:
        were = "1 prompt was" if shortened == 1 else f"{shortened:,} prompts were"
        found.append(
            f"{were} shortened to leave room for an answer within data.max_length, and answered so."
        )
    return found


def _about(candidate: Candidate) -> Mapping[str, Any]:
    """Return the answer-length facts in the record of a candidate's trial."""
    for row in candidate.rows:
        about = row.record.provenance.get("answers")
        if isinstance(about, dict) and "tokens" in about:
            return about
    return {}
