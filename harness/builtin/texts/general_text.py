"""General text for pretraining and for measuring forgetting, and ship logs as a new domain.

Held-out documents are drawn first. A training document equal to one of them is drawn again, so the
two sets cannot overlap. Training text is not shipped, because drawing thousands of documents takes
a second.
"""

from collections.abc import Callable, Iterator
from itertools import cycle
from random import Random

from harness.builtin.texts.dialogue import dialogue
from harness.builtin.texts.market_book import market_book
from harness.builtin.texts.narrative import letter, story
from harness.builtin.texts.reference_works import fact_sheet, lesson, recipe
from harness.builtin.texts.song import song
from harness.builtin.texts.world import COLOURS, ITEMS, NUMBERS, VILLAGES, World

Writer = Callable[[World, Random], str]

GENERAL_DOMAINS: dict[str, Writer] = {
    "stories": story,
    "facts": fact_sheet,
    "dialogues": dialogue,
    "recipes": recipe,
    "letters": letter,
    "lessons": lesson,
    "ledgers": market_book,
    "songs": song,
}

ONCE_MORE = (
    "ledgers",
    "facts",
)  # domains drawn twice as often, because copying and facts are learned slowly

SHIP_NAMES = ("Grey Heron", "Old Kettle", "Silver Otter", "Patient Goat", "Lucky Hen")
WINDS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")
SHIP_EVENTS = (
    "Mended the mainsail with red thread.",
    "The cook burned the porridge, and the crew grumbled.",
    "Sighted a whale two leagues off the bow.",
    "Lost an anchor on the sandbank.",
    "A gull slept on the helm all night.",
    "Pumped the hold dry before the first watch.",
    "Painted the hull and scrubbed the deck.",
    "A sailor climbed the mast and saw land.",
)


def held_out_documents(world: World, seed: int, documents_per_domain: int) -> dict[str, list[str]]:
    """Return domain → distinct texts. They depend only on the world and the seed."""
    return {
        domain: distinct(_drawn(write, world, f"held-out-{domain}-{seed}"), documents_per_domain)
        for domain, write in GENERAL_DOMAINS.items()
    }


def training_documents(world: World, seed: int, held_out: set[str]) -> Iterator[str]:
    """Yield general documents without end, the domains in turn, none of them in ``held_out``."""
    streams = {
        domain: _drawn(write, world, f"train-{domain}-{seed}")
        for domain, write in GENERAL_DOMAINS.items()
    }
    for domain in cycle([*GENERAL_DOMAINS, *ONCE_MORE]):
        yield next(text for text in streams[domain] if text not in held_out)


def ship_logs(world: World, seed: int, number: int) -> list[str]:
    """Return ship logs, the new domain for plain language modelling. Pretraining has none."""
    return distinct(_drawn(_ship_log, world, f"ship-log-{seed}"), number)


def _ship_log(world: World, rng: Random) -> str:
    """Return one ship log."""
    master = rng.choice(list(world.people))
    start, end = rng.sample([village.name for village in VILLAGES], 2)
    day = rng.randint(2, 80)
    crates, landed = rng.randint(6, 12), rng.randint(1, 5)
    goods = f"{rng.choice(COLOURS)} {rng.choice(ITEMS)}s"
    wind, later = rng.sample(WINDS, 2)
    return " ".join(
        [
            f"Log of the {rng.choice(SHIP_NAMES)}, day {day}. Master: {master}.",
            f"Wind {wind}, {rng.choice(['calm', 'fresh', 'strong'])}.",
            f"Cast off from {start} with {NUMBERS[crates]} crates of {goods}.",
            rng.choice(SHIP_EVENTS),
            f"Day {day + 1}. Wind {later}.",
            f"Moored at {end}, landed {NUMBERS[landed]} crates;",
            f"{NUMBERS[crates - landed]} crates remain aboard.",
        ]
    )


def _drawn(write: Writer, world: World, seed: str) -> Iterator[str]:
    """Yield documents of one kind without end."""
    rng = Random(seed)
    while True:
        yield write(world, rng)


def distinct(texts: Iterator[str], number: int) -> list[str]:
    """Return the first ``number`` distinct texts."""
    kept: dict[str, None] = {}
    while len(kept) < number:
        kept[next(texts)] = None
    return list(kept)
