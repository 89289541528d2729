"""Corpus scores equal those that the sacrebleu command line prints for the same files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import harness.builtin
from harness.evaluation.answers.answer_scores import answer_statistics
from harness.statistics.scores import aggregate

JAPANESE = ["水車小屋は川のそばにある。", "猫がマットの上に座っている", "先生は古い地図を読んだ。"]
CHINESE = ["磨坊在河邊。", "猫坐在垫子上", "老师读了一张旧地图。"]


@pytest.fixture(scope="module")
def english():
    """Answers that are right, cut short or another example's, and two references each."""
    folder = Path(harness.builtin.__file__).parent / "assets" / "data"
    rows = [json.loads(line) for line in (folder / "task_test.jsonl").read_text().splitlines()]
    references = [row["references"][:2] for row in rows if len(row["references"]) > 1][:40]
    spoilt = [
        refs[-1] if i % 3 == 0 else refs[0][: 9 + i] if i % 3 == 1 else references[i - 1][0]
        for i, refs in enumerate(references)
    ]
    return spoilt, references


def command_line(folder, texts, references, *options):
    """Return the program's output as one number per metric."""
    for name, lines in (
        ("system", texts),
        *((f"reference{i}", [refs[i] for refs in references]) for i in range(len(references[0]))),
    ):
        (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    files = [f"reference{i}" for i in range(len(references[0]))]
    done = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *files, "-i", "system", "-w", "9", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return found if isinstance(found, list) else [found]


def ours(metric, texts, references, tokenize="13a"):
    statistics, signature = answer_statistics(metric, texts, references, tokenize)
    return float(aggregate(f"test.{metric}", statistics)), signature


@pytest.mark.parametrize("tokenize", ["13a", "intl", "char", "zh", "none"])
def test_bleu_by_every_tokenizer(tmp_path, english, tokenize):
    texts, references = english
    texts, references = [*texts, *CHINESE[1:]], [*references, *([t, t[:-2]] for t in CHINESE[:-1])]
    (printed,) = command_line(tmp_path, texts, references, "-m", "bleu", "-tok", tokenize)
    value, signature = ours("bleu", texts, references, tokenize)
    assert value == pytest.approx(printed["score"], abs=1e-8)
    assert 5 < value < 95
    assert signature == printed["signature"]


def test_chrf_chrf_with_words_and_ter(tmp_path, english):
    texts, references = english
    both = command_line(
        tmp_path, texts, references, *("-m", "chrf", "ter", "--chrf-word-order", "2")
    )
    plain = command_line(tmp_path, texts, references, "-m", "chrf")
    for metric, printed in zip(["chrf++", "ter", "chrf"], [*both, *plain], strict=True):
        value, signature = ours(metric, texts, references)
        assert value == pytest.approx(printed["score"], abs=1e-8), metric
        assert signature == printed["signature"]
        assert 5 < value < 95


def test_ter_of_japanese_counts_characters(tmp_path):
    texts, references = [JAPANESE[0], "猫がマットに座る", ""], [[text] for text in JAPANESE]
    options = ("-m", "ter", "--ter-normalized", "--ter-asian-support")
    (printed,) = command_line(tmp_path, texts, references, *options)
    value, signature = ours("ter", texts, references)
    assert value == pytest.approx(printed["score"], abs=1e-8)
    assert "norm:yes" in signature
    assert value < 75  # by words, two of three sentences would be wrong as a whole
