"""Market books: goods in a list, the same in sentences, and questions about them.

Names, goods and places are drawn for every page and cannot be memorized. The domain teaches the
model to copy from its context.
"""

from random import Random

from harness.builtin.texts.world import COLOURS, DAYS, ITEMS, PLACES, VILLAGES, World, say

ENTRY = "- {name}, {thing}, {place}, {day}."
SENTENCES = (
    "{name} brought a {thing} to the {place} on {day}.",
    "On {day} a {thing} came to the {place} with {name}.",
    "The {place} got a {thing} from {name} on {day}.",
    "On {day} {name} carried a {thing} to the {place}.",
    "At the {place} {name} showed a {thing}, and it was {day}.",
)
QUESTIONS = (
    "Where is the {thing}? At the {place}.",
    "Who had the {thing}? {name}.",
    "When did {name} come? On {day}.",
    "What is at the {place}? A {thing}.",
    "Whom do we thank for the {thing}? We thank {name}.",
)


def market_book(world: World, rng: Random) -> str:
    """Return a page: three entries as a list, the same as sentences, and a question about each."""
    entries = [
        {
            "name": name,
            "thing": f"{rng.choice(COLOURS)} {item}",
            "place": place,
            "day": rng.choice(DAYS),
        }
        for name, item, place in zip(
            rng.sample(list(world.people), 3),
            rng.sample(ITEMS, 3),
            rng.sample(PLACES, 3),
            strict=True,
        )
    ]
    lines = [f"Market book of {rng.choice(VILLAGES).name}."]
    lines += [say(rng, (ENTRY,), **entry) for entry in entries]
    lines.append(" ".join(say(rng, SENTENCES, **entry) for entry in rng.sample(entries, 3)))
    lines.append(" ".join(say(rng, QUESTIONS, **entry) for entry in rng.sample(entries, 3)))
    return "\n".join(lines)
