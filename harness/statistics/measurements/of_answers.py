"""Definitions of the scores of generated answers.

An entry with a ``scorer`` is a metric that users can configure, under its key.
"""

from __future__ import annotations

import math

from harness.statistics.measurements import formulas
from harness.statistics.measurements.definition import MetricDefinition

ANSWER_METRICS: dict[str, MetricDefinition] = {
    "bleu": MetricDefinition(
        title="BLEU",
        unit="BLEU points",
        direction="maximize",
        span=(0, 100),
        score=formulas.bleu,
        columns=(10,),
        counted=False,
        decimals=1,
        definition="BLEU, 0 to 100, of the whole corpus (sacrebleu; not a mean over sentences).",
        margin=1.0,
        blind_below=5.0,
        scorer="corpus",
    ),
    "chrf": MetricDefinition(
        title="chrF",
        unit="chrF points",
        direction="maximize",
        span=(0, 100),
        score=formulas.chrf,
        columns=(18, 24),
        counted=False,
        decimals=1,
        definition="chrF, 0 to 100, character n-grams of the whole corpus (sacrebleu).",
        margin=1.0,
        blind_below=10.0,
        scorer="corpus",
    ),
    "chrf++": MetricDefinition(
        title="chrF++",
        unit="chrF points",
        direction="maximize",
        span=(0, 100),
        score=formulas.chrf,
        columns=(24,),
        counted=False,
        decimals=1,
        definition="chrF++, 0 to 100: chrF with n-grams of one and two words added (sacrebleu).",
        margin=1.0,
        blind_below=10.0,
        scorer="corpus",
    ),
    "ter": MetricDefinition(
        title="TER",
        unit="TER, percent",
        direction="minimize",
        span=(0, math.inf),
        score=formulas.ter,
        columns=(2,),
        counted=False,
        decimals=1,
        definition="TER: edits needed to reach a reference, in percent of its words; lower is better, "
        "and it may exceed 100 (sacrebleu).",
        margin=1.0,
        scorer="corpus",
    ),
    "exact_match": MetricDefinition(
        title="exact match, %",
        unit="percent of answers",
        direction="maximize",
        span=(0, 100),
        score=formulas.percent,
        decimals=1,
        definition="Exact match: percent of answers that equal a reference after the normalization "
        "that the signature names.",
        margin=1.0,
        blind_below=1.0,
        scorer="matching",
    ),
    "token_f1": MetricDefinition(
        title="token F1",
        unit="percent",
        direction="maximize",
        span=(0, 100),
        score=formulas.percent,
        decimals=1,
        definition="Token F1, 0 to 100: mean over answers of the best F1 of shared words with a "
        "reference, as in SQuAD; Chinese, Japanese and Korean by character.",
        margin=1.0,
        blind_below=5.0,
        scorer="matching",
    ),
    "rouge1": MetricDefinition(
        title="ROUGE-1",
        unit="ROUGE points",
        direction="maximize",
        span=(0, 100),
        score=formulas.percent,
        decimals=1,
        definition="ROUGE-1, 0 to 100: mean over answers of the best F1 of shared words.",
        margin=1.0,
        blind_below=5.0,
        scorer="rouge",
    ),
    "rouge2": MetricDefinition(
        title="ROUGE-2",
        unit="ROUGE points",
        direction="maximize",
        span=(0, 100),
        score=formulas.percent,
        decimals=1,
        definition="ROUGE-2, 0 to 100: mean over answers of the best F1 of shared pairs of words.",
        margin=1.0,
        blind_below=2.0,
        scorer="rouge",
    ),
    "rougeL": MetricDefinition(
        title="ROUGE-L",
        unit="ROUGE points",
        direction="maximize",
        span=(0, 100),
        score=formulas.percent,
        decimals=1,
        definition="ROUGE-L, 0 to 100: mean over answers of the best F1 of the longest common "
        "subsequence of words.",
        margin=1.0,
        blind_below=5.0,
        scorer="rouge",
    ),
    "unfinished": MetricDefinition(
        title="unfinished answers, %",
        unit="percent of answers",
        direction="minimize",
        span=(0, 100),
        score=formulas.percent,
        decimals=1,
        definition="Unfinished answers: percent of answers that were cut at evaluation.max_new_tokens "
        "before the model had ended them.",
    ),
    "judge": MetricDefinition(
        title="judge",
        unit="points of the rubric",
        direction="maximize",
        columns=(2,),
        counted=False,
        definition="Judge: mean score that another language model gives the answers under a rubric. It "
        "is a judgement, not a fact.",
        margin=0.1,
    ),
    "evaluate": MetricDefinition(
        title="evaluate",
        unit="as its metric says",
        direction=None,
        definition="evaluate: a metric of Hugging Face's evaluate, as its script defines it.",
    ),
}
