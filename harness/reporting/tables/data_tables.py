"""Data tables: number of texts, irregularities in them, and overlap between splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.language import phrase, say, say_each
from harness.reporting.evidence.folders.run_folder import SweepRecords
from harness.reporting.evidence.overlap_counts import (
    NAMES,
    overlap_pairs,
    provenance_of_most,
)
from harness.reporting.table import Cell, Table

# Sets of texts, as the records name them.
SETS = {
    "train": phrase("train"),
    "validation": phrase("validation"),
    "test": phrase("test"),
    "general_documents": phrase("general documents"),
    "general_test_documents": phrase("general test documents"),
}
# Irregularities, each counted for one of the sets.
COUNTED = (
    phrase("rows without answer"),
    phrase("duplicate rows"),
    phrase("duplicate rows dropped"),
    phrase("rows dropped for overlap"),
    phrase("left out by limit"),
    phrase("turns not learned"),
    phrase("garbled rows"),
    phrase("answers that say none rows"),
    phrase("empty lines"),
    phrase("crlf line ends"),
    phrase("byte order marks"),
    phrase("documents left out by limit"),
    phrase("test documents left out by limit"),
    phrase("documents dealt from general"),
)
SIZES = (*SETS, "replay_documents", "train_prompts")


@dataclass(frozen=True)
class Data:
    """Data of a sweep. If trials had different data, those of most trials."""

    counts: tuple[str, ...]
    overlap: Table
    closest: tuple[
        tuple[str, str, str], ...
    ]  # the two sets and their similarity, then the two texts


def data(run: SweepRecords) -> Data:
    """Return counts, overlap and examples of overlap, as far as the records have them."""
    provenance = provenance_of_most(run)
    found, pairs = provenance.get("overlap") or {}, overlap_pairs(run)
    return Data(
        counts=tuple(_counts(provenance.get("data") or {})),
        overlap=_table(pairs, found.get("ngram"), found.get("similarity")),
        closest=tuple(_closest(pairs)),
    )


def _counts(counts: Mapping[str, Any]) -> Iterator[str]:
    sizes = {name: counts[name] for name in SETS if counts.get(name)}
    if sizes:
        texts = say(", ").join(f"{say(SETS[name])} {n:,}" for name, n in sizes.items())
        yield say("Texts: {texts}.", texts=texts)
    odd = {n: v for n, v in counts.items() if isinstance(v, int) and v and n not in SIZES}
    if odd:
        listed = say(", ").join(f"{_counted(name)} {n:,}" for name, n in odd.items())
        yield say("Counted: {listed}.", listed=listed)


def _counted(name: str) -> str:
    """Return the words for a count of the records: 'train rows without answer'."""
    of, _, what = name.replace("_", " ").partition(" ")
    return f"{say(of)} {say(what)}".strip()


def _table(pairs: Sequence[Mapping[str, Any]], n: Any, least: Any) -> Table:
    """Build one row for every two sets of texts that should share none."""
    headers = (
        *say_each("Of", "also in", "Items"),
        *say_each(*NAMES.values()),
        say("shares {n} words in a row", n=n),
    )
    rows = []
    for pair in pairs:
        numbers = [pair[kind] for kind in ("prompt", "near", "ngram")]
        sets = [Cell(say(str(pair[end]))) for end in ("of", "within")]
        cells = [*sets, _number(pair["items"])]
        rows.append((*cells, *map(_number, numbers)))
    note = say(
        "Near-duplicate: the 5-character runs of two texts (prompt and answer, lower "
        "case, words only) have a Jaccard similarity of at least {least}. Word "
        "sequences common in both sets, such as those of a template, are not counted.",
        least=least,
    )
    return Table(headers, tuple(rows), note if rows else "")


def _number(value: Any) -> Cell:
    return Cell(f"{value:,}" if isinstance(value, int) else str(value), "number")


def _closest(pairs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for pair in pairs:
        for example in pair.get("examples") or ():
            about = say(
                "{of} and {within}, similarity {similarity:.2f}",
                of=say(str(pair["of"])),
                within=say(str(pair["within"])),
                similarity=example["similarity"],
            )
            first, second = example["texts"]
            yield about, str(first), str(second)
