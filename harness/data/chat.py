"""Conversations as tokens: written by a chat template, with the assistant's turns as labels.

A template writes whole conversations and prompts. What is learned is what it writes between the
prompt of an assistant turn and that turn's end, or what it marks itself with ``{% generation %}``.
No token is added to what a template writes, so that none begins twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.config import DataConfig
from harness.data.conversations import Turn
from harness.errors import InputError

_MARKS_ANSWERS = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Templates that name a day ask for today's: the same conversation would be other tokens tomorrow.
_FIXED = {"date_string": "26 Jul 2024"}


def read_template(config: DataConfig) -> str | None:
    """The text of ``data.chat_template``, None where none is given. InputError if it is no template."""
    if config.chat_template is None:
        return None
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    path = Path(config.chat_template).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
        plain = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", text)  # known to transformers alone
        ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"data.chat_template={config.chat_template!r}: {error}.") from None
    except TemplateSyntaxError as error:
        raise InputError(
            f"data.chat_template={config.chat_template!r}, line {error.lineno}: {error.message}."
        ) from None
    return text


@dataclass(frozen=True)
class Written:
    """The tokens of one conversation, all lists of one length."""

    ids: list[int]
    labels: list[bool]
    n_bytes: list[int]  # of what each token spells of the text that is learned
    n_prompt: int  # tokens before the last answer: those that generation begins from

    def shortened(self, length: int, keep: int) -> Written:
        """At most ``length`` tokens: cut behind the first ``keep``, down to the prompt's last token,
        then from the right."""
        cut = min(max(len(self.ids) - length, 0), max(self.n_prompt - keep - 1, 0))
        some = [
            (values[:keep] + values[keep + cut :])[:length]
            for values in (self.ids, self.labels, self.n_bytes)
        ]
        return Written(some[0], [False, *some[1][1:]], some[2], self.n_prompt - cut)


@dataclass(frozen=True)
class _Answer:
    """An assistant turn in the text of its conversation; places are characters."""

    begin: int  # where the prompt for it ends
    said_until: int  # where its words end
    end: int  # where the mark of its end ends: the last that is learned


class ChatFormat:
    """One tokenizer with one template."""

    def __init__(self, tokenizer: Any, config: DataConfig) -> None:
        """Raises InputError for a tokenizer that has no template, and for one without offsets."""
        self.template = read_template(config) or getattr(tokenizer, "chat_template", None)
        if isinstance(self.template, dict):
            self.template = self.template.get("default")
        if not self.template:
            raise InputError(
                "This model's tokenizer has no chat template. Give one as a Jinja file, "
                "data.chat_template=FILE, choose the chat version of the model, or write prompts "
                "with data.prompt_template and without data.chat."
            )
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                "Conversations need a tokenizer that tells where its tokens stand in a text, and this "
                "model's, written in Python, does not."
            )
        self._tokenizer = tokenizer
        self._special = set(tokenizer.added_tokens_decoder)
        self._eos = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        self.n_tokenized_apart = 0  # places where the tokens of a prompt would have been others
        self.n_turn_by_turn = 0  # conversations that need one sequence a turn

    def render(self, turns: Sequence[Turn], *, ask: bool = False) -> str:
        """The text of a conversation; ``ask``: up to where the assistant's next turn begins."""
        return self._rendered(turns, ask)[0]

    def _rendered(self, turns: Sequence[Turn], ask: bool) -> tuple[str, list[tuple[int, int]]]:
        """And the ranges of characters that the template marks as the assistant's own."""
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        messages = [{"role": role, "content": content} for role, content in turns]
        marks = bool(_MARKS_ANSWERS.search(self.template))
        try:
            texts, ranges = render_jinja_template(
                [messages],
                chat_template=self.template,
                add_generation_prompt=ask,
                return_assistant_tokens_mask=marks,
                **self._tokenizer.special_tokens_map,
                **_FIXED,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise InputError(
                f"The chat template cannot write a conversation of {_roles(turns)}: {error}. "
                "Change the rows, or give another template with data.chat_template."
            ) from None
        own: Any = ranges[0] if marks else ()
        return texts[0], [(start, stop) for start, stop in own]

    def sequences(self, turns: Sequence[Turn], loss_on: str, every_answer: bool) -> list[Written]:
        """A conversation, whose last turn is the assistant's, as tokens.

        One sequence; one for each assistant turn where the template writes a turn otherwise once
        others follow it, as those do that drop earlier reasoning. Raises InputError where not even
        the last turn's prompt is a beginning of the whole.
        """
        text, marked = self._rendered(turns, ask=False)
        places = [i for i, (role, _) in enumerate(turns) if role == "assistant" and i]
        answers = [self._answer(turns, at, text) for at in places]
        whole = [answer for answer in answers if answer is not None]
        if answers[-1] is None:
            raise InputError(
                "The chat template's prompt is no beginning of the conversation that it writes: "
                f"{self.render(turns[:-1], ask=True)[-60:]!r} is not in {text[-60:]!r}. Give another "
                "template with data.chat_template."
            )
        if len(whole) < len(answers) and every_answer and loss_on == "answer" and not marked:
            self.n_turn_by_turn += 1
            return [
                self.sequences(turns[: at + 1], loss_on, every_answer=False)[0] for at in places
            ]
        spans = marked or [(answer.begin, answer.end) for answer in whole]
        return [self._sequence(text, whole, spans if every_answer else spans[-1:], loss_on)]

    def _answer(self, turns: Sequence[Turn], at: int, text: str) -> _Answer | None:
        """The place of the assistant turn ``at``.

        None where its prompt is no beginning of ``text``, or where what it says is another thing there.
        """
        prompt = self.render(turns[:at], ask=True)
        if not text.startswith(prompt):
            return None
        begin, content = len(prompt), turns[at][1].strip()
        upto = text if at == len(turns) - 1 else self.render(turns[: at + 1])
        pairs = enumerate(zip(upto, text, strict=False))
        end = next((i for i, (a, b) in pairs if a != b), min(len(upto), len(text)))
        found = text.find(content, begin, end)
        if found < 0 and not text.startswith(upto):
            return None
        said_until = end if found < 0 else found + len(content)
        mark = text[said_until:end]
        if mark.strip():  # the line end after a mark is the template's, not the assistant's
            end = said_until + len(mark.rstrip())
        return _Answer(begin, said_until, end)

    def _sequence(
        self, text: str, answers: Sequence[_Answer], spans: Sequence[tuple[int, int]], loss_on: str
    ) -> Written:
        """``spans``: the characters that are learned, the marks of the turns' ends included."""
        cuts: list[int] = []
        ids, begins, ends = self._tokens(text, cuts)
        n_prompt = 0
        for answer in answers:
            prompt = self._tokens(text[: answer.begin], cuts)[0]
            if ids[: len(prompt)] != prompt:
                cuts.append(answer.begin)
                self.n_tokenized_apart += 1
                ids, begins, ends = self._tokens(text, cuts)
            n_prompt = len(prompt)
        labels = [
            any(begin < stop and end > start for start, stop in spans)
            for begin, end in zip(begins, ends, strict=True)
        ]
        said = [
            (start, next((a.said_until for a in answers if start <= a.said_until <= stop), stop))
            for start, stop in spans
        ]
        if loss_on == "all":
            labels, said = [True] * len(ids), [(0, len(text))]
        labels[0] = False  # nothing predicts it
        places = [*begins, len(text)]
        n_bytes = [
            sum(len(text[max(a, start) : min(b, stop)].encode()) for start, stop in said)
            for a, b in pairwise(places)
        ]
        last = answers[-1].said_until
        marks = {token for token, begin in zip(ids, begins, strict=True) if begin >= last}
        if self._eos and not marks & self._special:  # else an answer would never end
            ids, labels, n_bytes = [*ids, *self._eos], [*labels, True], [*n_bytes, 0]
        return Written(ids, labels, n_bytes, n_prompt)

    def _tokens(self, text: str, cuts: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """Ids and the characters from which to which each stands; no token reaches over a cut."""
        ids: list[int] = []
        begins: list[int] = []
        ends: list[int] = []
        places = [0, *(cut for cut in cuts if cut < len(text)), len(text)]
        for start, stop in pairwise(places):
            part = self._tokenizer(
                text[start:stop],
                add_special_tokens=False,
                return_offsets_mapping=True,
                return_attention_mask=False,
                verbose=False,
            )
            ids += part["input_ids"]
            begins += [start + begin for begin, _ in part["offset_mapping"]]
            ends += [start + end for _, end in part["offset_mapping"]]
        return ids, begins, ends

    def end(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """What ends an assistant's turn beside the end of a text: tokens, or text where it is none."""
        turns = [("user", "a"), ("assistant", "b")]
        text = self.render(turns)
        answer = self._answer(turns, 1, text)
        mark = "" if answer is None else text[answer.said_until : answer.end].strip()
        ids = self._tokens(mark, [])[0] if mark else []
        known = [token for token in ids if token in self._special]
        return (tuple(known[:1]), ()) if known or not mark else ((), (mark,))


def _roles(turns: Sequence[Turn]) -> str:
    return ", ".join(role for role, _ in turns)
