"""TREC's questions as they are distributed, into the files that a sweep reads.

    python -m bench.trec FOLDER OUTPUT

FOLDER has train_5500.label and TREC_10.label (Li & Roth 2002): a line `ABBR:exp What is ... ?` each, in
Latin-1. OUTPUT gets train.jsonl and test.jsonl: {"text": "What is ... ?", "label": "ABBR"}, the six
coarse classes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

FILES = {"train": "train_5500.label", "test": "TREC_10.label"}


def questions(path: Path) -> list[dict[str, str]]:
    """Return a `{"text", "label"}` mapping per line."""
    rows = []
    for line in path.read_text(encoding="latin-1").splitlines():
        classes, _, text = line.partition(" ")
        rows.append({"text": text.strip(), "label": classes.partition(":")[0]})
    return rows


def convert(folder: Path, output: Path) -> dict[str, int]:
    """Write both files; how many questions each has."""
    output.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, name in FILES.items():
        rows = questions(folder / name)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (output / f"{split}.jsonl").write_text(text, encoding="utf-8")
        counts[split] = len(rows)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    counts = convert(arguments.folder, arguments.output)
    print(", ".join(f"{n:,} {split}" for split, n in counts.items()), f"in {arguments.output}")


if __name__ == "__main__":
    main()
