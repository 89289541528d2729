"""Multiple-choice tasks by generation: the model writes a letter, which is read from its answer.

Accuracy by the likeliest choice and by the written letter can differ by 16 points on one model.
"""

from __future__ import annotations

import re
import string
from typing import Any

ANSWER_TOKENS = 16  # room for "The answer is B."
SUFFIX = "_generated"
_ASKS = re.compile(r"\s*\b(?:Answer|A)\s*:\s*$", re.IGNORECASE)
_LETTER = re.compile(r"^\W*(?:the\s+)?(?:(?:correct\s+)?answer\s*(?:is)?\W*)?([A-Z])(?:\W|$)", re.I)


def generated_twin(task: Any) -> Any:
    """Return an lm-eval task with the items of ``task``, answered by generation.

    Raises ValueError with the reason if its choices cannot be given letters.
    """
    from lm_eval.api.task import ConfigurableTask

    config = task.config
    if getattr(task, "multiple_input", 0):
        raise ValueError("its choices are beginnings of one sentence, not answers to a question")
    doc = task.eval_docs[0]
    if not isinstance(task.doc_to_text(doc), str) or len(task.doc_to_choice(doc)) > 26:
        raise ValueError("it has no text with at most 26 choices after it")

    def question(doc: Any) -> str:
        lettered = zip(string.ascii_uppercase, task.doc_to_choice(doc), strict=False)
        choices = [f"{letter}. {str(choice).strip()}" for letter, choice in lettered]
        return "\n".join([_ASKS.sub("", task.doc_to_text(doc)).rstrip(), *choices, "Answer:"])

    def letter(doc: Any) -> str:
        return string.ascii_uppercase[min(_gold(task, doc))]

    def result(doc: Any, answers: list[str]) -> dict[str, float]:
        choice = read_choice(answers[0], [str(choice) for choice in task.doc_to_choice(doc)])
        return {"acc": float(choice in _gold(task, doc)), "answered": float(choice is not None)}

    splits = ("training_split", "validation_split", "test_split", "fewshot_split", "process_docs")
    own = {name: getattr(config, name) for name in splits}
    twin = {
        **own,
        "task": f"{config.task}{SUFFIX}",
        "custom_dataset": lambda **_: task.dataset,
        "output_type": "generate_until",
        "description": config.description,
        "fewshot_delimiter": "\n\n",
        "target_delimiter": " ",
        "doc_to_text": question,
        "doc_to_target": letter,
        "process_results": result,
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": ANSWER_TOKENS, "do_sample": False},
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True}
            for name in ("acc", "answered")
        ],
        "num_fewshot": config.num_fewshot,
        "metadata": dict(config.metadata or {}),
    }
    return ConfigurableTask(config=twin)


def read_choice(answer: str, choices: list[str]) -> int | None:
    """Return the choice that the first line of ``answer`` names, by its text or else by its letter."""
    line = next((line.strip() for line in answer.splitlines() if line.strip()), "")
    words = [" ".join(choice.casefold().split()).rstrip(".") for choice in choices]
    choice = " ".join(line.casefold().split()).rstrip(".")
    if choice in words:
        return words.index(choice)
    found = _LETTER.match(line)
    index = None if found is None else string.ascii_uppercase.index(found.group(1).upper())
    return index if index is not None and index < len(choices) else None


def _gold(task: Any, doc: Any) -> list[int]:
    """Return the right choices, as lm-eval's own scoring reads them."""
    gold, choices = task.doc_to_target(doc), task.doc_to_choice(doc)
    golds = gold if isinstance(gold, list) else [gold]
    return [choices.index(one) if isinstance(one, str) else int(one) for one in golds]
