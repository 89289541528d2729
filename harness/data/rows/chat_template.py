"""Chat templates: render conversations as the text that a model was tuned on.

Templates run in the sandbox of transformers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.config import DataConfig
from harness.data.rows.conversations import TOOLS, Turn
from harness.errors import InputError
from harness.paths import user_path

_MARKS_ANSWERS = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Some templates write today's date. A fixed date keeps a conversation's tokens the same every day.
FIXED_ARGUMENTS = {"date_string": "26 Jul 2024"}
_STAND_IN = "stand-in-for-an-answer"  # reveals the text that a template writes around any answer
# Fields of a turn that the text must contain. A template may leave out any other field.
_SAYS = (
    *("tool_calls", "function_call", TOOLS, "reasoning_content", "reasoning", "thinking"),
    *("refusal", "audio", "images", "documents", "train_detail", "training_detail"),
)


def read_template(config: DataConfig | None) -> str | None:
    """Return the text of ``data.chat_template``, or None if it is not set.

    Raises InputError if the text is not a template."""
    if config is None or config.chat_template is None:
        return None
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    path = user_path(config.chat_template)
    try:
        text = path.read_text(encoding="utf-8-sig")
        plain = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", text)  # known to transformers alone
        ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"data.chat_template={config.chat_template!r} cannot be read: {error}."
        ) from None
    except TemplateSyntaxError as error:
        raise InputError(
            f"data.chat_template={config.chat_template!r}, line {error.lineno}: {error.message}."
        ) from None
    return text


def template_of(tokenizer: Any, config: DataConfig | None) -> str | None:
    """Return the template that renders conversations: the configured one, else the model's own."""
    template = read_template(config) or getattr(tokenizer, "chat_template", None)
    return template.get("default") if isinstance(template, dict) else template


class Template:
    """The chat template of one tokenizer, or the configured one, with the configured arguments."""

    def __init__(self, tokenizer: Any, config: DataConfig | None = None) -> None:
        """Raise InputError for a tokenizer that has no template."""
        template = template_of(tokenizer, config)
        if not template:
            raise InputError(
                "This model's tokenizer has no chat template. Give one as a Jinja file, "
                "data.chat_template=FILE, choose the chat version of the model, or write prompts "
                "with data.prompt_template and without data.chat."
            )
        self.text: str = template
        self.marks_answers = bool(_MARKS_ANSWERS.search(template))
        given = {} if config is None else dict(config.template_arguments or {})
        self._arguments = tokenizer.special_tokens_map | FIXED_ARGUMENTS | given
        self.unwritten: Counter[str] = Counter()  # fields of turns that are missing from the text

    def render(self, turns: Sequence[Turn], *, ask: bool = False) -> str:
        """Return the text of a conversation. ``ask``: up to where the assistant's next turn begins."""
        return self.rendered(turns, ask)[0]

    def rendered(self, turns: Sequence[Turn], ask: bool) -> tuple[str, list[tuple[int, int]]]:
        """Return the text, and the character ranges that the template marks as the assistant's own."""
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        tools = next((turn.more[TOOLS] for turn in turns[:1] if TOOLS in turn.more), None)
        messages = [self._message(turn) for turn in turns]
        try:
            texts, ranges = render_jinja_template(
                [messages],
                tools=tools,
                chat_template=self.text,
                add_generation_prompt=ask,
                return_assistant_tokens_mask=self.marks_answers,
                **self._arguments,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise InputError(
                f"The chat template cannot render a conversation of {_roles(turns)}: {error}. "
                "Change the rows, or set data.chat_template to another template."
            ) from None
        own: Any = ranges[0] if self.marks_answers else ()
        return texts[0], [(start, stop) for start, stop in own]

    def _message(self, turn: Turn) -> dict[str, Any]:
        known = turn.role != "developer" or turn.role in self.text
        more = {key: value for key, value in turn.more.items() if key != TOOLS}
        return more | {"role": turn.role if known else "system", "content": turn.content}

    def around(self, turns: Sequence[Turn]) -> tuple[str, str]:
        """Return the text that the template writes before and after any answer to ``turns``.

        The first is the text between prompt and answer, such as Qwen3's
        ``<think>\\n\\n</think>\\n\\n`` or ``<|channel|>final<|message|>``. Both are '' if they
        cannot be determined.
        """
        prompt = self.render(turns, ask=True)
        text = self.render([*turns, Turn("assistant", _STAND_IN)])
        before, found, behind = text[len(prompt) :].partition(_STAND_IN)
        if not found or not text.startswith(prompt):
            return "", ""
        # White space belongs to the answer: at the end of a prompt it would change the tokens.
        return (before.rstrip(" ") if before.strip() else ""), behind

    def question(self, turns: Sequence[Turn]) -> str:
        """Return the prompt for an answer: all text before the words of the answer."""
        return self.render(turns, ask=True) + self.around(turns)[0]

    def check(self, turns: Sequence[Turn], text: str) -> None:
        """Raise InputError if ``text`` leaves out content of a turn; count other missing fields."""
        for at, turn in enumerate(turns):
            unsaid = turn.role != "assistant" and turn.content.strip() not in text
            if unsaid and self._same(turns, [*turns[:at], *turns[at + 1 :]]):
                raise InputError(
                    f"The chat template leaves out turn {at + 1} of a conversation of "
                    f"{_roles(turns)}. Change the rows, or set data.chat_template to another "
                    "template."
                )
            for key in turn.more:
                rest = {name: value for name, value in turn.more.items() if name != key}
                less = turn._replace(fields=json.dumps(rest) if rest else "")
                if not self._same(turns[: at + 1], [*turns[:at], less]):
                    continue
                if key in _SAYS:
                    raise InputError(
                        f"A turn of {turn.role} has the field {key!r}, which the chat template does "
                        "not write. Remove it from the rows, move it into the content, or set "
                        "data.chat_template to a template that writes it."
                    )
                self.unwritten[key] += 1

    def _same(self, turns: Sequence[Turn], others: Sequence[Turn]) -> bool:
        """Return True if two conversations render to the same text, False if one cannot be rendered."""
        try:
            return self.render(turns) == self.render(others)
        except InputError:
            return False


def _roles(turns: Sequence[Turn]) -> str:
    return ", ".join(turn.role for turn in turns)


def common(a: str, b: str) -> int:
    """Return the length of the common prefix of two texts, in characters."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
