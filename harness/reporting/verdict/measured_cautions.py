"""Cautions about what scores were measured on: truncated answers, text like that trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.statistics.measurements.names import DRIFT_KL, FORGETTING

LOOK_BACK = ("replay_share", "kl_weight", "ewc_weight")  # options that train on data.replay
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


def retention_cautions(candidates: CandidateSet) -> list[str]:
    """Return a caution for each way in which training held down the very measurement that is judged.

    Replay text never holds a document of the general text, see ``data/rows/general.py``. If both come
    from one source, the general text still tells what is kept of that source alone.
    """
    judged = candidates.forgetting
    if judged is None:
        return []
    same_source: dict[str, list[str]] = {}  # method -> options that are on
    on_task = []
    for candidate in candidates.members:
        config = candidate.rows[0].record.config if candidate.rows else {}
        active = _active(config)
        data = config.get("data") or {}
        own_kl = config.get("retention", {}).get("kl_on") == "target" and "kl_weight" in active
        if own_kl and judged == DRIFT_KL:
            on_task.append(candidate.method)
        used = [name for name in active if not (own_kl and name == "kl_weight")]
        replay = data.get("replay")
        if used and judged.startswith(FORGETTING) and replay and replay == data.get("general"):
            same_source[candidate.method] = [f"retention.{name}" for name in used]
    found = []
    if same_source:
        options = dict.fromkeys(name for names in same_source.values() for name in names)
        found.append(
            f"{', '.join(same_source)}: {', '.join(options)} trained on documents of the source that "
            f"{f.title(judged)} is measured on (data.replay is data.general). The documents are "
            "others, but of the same kind: it shows what is kept of that kind of text, and says less "
            "about the rest of what the base could do. Measure another kind too, as a domain of "
            "data.general."
        )
    if on_task:
        found.append(
            f"{', '.join(dict.fromkeys(on_task))}: retention.kl_weight with kl_on=target keeps down "
            f"{f.title(judged)} itself, on the training examples. Judge it by another measurement, "
            "such as forgetting.kl on general text."
        )
    return found


def _active(config: Mapping[str, Any]) -> list[str]:
    retention = config.get("retention") or {}
    return [name for name in LOOK_BACK if retention.get(name)]
