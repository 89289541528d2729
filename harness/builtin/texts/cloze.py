"""Multiple-choice tasks about the world in lm-eval's format, to measure forgetting.

An item is the beginning of a sentence with four endings of one kind and of similar length.
"""

from collections.abc import Iterable, Sequence
from random import Random

from harness.builtin.texts.world import (
    ANIMALS,
    DAYS,
    JOBS,
    MONTHS,
    NUMBERS,
    SEASON_OF_MONTH,
    VILLAGES,
    World,
)

CHOICES = 4

TASK_YAML = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {name}.jsonl  # relative to this file
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

Facts = dict[str, list[tuple[str, str]]]  # kind → [(beginning, correct ending)]


def cloze_tasks(world: World, seed: int, items_per_task: int) -> dict[str, list[dict]]:
    """Return task → items ``{question, choices, answer}``.

    ``answer`` is the index of the correct choice.
    """
    rng = Random(f"cloze-{seed}")
    facts = {
        "vale_people": _people(world),
        "vale_nature": _nature(),
        "vale_lessons": _lessons(),
    }
    return {task: _items(kinds, rng, items_per_task) for task, kinds in facts.items()}


def _people(world: World) -> Facts:
    """Return facts about people: job, tool, pet and similar."""
    people = world.people.values()
    return {
        "village": [(f"{person.name} lives in", person.village) for person in people],
        "job": [
            (f"{person.name} works as a", person.job.name)
            for person in people
            if person.job.name[0] != "i"
        ],
        "pet": [(f"{person.name} keeps a", person.pet) for person in people if person.pet != "owl"],
        "dish": [(f"{person.name} likes to eat", person.dish) for person in people],
        "house": [(f"The house of {person.name} is", person.house_colour) for person in people],
        "friend": [(f"The best friend of {person.name} is", person.friend) for person in people],
    }


def _nature() -> Facts:
    """Return facts about animals and weather."""
    return {
        "home": [(f"The {animal.name} sleeps in the", animal.home) for animal in ANIMALS],
        "food": [(f"The {animal.name} eats", animal.food) for animal in ANIMALS],
        "lies": [(f"{village.name} lies", village.lies) for village in VILLAGES],
        "known_for": [
            (f"{village.name} is known for its", village.known_for) for village in VILLAGES
        ],
        "festival": [
            (f"The feast of {village.name} is in", village.festival_month) for village in VILLAGES
        ],
        "workplace": [(f"The {job.name} works in the", job.workplace) for job in JOBS],
        "tool": [(f"The {job.name} needs a good", job.tool) for job in JOBS],
    }


def _lessons() -> Facts:
    """Return facts of school lessons."""
    digits = range(1, 10)
    return {
        "plus": [
            (f"{NUMBERS[left].capitalize()} and {NUMBERS[right]} make", NUMBERS[left + right])
            for left in digits
            for right in digits
        ],
        "minus": [
            (f"{NUMBERS[left + right].capitalize()} without {NUMBERS[right]} leaves", NUMBERS[left])
            for left in digits
            for right in digits
        ],
        "day": [
            (f"The day after {day} is", DAYS[(place + 1) % 7]) for place, day in enumerate(DAYS)
        ],
        "month": [
            (f"The month after {month} is", MONTHS[(place + 1) % 12])
            for place, month in enumerate(MONTHS)
        ],
        "season": [(f"{month} is in", season) for month, season in SEASON_OF_MONTH.items()],
    }


def _items(kinds: Facts, rng: Random, number: int) -> list[dict]:
    """Return ``number`` items, taken from the kinds in turn.

    Wrong choices are correct endings of other facts of the same kind.
    """
    decks = {kind: rng.sample(pairs, len(pairs)) for kind, pairs in kinds.items()}
    drawn = [
        (kind, *decks[kind][place])
        for place in range(max(map(len, decks.values())))
        for kind in decks
        if place < len(decks[kind])
    ]
    items = []
    for kind, beginning, right in drawn[:number]:
        wrong = _similar_length(right, (ending for _, ending in kinds[kind]), rng)
        choices = [right, *wrong]
        rng.shuffle(choices)
        items.append({"question": beginning, "choices": choices, "answer": choices.index(right)})
    return items


def _similar_length(right: str, endings: Iterable[str], rng: Random) -> Sequence[str]:
    """Return three of the six other endings nearest in length, so that length gives no hint."""
    others = sorted(set(endings) - {right})
    rng.shuffle(others)
    others.sort(key=lambda ending: abs(len(ending) - len(right)))
    return rng.sample(others[:6], CHOICES - 1)
