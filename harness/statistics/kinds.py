"""What kinds of measurement there are: formula, columns, unit, direction and words of each.

A new metric is one entry of ``KINDS``: record, objectives and report read everything from there.
"""

from __future__ import annotations

from harness.statistics import formulas
from harness.statistics.answer_kinds import ANSWER_KINDS
from harness.statistics.kind import Direction, Kind

__all__ = ["KINDS", "Direction", "Kind", "kind_of", "unit_of"]

KINDS: dict[str, Kind] = {
    **ANSWER_KINDS,
    "perplexity": Kind(
        title="perplexity",
        unit="per token",
        direction="minimize",
        score=formulas.perplexity,
        columns=(2,),
        counted=False,
        definition="Perplexity: exp of the negative log-likelihood per token, over all tokens.",
    ),
    "bits_per_byte": Kind(
        title="bits per byte",
        unit="bits/byte",
        direction="minimize",
        score=formulas.bits_per_byte,
        columns=(2,),
        counted=False,
        definition="Bits per byte: negative log-likelihood per UTF-8 byte of text, in bits; "
        "the tokenizer plays no part.",
    ),
    "kl": Kind(
        title="KL",
        unit="nats/token",
        direction="minimize",
        columns=(2,),
        counted=False,
        shown_unit="nats/token",
        definition="KL(base ‖ tuned), nats per token: how far predictions moved from those of the "
        "untouched base on text that was not trained on. 0 means unmoved.",
    ),
    "nll": Kind(
        title="NLL rise",
        unit="nats/token",
        direction="minimize",
        score=formulas.rise,
        columns=(3,),
        counted=False,
        shown_unit="nats/token",
        definition="Rise of the negative log-likelihood over the untouched base, nats per token, on "
        "text that was not trained on.",
    ),
    "nll_lost": Kind(
        title="NLL lost",
        unit="nats/token",
        direction="minimize",
        score=formulas.rise,
        columns=(3,),
        counted=False,
        shown_unit="nats/token",
        definition="NLL lost and NLL gained: the rise over the documents that became harder, and the "
        "fall over those that became easier, each over all tokens. Lost minus gained is the NLL rise; "
        "noise alone puts both above 0.",
    ),
    "nll_gained": Kind(
        title="NLL gained",
        unit="nats/token",
        direction="maximize",
        score=formulas.rise,
        columns=(3,),
        counted=False,
        shown_unit="nats/token",
    ),
    "instructions": Kind(
        title="instructions",
        unit="change of share followed",
        direction="maximize",
        score=formulas.change,
        columns=(3,),
        counted=False,
        shown_unit="points",
        decimals=1,
        definition="Change against the untouched base of the share of instructions that are followed, "
        "paired by prompt, in percentage points. A program decides: a prompt counts where all that it "
        "asks of the form of the answer is kept, or (checks) each such demand by itself.",
    ),
    "prompts": Kind(
        title="prompts followed",
        unit="share of prompts",
        direction="maximize",
        columns=(2,),
        counted=False,
    ),
    "checks": Kind(
        title="checks passed",
        unit="share of checks",
        direction="maximize",
        columns=(2,),
        counted=False,
    ),
    "tasks": Kind(
        title="tasks",
        unit="accuracy change",
        direction="maximize",
        score=formulas.change,
        columns=(2,),
        shown_unit="points",
        decimals=1,
        definition="Change of accuracy against the untouched base on tasks that were not trained "
        "for, paired by item, in percentage points; p by the exact McNemar test.",
    ),
    "task": Kind(
        title="score of a task",
        unit="mean over items",
        direction="maximize",
        definition="Score of a task: what lm-eval's metric of that name gives, on the task's own "
        "scale.",
    ),
    "task_perplexity": Kind(
        title="perplexity of a task",
        unit="per item, word or byte",
        direction="minimize",
        score=formulas.perplexity,
        columns=(2,),
        counted=False,
        definition="Perplexity of a task: by item (perplexity), word or byte, as lm-eval's metric "
        "says.",
    ),
    "accuracy": Kind(
        title="accuracy",
        unit="share of texts",
        direction="maximize",
        definition="Accuracy: the share of texts whose class is the one that was said most likely.",
    ),
    "macro_f1": Kind(
        title="macro F1",
        unit="mean F1 of the classes",
        direction="maximize",
        score=formulas.macro_f1,
        columns=range(6, 3 * 100_000, 3),
        counted=False,
        definition="Macro F1: the mean over classes of 2·both / (said + true), every class alike.",
    ),
    "loss": Kind(
        title="loss",
        unit="nats/text",
        direction="minimize",
        columns=(2,),
        counted=False,
        shown_unit="nats/text",
        definition="Loss: negative log-likelihood of the true class, nats per text.",
    ),
}


TASK_KINDS = {
    **dict.fromkeys(("perplexity", "word_perplexity", "byte_perplexity"), "task_perplexity"),
    "bits_per_byte": "bits_per_byte",
    "recalled": Kind(
        title="facts recalled",
        unit="share of probes",
        direction="maximize",
        definition="Facts recalled: the share of probes whose answer names an accepted value before "
        "any other of its kind.",
    ),
    "invented": Kind(
        title="facts invented",
        unit="share of probes",
        direction="minimize",
        definition="Facts invented: the share of probes whose answer names a wrong value first; of "
        "probes that have no answer, any value.",
    ),
    "repetition": Kind(
        title="repetition",
        unit="share of 4-grams",
        direction="minimize",
        definition="Repetition: the mean over answers of the share of 4-grams of tokens that the same "
        "answer has had before (seq-rep-4, arXiv:1908.04319).",
    ),
    "chat_kept": Kind(
        title="chat kept",
        unit="share of answers",
        direction="maximize",
        definition="Chat kept: the share of a chat model's answers that are one turn, ended by the "
        "model itself, without a role marker, and at most twice the longest of the untouched one.",
    ),
}


def kind_of(name: str) -> str:
    """The kind of a measurement: 'bleu' of 'test.bleu', 'kl' of 'forgetting.kl.news'."""
    parts = name.split(".")
    if parts[0] == "tasks":  # tasks.NAME.METRIC, a metric of lm-eval's
        return TASK_KINDS.get(parts[-1], "task")
    kind = parts[1] if len(parts) > 1 else parts[0]
    return "kl" if kind == "kl_target" else kind


def unit_of(name: str) -> str:
    """The unit of a measurement's value in a record."""
    kind = KINDS.get(kind_of(name))
    return "mean over items" if kind is None else kind.unit
