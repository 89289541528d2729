"""Overlap between splits, as counted in the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.language import phrase
from harness.reporting.evidence.folders.run_folder import SweepRecords

SERIOUS = 0.01  # share of a set above which the report shows a caution


NAMES = {"prompt": phrase("same prompt"), "near": phrase("near-duplicate")}


# Sentences on n items of a set that are also in another, for one and for several. 'At least', because
# two kinds of overlap are counted, which may be of different items.
MEANS = {
    ("test", "train"): (
        phrase(
            "At least {n} of the {items} test examples is in the training data, or nearly so: what is "
            "remembered counts there as learned. data.drop_overlap=near leaves them out of train."
        ),
        phrase(
            "At least {n} of the {items} test examples are in the training data, or nearly so: what is "
            "remembered counts there as learned. data.drop_overlap=near leaves them out of train."
        ),
    ),
    ("validation", "train"): (
        phrase(
            "At least {n} of the {items} validation examples is in the training data, or nearly so: "
            "the search favours what remembers them. data.drop_overlap=near leaves them out of train."
        ),
        phrase(
            "At least {n} of the {items} validation examples are in the training data, or nearly so: "
            "the search favours what remembers them. data.drop_overlap=near leaves them out of train."
        ),
    ),
    ("general", "train"): (
        phrase(
            "{n} of the {items} general documents is in the training data, or nearly so: forgetting "
            "is understated. data.drop_overlap=near leaves them out of train."
        ),
        phrase(
            "{n} of the {items} general documents are in the training data, or nearly so: forgetting "
            "is understated. data.drop_overlap=near leaves them out of train."
        ),
    ),
    ("general", "replay"): (
        phrase(
            "{n} of the {items} general documents is in data.replay, or nearly so: forgetting is "
            "understated."
        ),
        phrase(
            "{n} of the {items} general documents are in data.replay, or nearly so: forgetting is "
            "understated."
        ),
    ),
}


def how_many(pair: Mapping[str, Any]) -> int:
    """Return the number of overlapping items, of two kinds the larger."""
    return pair["near"] if pair["of"] == "general" else max(pair["prompt"], pair["near"])


def provenance_of_most(run: SweepRecords) -> Mapping[str, Any]:
    """Return the provenance of one trial on the data version that most trials used."""
    known = [row.record.provenance for row in run.rows if row.record.provenance.get("data")]
    if not known:
        return {}
    prints = [str(of["data"].get("fingerprint")) for of in known]
    most = Counter(prints).most_common(1)[0][0]
    return known[prints.index(most)]


def overlap_pairs(run: SweepRecords) -> list[Mapping[str, Any]]:
    """Return the overlap counts of pairs of sets. Includes replay text only if a trial used it."""
    found = provenance_of_most(run).get("overlap")
    pairs = found.get("pairs") if isinstance(found, Mapping) else None
    if not isinstance(pairs, list):
        return []
    switches = ("replay_share", "kl_weight", "ewc_weight")
    retention = [row.record.config.get("retention") or {} for row in run.rows]
    looks_back = any(of.get(switch) for of in retention for switch in switches)
    return [pair for pair in pairs if looks_back or pair["within"] != "replay"]
