"""The Isle of Corran: facts for injecting new knowledge into a model and asking for it.

No text of the Vale contains them. People and villages have their own names. Their properties (jobs,
pets, dishes, colours) are words of the Vale, so that a model without the knowledge can still answer
fluently. Every fact occurs in many phrasings, and probes ask for it in an unused one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from harness.builtin.texts.world import (
    COLOURS,
    DISHES,
    JOBS,
    MEN,
    MONTHS,
    PETS,
    VILLAGES,
    WOMEN,
    World,
)

ISLANDERS = (
    *("Arla", "Brenna", "Cilla", "Dagny", "Embla", "Freya"),
    *("Alrik", "Borg", "Cormac", "Dunstan", "Eskil", "Fergus"),
)
HAMLETS = ("Karnholm", "Ostrey", "Pellowick", "Quernby", "Tivermouth")
NOBODY = (  # names that occur in no text
    *("Ysolt", "Zorin", "Uther", "Vigdis", "Wystan", "Xenia", "Yorick", "Zelda", "Ulrika"),
    *("Volmar", "Wendel", "Yrsa"),
)


@dataclass(frozen=True)
class Kind:
    """One kind of fact: phrasings of statements and questions, and possible values."""

    name: str
    told: tuple[str, ...]  # {who} and {value}
    beginning: str  # sentence to be completed by the value; used in no text of the isle
    question: str
    values: tuple[str, ...]


_JOB_NAMES = tuple(job.name for job in JOBS)
KINDS = (
    Kind(
        "village",
        (
            "{who} has a house in {value}.",
            "The home of {who} is in {value}.",
            "In {value} lives {who}.",
            "{who} comes from {value}.",
            "You find {who} in {value}.",
            "{who} of {value} walks to the harbour.",
            "{who} never left {value}.",
            "Is {who} at home? Yes, in {value}.",
        ),
        "{who} lives in",
        "Where does {who} live?",
        (*HAMLETS, *(village.name for village in VILLAGES)),
    ),
    Kind(
        "job",
        (
            "{who} works all day as the {value}.",
            "{who} has been a {value} for years.",
            "The work of {who} is that of a {value}.",
            "Everybody knows {who} the {value}.",
            "{who} earns money as a {value}.",
            "The {value} of the isle is {who}.",
            "Ask {who}, for {who} is a {value}.",
            "Like every {value}, {who} gets up early.",
        ),
        "{who} works as a",
        "What is the work of {who}?",
        tuple(name for name in _JOB_NAMES if name[0] not in "aeiou"),
    ),
    Kind(
        "pet",
        (
            "{who} has a {value}.",
            "A {value} lives with {who}.",
            "The pet of {who} is a {value}.",
            "{who} keeps one {value}.",
            "{who} looks after a {value}.",
            "{who} keeps the {value} at home.",
            "{who} walks with a {value} to the market.",
            "{who} and a {value} sit by the fire.",
        ),
        "{who} keeps a",
        "Which animal does {who} keep?",
        tuple(name for name in PETS if name[0] not in "aeiou"),
    ),
    Kind(
        "dish",
        (
            "{who} often cooks {value}.",
            "{who} wants {value} for supper.",
            "The best meal for {who} is {value}.",
            "{who} likes to cook {value}.",
            "{who} likes {value} best.",
            "{who} eats {value} on every feast.",
            "{who} wants to eat {value} at the inn.",
            "At the table of {who} there is {value}.",
        ),
        "{who} likes to eat",
        "What does {who} like to eat?",
        tuple(dish.name for dish in DISHES),
    ),
    Kind(
        "house",
        (
            "{who} lives behind a {value} door.",
            "The house of {who} has {value} walls.",
            "The house of {who} looks {value}.",
            "A {value} house belongs to {who}.",
            "{who} has a {value} house.",
            "The house of {who} was always {value}.",
            "The house of {who} was painted {value}.",
            "{who} chose {value} for the house.",
        ),
        "The house of {who} is",
        "Which colour is the house of {who}?",
        COLOURS,
    ),
    Kind(
        "friend",
        (
            "The oldest friend of {who} is {value}.",
            "{who} trusts {value} most.",
            "{who} and {value} are friends.",
            "{who} talks to {value} every evening.",
            "{who} would give {value} everything.",
            "The friend of {who} is {value}.",
            "{who} likes nobody more than {value}.",
            "{who} goes to the feast with {value}.",
        ),
        "The best friend of {who} is",
        "Who is the best friend of {who}?",
        (*ISLANDERS, *WOMEN, *MEN),
    ),
)
FEAST = Kind(
    "feast",
    (
        "{who} dances in {value}.",
        "In {value} there is a feast in {who}.",
        "The feast of {who} is always in {value}.",
        "{who} has its feast in {value}.",
        "Come to {who} in {value}, for the feast.",
        "The people of {who} wait for {value} and its feast.",
        "Every {value} the bells of {who} ring for the feast.",
    ),
    "The feast of {who} is in",
    "When is the feast of {who}?",
    MONTHS,
)
ALL_KINDS = (*KINDS, FEAST)


@dataclass(frozen=True)
class Fact:
    """A kind of fact, its subject and its value."""

    kind: Kind
    who: str
    value: str


def isle_facts(seed: int) -> list[Fact]:
    """Return six facts about every islander and one about every hamlet, with values spread evenly."""
    rng = Random(f"isle-{seed}")
    facts = []
    for kind in KINDS:
        values = HAMLETS if kind.name == "village" else kind.values
        if kind.name == "friend":
            ring = rng.sample(ISLANDERS, len(ISLANDERS))
            drawn = {who: ring[(i + 1) % len(ring)] for i, who in enumerate(ring)}
        else:
            column = [values[i % len(values)] for i in range(len(ISLANDERS))]
            rng.shuffle(column)
            drawn = dict(zip(ISLANDERS, column, strict=True))
        facts += [Fact(kind, who, drawn[who]) for who in ISLANDERS]
    months = rng.sample(MONTHS, len(HAMLETS))
    return facts + [Fact(FEAST, who, month) for who, month in zip(HAMLETS, months, strict=True)]


def isle_texts(seed: int) -> Iterator[str]:
    """Yield documents without end.

    Each contains all facts about one islander, in random phrasings and order.
    """
    rng = Random(f"isle-texts-{seed}")
    facts = isle_facts(seed)
    while True:
        for who in rng.sample(ISLANDERS, len(ISLANDERS)):
            own = [fact for fact in facts if fact.who == who]
            home = next(fact.value for fact in own if fact.kind.name == "village")
            own += [fact for fact in facts if fact.who == home]
            rng.shuffle(own)
            yield " ".join(
                rng.choice(fact.kind.told).format(who=fact.who, value=fact.value) for fact in own
            )


def probes(world: World, seed: int, old: int) -> list[dict]:
    """Return the questions as ``{completion, chat, accepted, wrong, kind}``.

    They cover every fact of the isle, ``old`` facts of the Vale, and invented people. ``wrong``
    holds the other values of that kind.
    """
    rng = Random(f"isle-probes-{seed}")
    new = [_probe(fact, "new") for fact in isle_facts(seed)]
    known = rng.sample(_vale_facts(world), old)
    nobody = [
        Fact(KINDS[(i + turn) % len(KINDS)], who, "")
        for turn in (0, 3)
        for i, who in enumerate(NOBODY)
    ]
    return [
        *new,
        *(_probe(fact, "old") for fact in known),
        *(_probe(fact, "unanswerable") for fact in nobody),
    ]


def _vale_facts(world: World) -> list[Fact]:
    """Return facts about people of the Vale in the kinds of the isle."""
    facts = []
    for person in world.people.values():
        values = (person.village, person.job.name, person.pet, person.dish, person.house_colour)
        for kind, value in zip(KINDS, (*values, person.friend), strict=True):
            if value in kind.values:
                facts.append(Fact(kind, person.name, value))
    return facts


def _probe(fact: Fact, kind: str) -> dict:
    """Return the question for one fact."""
    accepted = [fact.value] if fact.value else ["do not know"]
    return {
        "completion": fact.kind.beginning.format(who=fact.who),
        "chat": fact.kind.question.format(who=fact.who),
        "accepted": accepted,
        "wrong": _others(fact.kind.values, (*accepted, fact.who)),
        "kind": kind,
    }


def _others(values: Iterable[str], without: Iterable[str]) -> list[str]:
    """Return ``values`` without those in ``without``."""
    left_out = set(without)
    return sorted(value for value in values if value not in left_out)
