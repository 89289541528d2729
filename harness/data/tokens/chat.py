"""Conversations as tokens: written by a chat template, with the assistant's turns as labels.

A template writes whole conversations and prompts. The labels are the words of an assistant's turn and
the mark of its end, or the parts that the template marks with ``{% generation %}``. Text that the
template itself writes before the words, such as an empty thought, belongs to the prompt.
No token is added to the text of a template, so that there is no second bos token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from harness.config import DataConfig
from harness.data.rows.chat_template import Template
from harness.data.rows.conversations import Turn
from harness.data.rows.example import Example
from harness.data.tokens.answer_places import AnswerPlace, answer_place, learned_spans
from harness.data.tokens.shortening import shortened
from harness.data.tokens.special_tokens import SpecialTokens, ends_of
from harness.errors import InputError


@dataclass(frozen=True)
class Written:
    """Tokens of one conversation. All lists have one length."""

    ids: list[int]
    labels: list[bool]
    n_bytes: list[int]  # UTF-8 bytes of the learned text in each token
    n_prompt: int  # tokens before the words of the last answer: the prompt for generation
    said: str  # words of the last answer, with reasoning and tool calls
    n_whole: int = 0  # tokens before anything was shortened

    def excess(self, room: int | None, room_of_prompt: int | None) -> int:
        """Return the tokens beyond the room of the sequence or of its prompt, whichever are more."""
        return max(
            0 if room is None else len(self.ids) - room,
            0 if room_of_prompt is None else self.n_prompt - room_of_prompt,
        )

    def within(self, room: int, n_whole: int) -> Written:
        """Shorten to ``room`` tokens: keep the prompt's last token, and cut the answer at its end."""
        cut = min(max(len(self.ids) - room, 0), max(self.n_prompt - 1, 0))
        kept = slice(cut, cut + room)
        labels = self.labels[kept]
        return Written(
            ids=self.ids[kept],
            labels=[False, *labels[1:]] if cut else labels,  # nothing predicts it
            n_bytes=self.n_bytes[kept],
            n_prompt=self.n_prompt - cut,
            said=self.said,
            n_whole=n_whole,
        )


class _Tokens(NamedTuple):
    ids: list[int]
    begins: list[int]  # first character of each token
    ends: list[int]


