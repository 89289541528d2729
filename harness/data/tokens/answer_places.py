"""Places of the assistant's turns in the text that a chat template writes of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.data.rows.chat_template import Template, common
from harness.data.rows.conversations import Turn


@dataclass(frozen=True)
class AnswerPlace:
    """Position of an assistant turn in the text of its conversation, in characters."""

    asked: int  # end of its prompt
    begin: int  # begin of its words
    said_until: int  # end of its words
    end: int  # end of its end mark, which is the last learned text
    learned: bool


def answer_place(
    template: Template, turns: Sequence[Turn], at: int, text: str
) -> AnswerPlace | None:
    """Return the position of the assistant turn ``at`` in ``text``, written of ``turns``.

    None if ``text`` does not begin with its prompt, or holds other words in its place.
    """
    prompt = template.render(turns[:at], ask=True)
    if not text.startswith(prompt):
        return None
    asked, turn = len(prompt), turns[at]
    upto = text if at == len(turns) - 1 else template.render(turns[: at + 1])
    end = common(upto, text)
    if turn.fields:  # reasoning before the words, tool calls after them
        before, behind = template.around(turns[:at])
        begin = asked + common(before, text[asked:end])
        same = common(behind[::-1], upto[::-1])
        said_until = min(max(begin, len(upto) - same), end)
        return _ended(AnswerPlace(asked, begin, said_until, end, turn.learned), text)
    content, begin = turn.content.strip(), asked
    found = text.find(content, asked, end)
    if not content or text[asked:found].strip():  # the template adds words of its own
        before = template.around(turns[:at])[0]
        if text.startswith(before, asked):
            begin = asked + len(before)
            found = text.find(content, begin, end)
    if found < 0 and not text.startswith(upto):
        return None
    said_until = end if found < 0 else found + len(content)
    return _ended(AnswerPlace(asked, begin, said_until, end, turn.learned), text)


def _ended(answer: AnswerPlace, text: str) -> AnswerPlace:
    mark = text[answer.said_until : answer.end]
    if mark.strip():  # a line end after the mark belongs to the template
        return replace(answer, end=answer.said_until + len(mark.rstrip()))
    return answer


def learned_spans(
    marked: Sequence[tuple[int, int]], answers: Sequence[AnswerPlace]
) -> list[tuple[int, int]]:
    """Return the characters that are learned, with the end marks of the turns.

    ``marked``: those that the template itself marks with ``{% generation %}``.
    """
    if not marked:
        return [(answer.begin, answer.end) for answer in answers if answer.learned]
    spans = []
    for start, stop in marked:
        here = next((a for a in answers if a.asked <= start < a.end), None)
        if here is None or here.learned:
            spans.append((start if here is None else max(start, here.begin), stop))
    return spans
