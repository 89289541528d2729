"""Summaries of stories: one sentence with who did what, for whom and where.

    One foggy Friday, Mira the baker left her red house ... At the mill she found Button ...
    -> Mira lost Button and found Button again at the mill.

The stories are of the form that pretraining has, the summaries of none that it has. The model has to
find the few words that matter among many that do not, and copy them.
"""

import re
from random import Random

from harness.builtin.texts.narrative import story
from harness.builtin.texts.world import World

# What a story tells → its summary. Every story tells exactly one of these.
_PLOTS = (
    (
        re.compile(
            r"(?P<hero>\w+) looked behind .* At the (?P<place>\w+) s?he found (?P<pet>\w+) and"
        ),
        "{hero} lost {pet} and found {pet} again at the {place}.",
    ),
    (
        re.compile(
            r"(?P<hero>\w+) carried a (?P<thing>\w+ \w+) for (?P<friend>\w+), "
            r"who lived in (?P<village>\w+)\."
        ),
        "{hero} brought a {thing} to {friend} in {village}.",
    ),
    (
        re.compile(
            r"stranger from (?P<village>\w+), .* stood at the (?P<place>\w+) with \w+ "
            r"(?P<item>\w+?)s?\. (?P<hero>\w+) gave the stranger (?P<number>\w+) more"
        ),
        "{hero} gave {number} more {item}s to a stranger from {village} at the {place}.",
    ),
)


def summaries(world: World, seed: int, sizes: dict[str, int]) -> dict[str, list[dict]]:
    """Return split → rows ``{prompt, answer}``: a story and its summary. No summary occurs twice."""
    rng = Random(f"summaries-{seed}")
    rows: dict[str, str] = {}
    while len(rows) < sum(sizes.values()):
        text = story(world, rng)
        rows.setdefault(summary_of(text), text)
    drawn = iter(rows.items())
    return {
        split: [{"prompt": text, "answer": said} for said, text in (next(drawn) for _ in range(n))]
        for split, n in sizes.items()
    }


def summary_of(text: str) -> str:
    """Return the summary of a story."""
    told = [
        form.format(**found.groupdict()) for told, form in _PLOTS if (found := told.search(text))
    ]
    assert len(told) == 1, text
    return re.sub(r"(one more \w+)s\b", r"\1", told[0])
