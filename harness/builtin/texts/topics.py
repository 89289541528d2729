"""The classification task: the kind of general text that a sentence is from."""

import re
from random import Random

from harness.builtin.texts.general_text import GENERAL_DOMAINS
from harness.builtin.texts.world import World

SENTENCE = re.compile(r"[^\n.!?]+[.!?]?")
WORDS = range(4, 13)


def topics(
    world: World, seed: int, sizes: dict[str, int], held_out: dict[str, list[str]]
) -> dict[str, list[dict]]:
    """Return split → rows ``{text, topic}``. No sentence occurs twice.

    Sentences of ``held_out`` documents are excluded, because forgetting is measured on them.
    """
    rng = Random(f"topics-{seed}")
    kept_away = "\n".join(text for texts in held_out.values() for text in texts)
    topic_of: dict[str, str] = {}
    while len(topic_of) < sum(sizes.values()):
        topic = rng.choice(list(GENERAL_DOMAINS))
        found = SENTENCE.findall(GENERAL_DOMAINS[topic](world, rng))
        text = rng.choice([sentence.strip(' "') for sentence in found])
        if len(text.split()) in WORDS and text not in kept_away:
            topic_of.setdefault(text, topic)
    drawn = iter([{"text": text, "topic": topic} for text, topic in topic_of.items()])
    return {split: [next(drawn) for _ in range(size)] for split, size in sizes.items()}
