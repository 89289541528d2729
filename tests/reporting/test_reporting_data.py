"""The data section: counts and overlap as the records have them, and what a reader is warned of."""

from __future__ import annotations

import json
import shutil

import pytest

from harness.reporting import build_report
from harness.reporting.evidence.folders.run_folder import load_run
from harness.reporting.verdict.cautions import overlap_cautions

KINDS = ("items", "prompt", "near", "ngram")


def pair(of, within, *counts, examples=()):
    return {"of": of, "within": within, **dict(zip(KINDS, counts, strict=True))} | {
        "examples": list(examples)
    }


@pytest.fixture
def reported(sweep_folder, tmp_path_factory):
    """`reported(pairs)`: the page and the Markdown of a sweep with that overlap."""

    def report(pairs):
        folder = tmp_path_factory.mktemp("runs") / "demo"
        shutil.copytree(sweep_folder, folder)
        for path in folder.glob("trials/*/*/record.json"):
            record = json.loads(path.read_text())
            record["provenance"]["overlap"] = {"ngram": 13, "similarity": 0.8, "pairs": pairs}
            record["provenance"]["data"] |= {"train": 1234, "train_duplicate_rows": 56}
            record["config"]["retention"] = {"replay_share": 0.0}
            path.write_text(json.dumps(record))
        out = build_report(folder, tmp_path_factory.mktemp("reports"))
        return (out / "index.html").read_text(), (out / "report.md").read_text()

    return report


def test_counts_and_the_table(reported):
    alike = {"similarity": 0.9, "texts": ["<script>alert(1)</script>", "a text & another"]}
    pairs = [pair("test", "train", 200, 0, 2, 7, examples=[alike])]
    page, markdown = reported([*pairs, pair("general", "replay", 240, 0, 99, 73)])
    assert "train 1,234" in page
    assert "train duplicate rows 56" in page
    assert "| test | train | 200 | 0 | 2 | 7 |" in markdown
    assert "shares 13 words in a row" in page
    assert "test and train, similarity 0.90" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page
    assert "replay" not in markdown  # nothing was trained on it
    assert "or nearly so" not in page  # 2 of 200 is no more than 1 %


@pytest.mark.parametrize(
    ("of", "within", "counts", "said"),
    [
        (
            "test",
            "train",
            (200, 1, 3, 0),
            "At least 3 of the 200 test examples are in the training",
        ),
        ("test", "train", (50, 2, 0, 0), "At least 2 of the 50 test examples are in the training"),
        ("validation", "train", (10, 0, 1, 0), "the search favours what remembers them"),
        ("general", "train", (10, 5, 1, 0), "1 of the 10 general documents is in the training"),
        ("general", "train", (10, 5, 0, 9), None),
        ("test", "train", (200, 0, 0, 200), None),  # a phrase is no copy
        ("test", "validation", (10, 9, 9, 9), None),  # in the table alone
        ("general", "replay", (10, 0, 2, 0), "are in data.replay, or nearly so"),
    ],
)
def test_a_reader_is_warned_of_what_was_trained_on(sweep_folder, of, within, counts, said):
    run = load_run(sweep_folder)
    for row in run.rows:
        row.record.provenance["overlap"] = {"pairs": [pair(of, within, *counts)]}
        row.record.config["retention"] = {"replay_share": 0.25}
    cautions = overlap_cautions(run)
    assert len(cautions) == (said is not None)
    assert said is None or said in cautions[0]


def test_records_without_it_are_reported_as_before(report_folder):
    page = (report_folder / "index.html").read_text()
    assert "Texts that are in two sets" not in page