class ChatFormat:
    """Format of conversations: one tokenizer with one template."""

    def __init__(self, tokenizer: Any, config: DataConfig) -> None:
        """Raise InputError for a tokenizer that has no template, and for one without offsets."""
        self.template = Template(tokenizer, config)
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                "Conversations need a fast tokenizer, which gives the offsets of its tokens. The "
                "tokenizer of this model is written in Python and gives none."
            )
        self._tokenizer = tokenizer
        self._specials = SpecialTokens(tokenizer)
        self._special = set(tokenizer.added_tokens_decoder)
        self._eos = self._specials.end
        self.n_tokenized_apart = 0  # prompts whose tokens would differ inside the conversation
        self.n_turn_by_turn = 0  # conversations that need one sequence per turn
        self.n_shortened = 0  # conversations that lost turns, or words of turns
        self._specials.also_ends(self._end_mark())

    @property
    def counts(self) -> dict[str, int]:
        """Return the counts to report about the rendered conversations."""
        unwritten = {f"turn_fields_left_out.{k}": n for k, n in self.template.unwritten.items()}
        return {
            "prompts_tokenized_apart": self.n_tokenized_apart,
            "conversations_turn_by_turn": self.n_turn_by_turn,
            "conversations_shortened": self.n_shortened,
            **unwritten,
            **self._specials.counts,
        }

    def sequences(
        self,
        turns: Sequence[Turn],
        loss_on: str,
        every_answer: bool,
        room: int | None = None,
        room_of_prompt: int | None = None,
    ) -> list[Written]:
        """Return the tokens of a conversation whose last turn is the assistant's.

        This is one sequence. Some templates change a turn when others follow it, for example by
        dropping its reasoning; then it is one sequence for each assistant turn. ``room`` is the most
        tokens of a sequence, ``room_of_prompt`` the most before its last answer; longer conversations
        lose turns. Raises InputError if the conversation does not begin with the prompt of its last
        turn, and if the template leaves out content.
        """
        rooms = (room, room_of_prompt)
        found = self._sequences(self._marked(turns), loss_on, every_answer, rooms)
        self.n_shortened += any(len(written.ids) < written.n_whole for written in found)
        return found

    def _marked(self, turns: Sequence[Turn]) -> list[Turn]:
        """Mark special tokens in the data as text, and remove an answer's own end token."""
        specials = self._specials
        return [
            turn._replace(
                content=specials.answer(turn.content)
                if turn.role == "assistant"
                else specials.value(turn.content),
                fields=specials.value(turn.fields),
            )
            for turn in turns
        ]

    def said(self, example: Example, reference: str) -> str:
        """Return a reference as a model would write it: without end, with reasoning and tool calls."""
        if not example.fields:
            return self._specials.without_end(reference)
        (written, *_) = self.sequences(example.conversation(reference), "answer", False)
        return written.said

    def _sequences(
        self,
        turns: list[Turn],
        loss_on: str,
        every_answer: bool,
        rooms: tuple[int | None, int | None],
    ) -> list[Written]:
        n_whole = 0
        while True:
            text, marked = self.template.rendered(turns, ask=False)
            self.template.check(turns, text)
            places = [i for i, turn in enumerate(turns) if turn.role == "assistant" and i]
            answers = [answer_place(self.template, turns, at, text) for at in places]
            if answers[-1] is None:
                prompt = self.template.render(turns[:-1], ask=True)
                raise InputError(
                    "The conversation that the chat template writes does not begin with its prompt: "
                    f"{prompt[-60:]!r} is not in {text[-60:]!r}. Set data.chat_template to another "
                    "template."
                )
            whole = [answer for answer in answers if answer is not None]
            if len(whole) < len(answers) and every_answer and loss_on == "answer" and not marked:
                self.n_turn_by_turn += 1
                learned = [at for at in places if turns[at].learned]
                return [
                    self._sequences(turns[: at + 1], loss_on, False, rooms)[0] for at in learned
                ]
            spans = learned_spans(marked, whole)
            written = self._sequence(text, whole, spans if every_answer else spans[-1:], loss_on)
            n_whole = max(n_whole, len(written.ids))
            shorter = shortened(turns, written.excess(*rooms), self._begins)
            if shorter is None:
                return [written.within(rooms[0] or n_whole, n_whole)]
            turns = shorter

    def _begins(self, text: str) -> list[int]:
        return self._tokens(text, []).begins

    def _sequence(
        self,
        text: str,
        answers: Sequence[AnswerPlace],
        spans: Sequence[tuple[int, int]],
        loss_on: str,
    ) -> Written:
        cuts: list[int] = []
        tokens = self._tokens(text, cuts)
        n_prompt = 0
        for answer in answers:
            prompt = self._tokens(text[: answer.begin], cuts).ids
            if tokens.ids[: len(prompt)] != prompt:
                cuts.append(answer.begin)
                self.n_tokenized_apart += 1
                tokens = self._tokens(text, cuts)
            n_prompt = len(prompt)
        ids, begins, ends = tokens.ids, tokens.begins, tokens.ends
        labels = [
            any(begin < stop and end > start for start, stop in spans)
            for begin, end in zip(begins, ends, strict=True)
        ]
        said = [
            (start, next((a.said_until for a in answers if start <= a.said_until <= stop), stop))
            for start, stop in spans
        ]
        if loss_on == "all":
            unlearned = [(a.begin, a.end) for a in answers if not a.learned]
            labels = [
                not any(begin < stop and end > start for start, stop in unlearned)
                for begin, end in zip(begins, ends, strict=True)
            ]
            edges = [0, *(place for span in unlearned for place in span), len(text)]
            said = list(zip(edges[::2], edges[1::2], strict=True))
        labels[0] = False  # nothing predicts it
        places = [*begins, len(text)]
        n_bytes = [
            sum(self._n_bytes(text[max(a, start) : min(b, stop)]) for start, stop in said)
            for a, b in pairwise(places)
        ]
        last = answers[-1].said_until
        marks = {token for token, begin in zip(ids, begins, strict=True) if begin >= last}
        if (
            self._eos and not marks & self._special
        ):  # otherwise the model would never learn to end an answer
            ids, labels, n_bytes = [*ids, *self._eos], [*labels, True], [*n_bytes, 0]
        words = self._specials.restored(text[answers[-1].begin : last]).strip()
        return Written(ids, labels, n_bytes, n_prompt, words)

    def _n_bytes(self, text: str) -> int:
        return len(self._specials.restored(text).encode())

    def _tokens(self, text: str, cuts: Sequence[int]) -> _Tokens:
        """Return ids and the character range of each token. No token crosses a cut."""
        ids: list[int] = []
        begins: list[int] = []
        ends: list[int] = []
        places = [0, *(cut for cut in cuts if cut < len(text)), len(text)]
        for start, stop in pairwise(places):
            if self._specials.has_marks(text[start:stop]):
                some, where = self._specials.tokens(text[start:stop])
                assert where is not None
                ids += some
                begins += [start + begin for begin, _ in where]
                ends += [start + end for _, end in where]
                continue
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
        return _Tokens(ids=ids, begins=begins, ends=ends)

    def _end_mark(self) -> str:
        """Return the text that the template writes after an assistant's message."""
        turns = [Turn("user", "a"), Turn("assistant", "b")]
        text = self.template.render(turns)
        answer = answer_place(self.template, turns, 1, text)
        return "" if answer is None else text[answer.said_until : answer.end].strip()

    def end(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return the tokens that end an assistant's turn besides the end of text, or else the texts."""
        mark = self._end_mark()
        ids = self._tokens(mark, []).ids if mark else []
        known = [token for token in ids if token in self._special]
        return (tuple(known[:1]), ()) if known or not mark else ((), (mark,))


def ends_of_answers(tokenizer: Any, config: DataConfig) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return all that ends an answer: tokens, and texts if a template's end mark is not a token."""
    ends, stops = ChatFormat(tokenizer, config).end() if config.is_chat else ((), ())
    return tuple(sorted({*ends_of(tokenizer), *ends})), stops
