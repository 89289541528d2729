"""Cautions about what scores were measured on: truncated answers, texts like those trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.language import counted, say
from harness.reporting import formatting as f
from harness.reporting.evidence.candidates import Candidate, CandidateSet
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.evidence.overlap_counts import (
    MEANS,
    SERIOUS,
    how_many,
    overlap_pairs,
    provenance_of_most,
)
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
            at = (
                say(" at {tokens} tokens (evaluation.max_new_tokens)", tokens=length["tokens"])
                if length
                else ""
            )
            found.append(
                say(
                    "{label}: {value:.0f} % of the answers were cut{at} before the model had ended "
                    "them. The scores are those of the truncated answers.",
                    label=candidate.label,
                    value=cut.value,
                    at=at,
                )
            )
    if shortened:
        found.append(
            counted(
                shortened,
                "1 prompt was shortened to leave room for an answer within data.max_length.",
                "{n:,} prompts were shortened to leave room for an answer within data.max_length.",
            )
        )
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
            say(
                "{methods}: {options} trained on documents of the source that {judged} is "
                "measured on (data.replay is data.general). The documents are others, but of "
                "the same kind: it shows what is kept of that kind of text, and says less "
                "about the rest of what the base could do. Measure another kind too, as a "
                "domain of data.general.",
                methods=", ".join(same_source),
                options=", ".join(options),
                judged=f.title(judged),
            )
        )
    if on_task:
        found.append(
            say(
                "{methods}: retention.kl_weight with kl_on=target keeps down {judged} itself, "
                "on the training examples. Judge it by another measurement, such as "
                "forgetting.kl on general text.",
                methods=", ".join(dict.fromkeys(on_task)),
                judged=f.title(judged),
            )
        )
    return found


def _active(config: Mapping[str, Any]) -> list[str]:
    retention = config.get("retention") or {}
    return [name for name in LOOK_BACK if retention.get(name)]


def overlap_cautions(run: SweepRecords) -> list[str]:
    """Return a caution for each number with more than 1 % of its items in the training data."""
    cautions = []
    for pair in overlap_pairs(run):
        number, sets = how_many(pair), (pair["of"], pair["within"])
        if number > SERIOUS * pair["items"] and sets in MEANS:
            cautions.append(counted(number, *MEANS[sets], items=pair["items"]))
    return cautions


def written_cautions(run: SweepRecords) -> list[str]:
    """Return cautions about unexpected content of the data or form of the prompts."""
    provenance = provenance_of_most(run)
    tokens = (provenance.get("data") or {}).get("tokens") or {}
    hint = (provenance.get("written") or {}).get("hint")
    found = [str(hint)] if hint else []
    as_text = tokens.get("values_with_special_tokens_as_text")
    if as_text:
        found.append(
            say(
                "{as_text:,} values of the training data contain the text of a special token "
                "of this tokenizer. They were read as text, not as that token.",
                as_text=as_text,
            )
        )
    shortened = tokens.get("conversations_shortened")
    if shortened:
        found.append(
            say(
                "{shortened:,} conversations of the training data were longer than "
                "data.max_length and lost their first turns.",
                shortened=shortened,
            )
        )
    return found
