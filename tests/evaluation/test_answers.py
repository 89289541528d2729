"""BLEU and chrF per sentence add up to sacrebleu's corpus scores."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu

from harness.evaluation.answers.answer_scores import answer_statistics
from harness.statistics.scores import aggregate

# The three sentences and two reference streams of sacrebleu's README.
SYSTEM = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]


def score(metric, texts, references, tokenize="13a"):
    statistics, signature = answer_statistics(metric, texts, references, tokenize)
    assert statistics.shape[0] == len(texts)
    return float(aggregate(f"test.{metric}", statistics)), signature


def streams(references):
    most = max(map(len, references))
    return [[refs[i] if i < len(refs) else None for refs in references] for i in range(most)]


def test_two_references_each():
    bleu, signature = score("bleu", SYSTEM, REFERENCES)
    assert bleu == pytest.approx(sacrebleu.corpus_bleu(SYSTEM, streams(REFERENCES)).score)
    assert signature.startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_different_numbers_of_references(metric):
    references = [REFERENCES[0], REFERENCES[1][:1], [*REFERENCES[2], SYSTEM[2] + " Twice."]]
    value, signature = score(metric, SYSTEM, references)
    whole = getattr(sacrebleu, f"corpus_{metric}")(SYSTEM, streams(references))
    assert value == pytest.approx(whole.score, rel=1e-9)
    assert "nrefs:var" in signature


def test_perfect_and_empty():
    assert score("bleu", ["the cat sat on the mat"], [["the cat sat on the mat"]])[0] == (
        pytest.approx(100.0)
    )
    assert score("bleu", ["the cat sat on mat"], [["the cat sat on the mat"]])[0] == (
        pytest.approx(57.893007, rel=1e-6)
    )
    assert score("bleu", ["", ""], [["a b c d"], ["e f g h"]])[0] == 0.0
    assert score("chrf", ["", ""], [["a b c d"], ["e f g h"]])[0] == 0.0


def test_japanese_needs_another_tokenizer():
    text, reference = ["猫がマットの上に座った"], [["猫がマットの上に座っている"]]
    assert score("bleu", text, reference, "char")[0] == pytest.approx(74.466974, rel=1e-6)
    assert score("bleu", text, reference, "13a")[0] == 0.0
    assert "tok:char" in score("bleu", text, reference, "char")[1]


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_any_resample_scores_as_sacrebleu_scores_it(metric):
    """Bootstrap resamples equal the score of the repeated sentences."""
    statistics, _ = answer_statistics(metric, SYSTEM, REFERENCES, "13a")
    rng = np.random.default_rng(0)
    for _ in range(10):
        drawn = rng.integers(0, 3, size=3)
        value = float(aggregate(f"test.{metric}", statistics[drawn]))
        texts = [SYSTEM[i] for i in drawn]
        whole = getattr(sacrebleu, f"corpus_{metric}")(
            texts, streams([REFERENCES[i] for i in drawn])
        )
        assert value == pytest.approx(whole.score, rel=1e-9)
