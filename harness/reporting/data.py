"""What was trained and measured on: how many texts, what is odd about them, where splits overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.reporting.load import Run
from harness.reporting.tables import Cell, Table

SETS = ("train", "validation", "test", "general_documents", "general_test_documents")
SIZES = (*SETS, "replay_documents", "train_prompts")
SERIOUS = 0.01  # share of a set beyond which a reader must know before acting
NAMES = {"prompt": "same prompt", "near": "near-duplicate"}


@dataclass(frozen=True)
class Data:
    """The texts of a sweep; where its trials had several, those of most trials."""

    counts: tuple[str, ...]
    overlap: Table
    closest: tuple[tuple[str, str, str], ...]  # which two sets and how similar; the two texts


def data(run: Run) -> Data:
    """Counts, overlap and examples of it, as far as the records have them."""
    provenance = _of_most(run)
    found, pairs = provenance.get("overlap") or {}, _pairs(run)
    return Data(
        counts=tuple(_counts(provenance.get("data") or {})),
        overlap=_table(pairs, found.get("ngram"), found.get("similarity")),
        closest=tuple(_closest(pairs)),
    )


def overlap_cautions(run: Run) -> list[str]:
    """Where a number says less than it seems to: more than 1 % of what it is of was trained on."""
    cautions = []
    for pair in _pairs(run):
        number, how = _how_many(pair)
        if number <= SERIOUS * pair["items"] or (pair["of"], pair["within"]) not in MEANS:
            continue
        what = "documents" if pair["of"] == "general" else "examples"
        cautions.append(
            f"{how} of the {pair['items']} {pair['of']} {what} {MEANS[pair['of'], pair['within']]}"
        )
    return cautions


def written_cautions(run: Run) -> list[str]:
    """What in the data, or in how prompts are written, is not what it may seem to be."""
    provenance = _of_most(run)
    tokens = (provenance.get("data") or {}).get("tokens") or {}
    hint = (provenance.get("written") or {}).get("hint")
    found = [str(hint)] if hint else []
    as_text = tokens.get("values_with_special_tokens_as_text")
    if as_text:
        found.append(
            f"{as_text:,} values of the training data hold the characters of a special token of this "
            "tokenizer; they were read as text, not as that token."
        )
    shortened = tokens.get("conversations_shortened")
    if shortened:
        found.append(
            f"{shortened:,} conversations of the training data were longer than data.max_length and "
            "lost their first turns."
        )
    return found


MEANS = {
    ("test", "train"): "are in the training data, or nearly so: what is remembered counts there as "
    "learned. data.drop_overlap=near leaves them out of train.",
    ("validation", "train"): "are in the training data, or nearly so: the search favours what "
    "remembers them. data.drop_overlap=near leaves them out of train.",
    ("general", "train"): "are in the training data, or nearly so: forgetting is understated. "
    "data.drop_overlap=near leaves them out of train.",
    ("general", "replay"): "are in data.replay, or nearly so: forgetting is understated.",
}


def _how_many(pair: Mapping[str, Any]) -> tuple[int, str]:
    """A prompt may be repeated with another answer, a text may be alike under another prompt."""
    if pair["of"] == "general":
        return pair["near"], str(pair["near"])
    number = max(pair["prompt"], pair["near"])
    return number, f"At least {number}"


def _of_most(run: Run) -> Mapping[str, Any]:
    """The provenance of a trial on the texts that most trials had."""
    known = [row.record.provenance for row in run.rows if row.record.provenance.get("data")]
    if not known:
        return {}
    prints = [str(of["data"].get("fingerprint")) for of in known]
    most = Counter(prints).most_common(1)[0][0]
    return known[prints.index(most)]


def _counts(counts: Mapping[str, Any]) -> Iterator[str]:
    sizes = {name: counts[name] for name in SETS if counts.get(name)}
    if sizes:
        texts = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in sizes.items())
        yield f"Texts: {texts}."
    odd = {n: v for n, v in counts.items() if isinstance(v, int) and v and n not in SIZES}
    if odd:
        yield "Counted: " + ", ".join(f"{n.replace('_', ' ')} {v:,}" for n, v in odd.items()) + "."


def _pairs(run: Run) -> list[Mapping[str, Any]]:
    """What is known of two sets; of replay text only where some trial looked back at it."""
    found = _of_most(run).get("overlap")
    pairs = found.get("pairs") if isinstance(found, Mapping) else None
    if not isinstance(pairs, list):
        return []
    switches = ("replay_share", "kl_weight", "ewc_weight")
    retention = [row.record.config.get("retention") or {} for row in run.rows]
    looks_back = any(of.get(switch) for of in retention for switch in switches)
    return [pair for pair in pairs if looks_back or pair["within"] != "replay"]


def _table(pairs: Sequence[Mapping[str, Any]], n: Any, least: Any) -> Table:
    """One row for each two sets of texts that should have nothing in common."""
    headers = ("Of", "also in", "Items", *NAMES.values(), f"shares {n} words in a row")
    rows = []
    for pair in pairs:
        numbers = [pair[kind] for kind in ("prompt", "near", "ngram")]
        cells = [Cell(str(pair["of"])), Cell(str(pair["within"])), _number(pair["items"])]
        rows.append((*cells, *map(_number, numbers)))
    note = (
        f"Near-duplicate: the runs of 5 characters of two texts (prompt and answer, lower case, words "
        f"alone) have a Jaccard similarity of at least {least}. Words in a row that are common in both "
        "sets, such as a template's, are not counted."
    )
    return Table(headers, tuple(rows), note if rows else "")


def _number(value: Any) -> Cell:
    return Cell(f"{value:,}" if isinstance(value, int) else str(value), "number")


def _closest(pairs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for pair in pairs:
        for example in pair.get("examples") or ():
            about = f"{pair['of']} and {pair['within']}, similarity {example['similarity']:.2f}"
            first, second = example["texts"]
            yield about, str(first), str(second)
