"""Definitions of the finalists' measurements: lm-eval tasks, instructions, knowledge probes."""

from __future__ import annotations

from harness.statistics.measurements import formulas
from harness.statistics.measurements.definition import MetricDefinition

FINALIST_METRICS: dict[str, MetricDefinition] = {
    "instructions": MetricDefinition(
        title="instructions",
        unit="change of share followed",
        direction="maximize",
        score=formulas.change,
        columns=(3,),
        counted=False,
        shown_unit="points",
        decimals=1,
        definition="Change from the untouched base in the share of instructions that are followed, "
        "paired by prompt, in percentage points. A program checks the form of each answer. A prompt "
        "counts if its answer passes all checks; under 'checks', each check counts by itself.",
    ),
    "prompts": MetricDefinition(
        title="prompts followed",
        unit="share of prompts",
        direction="maximize",
        span=(0, 1),
        columns=(2,),
        counted=False,
        definition="Prompts followed: the share of instructions whose answer passes every check.",
    ),
    "checks": MetricDefinition(
        title="checks passed",
        unit="share of checks",
        direction="maximize",
        span=(0, 1),
        columns=(2,),
        counted=False,
        definition="Checks passed: the share of all checks of all instructions that are passed.",
    ),
    "tasks": MetricDefinition(
        title="tasks",
        unit="accuracy change",
        direction="maximize",
        score=formulas.change,
        columns=(2,),
        shown_unit="points",
        decimals=1,
        definition="Change of accuracy from the untouched base on tasks that were not trained for, "
        "paired by item, in percentage points; p by the exact McNemar test.",
    ),
    "task": MetricDefinition(
        title="score of a task",
        unit="mean over items",
        direction="maximize",
        definition="Score of a task: lm-eval's metric of that name, on the task's own scale.",
    ),
    "task_share": MetricDefinition(
        title="score of a task",
        unit="mean over items",
        direction="maximize",
        span=(0, 1),
        definition="Score of a task: lm-eval's metric of that name, on the task's own scale.",
    ),
    "task_error": MetricDefinition(
        title="error of a task",
        unit="mean over items",
        direction="minimize",
        definition="Error of a task: lm-eval's metric of that name; lower is better.",
    ),
    "written_minus_likely": MetricDefinition(
        title="written minus likely",
        unit="share of items",
        direction=None,
        definition="Written minus likely: accuracy by the letter that the model writes, minus accuracy "
        "by its most likely choice, paired by item.",
    ),
    "task_perplexity": MetricDefinition(
        title="perplexity of a task",
        unit="per item, word or byte",
        direction="minimize",
        score=formulas.perplexity,
        columns=(2,),
        counted=False,
        definition="Perplexity of a task: per item (perplexity), word or byte, by lm-eval's metric.",
    ),
    "recalled": MetricDefinition(
        title="facts recalled",
        unit="share of probes",
        direction="maximize",
        span=(0, 1),
        definition="Facts recalled: the share of questions whose answer names an accepted value before "
        "any wrong one.",
    ),
    "invented": MetricDefinition(
        title="facts invented",
        unit="share of probes",
        direction="minimize",
        span=(0, 1),
        definition="Facts invented: the share of questions whose answer names a wrong value first. For "
        "a question that has no answer, any value is wrong.",
    ),
    "repetition": MetricDefinition(
        title="repetition",
        unit="share of 4-grams",
        direction="minimize",
        span=(0, 1),
        definition="Repetition: the mean over answers of the share of 4-grams of tokens that repeat an "
        "earlier one of the same answer (seq-rep-4, arXiv:1908.04319).",
    ),
    "chat_kept": MetricDefinition(
        title="chat kept",
        unit="share of answers",
        direction="maximize",
        span=(0, 1),
        definition="Chat kept: the share of a chat model's answers that are one turn, ended by the "
        "model itself, without a role marker, and at most twice as long as the longest answer of the "
        "untouched base.",
    ),
}
