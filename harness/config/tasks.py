"""Valid settings for benchmark tasks that a model was not trained for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from harness.config.strict import require
from harness.errors import unknown

TASK_OPTIONS = ("num_fewshot", "limit", "cluster")  # of one task, in evaluation.per_task
MULTIPLE_CHOICE = ("likelihood", "generation")


class TaskSettings(Protocol):
    """Fields of EvaluationConfig that concern tasks."""

    @property
    def tasks(self) -> list[str]: ...

    @property
    def task_folder(self) -> str | None: ...

    @property
    def task_limit(self) -> int | None: ...

    @property
    def num_fewshot(self) -> int | None: ...

    @property
    def per_task(self) -> Mapping[str, Mapping[str, Any]]: ...

    @property
    def task_batch_size(self) -> Any: ...

    @property
    def multiple_choice(self) -> list[str]: ...

    @property
    def apply_chat_template(self) -> bool | str: ...

    @property
    def unsafe_tasks(self) -> bool: ...


def check_task_settings(config: TaskSettings) -> None:
    """Raise InputError for an invalid value. Only lm-eval knows the names of tasks."""
    _count("evaluation.task_limit", config.task_limit, least=1)
    _count("evaluation.num_fewshot", config.num_fewshot, least=0)
    size = config.task_batch_size
    accepted = "null, auto or an integer of at least 1"
    require(size in (None, "auto") or size >= 1, "evaluation.task_batch_size", size, accepted)
    for way in config.multiple_choice:
        if way not in MULTIPLE_CHOICE:
            raise unknown("way in evaluation.multiple_choice", way, MULTIPLE_CHOICE)
    accepted = "one or both of " + ", ".join(MULTIPLE_CHOICE)
    ways = config.multiple_choice
    require(0 < len(ways) == len(set(ways)), "evaluation.multiple_choice", ways, accepted)
    name = config.apply_chat_template
    accepted = "true, false or the name of one of the tokenizer's templates"
    require(name != "", "evaluation.apply_chat_template", name, accepted)
    for task, options in config.per_task.items():
        where = f"evaluation.per_task.{task}"
        for option, value in options.items():
            if option not in TASK_OPTIONS:
                raise unknown(f"key in {where}", option, TASK_OPTIONS)
            if option == "cluster":
                good = isinstance(value, str) and bool(value)
                require(
                    good, f"{where}.cluster", value, "a field of its items or a template of them"
                )
            else:
                _count(f"{where}.{option}", value, least=1 if option == "limit" else 0)


def _count(field: str, value: Any, least: int) -> None:
    counts = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(value is None or counts, field, value, f"null or an integer of at least {least}")
