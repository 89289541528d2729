"""Tasks asked as a user asks a chat model: through its chat template, as lm-eval has it."""

from __future__ import annotations

from typing import Any

from harness.config import EvaluationConfig
from harness.errors import InputError, unknown
from harness.records.fingerprint import digest


def check_chat_template(tokenizer: Any, config: EvaluationConfig) -> None:
    """Raises InputError where ``evaluation.apply_chat_template`` asks for what is not there."""
    if config.apply_chat_template is not False:
        template(tokenizer, config)


def template(tokenizer: Any, config: EvaluationConfig) -> str:
    """The text of the template that is asked for. Raises InputError where there is none."""
    asked, own = config.apply_chat_template, getattr(tokenizer, "chat_template", None)
    if not own:
        raise InputError(
            f"evaluation.apply_chat_template={asked!r} cannot be used: the tokenizer has no chat "
            "template. It must be false."
        )
    several = own if isinstance(own, dict) else {"default": own}
    name = "default" if asked is True else str(asked)
    if name not in several:
        raise unknown("template in evaluation.apply_chat_template", name, several)
    return several[name]


def how(tokenizer: Any, config: EvaluationConfig) -> list[str]:
    """Parts of a signature: the template, how few-shot examples are put, the system message."""
    said = []
    if config.apply_chat_template is not False:
        turns = "turns" if config.fewshot_as_multiturn else "one turn"
        said.append(f"chat template:{digest(template(tokenizer, config), 8)}, examples as {turns}")
    if config.system_instruction is not None:
        said.append(f"system:{digest(config.system_instruction, 8)}")
    return said
