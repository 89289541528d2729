"""Exact match, token F1 and ROUGE: SQuAD's published script, rouge_score, and what they get wrong."""

from __future__ import annotations

import re
import string
from collections import Counter

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from harness.errors import InputError
from harness.evaluation.answers.answer_scores import answer_statistics
from harness.evaluation.answers.tokenizers import check_tokenizer
from harness.evaluation.sight import look
from harness.statistics.scores import aggregate

TEXTS = [
    "The Eiffel Tower!",
    "in the year 1889",
    "an old, old mill",
    "It's Paris, France.",
    "",
    "a cat and a dog and a cat",
]
REFERENCES = [
    ["eiffel tower", "Eiffel's tower"],
    ["1889"],
    ["the mill", "old mill by the river"],
    ["Paris"],
    ["nothing"],
    ["cat dog", "The cat, the dog and the other cat"],
]


def squad(prediction: str, truth: str) -> tuple[float, float]:
    """(F1, exact match) as the evaluate-v1.1.py that came with the data set computes them."""

    def normalize(s):
        s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())

    said, true = normalize(prediction).split(), normalize(truth).split()
    exact = float(normalize(prediction) == normalize(truth))
    same = sum((Counter(said) & Counter(true)).values())
    if same == 0:
        return 0.0, exact
    precision, recall = same / len(said), same / len(true)
    return 2 * precision * recall / (precision + recall), exact


def score(metric, texts, references):
    statistics, signature = answer_statistics(metric, texts, references, "13a")
    assert statistics.shape == (len(texts), 1)
    return float(aggregate(f"test.{metric}", statistics)), statistics[:, 0], signature


def test_exact_match_and_token_f1_are_squads():
    pairs = list(zip(TEXTS, REFERENCES, strict=True))
    best = [[max(squad(text, ref)[k] for ref in refs) for text, refs in pairs] for k in (0, 1)]
    f1, each, _ = score("token_f1", TEXTS, REFERENCES)
    assert each == pytest.approx(best[0])
    assert f1 == pytest.approx(100 * np.mean(best[0]))
    exact, each, signature = score("exact_match", TEXTS, REFERENCES)
    assert each.tolist() == best[1] == [1, 0, 0, 0, 0, 0]
    assert exact == pytest.approx(100 / 6)
    assert "lower case, no punctuation, no a/an/the" in signature


def test_token_f1_of_japanese_is_by_character():
    f1, _, signature = score(
        "token_f1", ["猫がマットの上に座った。"], [["猫がマットの上に座っている"]]
    )
    assert f1 == pytest.approx(100 * 2 * 10 / (11 + 13))
    assert "by character" in signature


@pytest.mark.parametrize("metric", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_that_of_rouge_score(metric):
    scorer = RougeScorer([metric])
    best = [
        max(scorer.score(ref, text)[metric].fmeasure for ref in refs)
        for text, refs in zip(TEXTS, REFERENCES, strict=True)
    ]
    value, each, signature = score(metric, TEXTS, REFERENCES)
    assert each == pytest.approx(best)
    assert value == pytest.approx(100 * np.mean(best))
    assert "tok:rouge_score" in signature


@pytest.mark.parametrize(
    ("text", "reference", "f1"),
    [("猫が座った", "猫が座る", 2 * 3 / 9), ("старая мельница", "старая река", 0.5)],
)
def test_rouge_of_other_scripts_is_not_silently_0(text, reference, f1):
    assert RougeScorer(["rouge1"]).score(reference, text)["rouge1"].fmeasure == 0
    value, _, signature = score("rouge1", [text], [[reference]])
    assert value == pytest.approx(100 * f1)
    assert "unicode words" in signature


@pytest.mark.parametrize("tokenize", ["13a", "intl", "none"])
def test_o38_japanese_by_spaces_is_refused(tokenize):
    """A sentence would be one word: 0 for every answer but the reference itself."""
    text, reference = ["猫がマットの上に座った"], [["猫がマットの上に座っている"]]
    assert aggregate("test.bleu", answer_statistics("bleu", text, reference, tokenize)[0]) == 0
    why = look("bleu", reference, tokenize).why
    assert why is not None
    assert re.search(r"written without spaces.*tokenize=char .*ja-mecab", why)
    assert look("bleu", reference, "char").why is None
    assert look("bleu", reference, "zh").why is None


def test_what_has_spaces_is_not_refused():
    assert look("bleu", [["The mill stands by the river (水車)."]], "13a").why is None
    assert look("bleu", [["고양이가 매트 위에 앉아 있다"]], "13a").why is None
    assert "four words" in str(
        look("bleu", [["1984"]], "13a").why
    )  # blind as well, not by its script


@pytest.mark.parametrize(
    ("tokenize", "module", "instead"),
    [("ja-mecab", "MeCab", "char"), ("flores200", "sentencepiece", "intl or char")],
)
def test_a_tokenizer_that_is_not_installed_is_named(monkeypatch, tokenize, module, instead):
    import harness.evaluation.answers.tokenizers as tokenizers

    monkeypatch.setattr(tokenizers, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"needs {module}.*Without it: {instead}"):
        check_tokenizer(tokenize)
