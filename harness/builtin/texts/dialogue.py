"""Dialogues between two friends of the Vale, one turn per line.

Answers repeat words of the question (the colour, the price, the place), so that pretraining teaches
the model to copy from its context. Without this, no method could learn the target task in a hundred
steps.
"""

from random import Random

from harness.builtin.texts.world import (
    ANIMALS,
    COLOURS,
    DAYS,
    DISHES,
    ITEMS,
    PLACES,
    VILLAGES,
    WEATHERS,
    Person,
    World,
    any_person,
    count,
    say,
    with_article,
)

GREETINGS = (
    "{first.name}: Good {hour}, {second.name}. How is life in {second.village}?",
    "{first.name}: Hello, {second.name}! Have you left the {second.job.workplace} already?",
    "{first.name}: {second.name}, my friend! Where is your {second.job.tool}?",
    "{first.name}: Is it you, {second.name}, here in {first.village}?",
)
REPLIES = (
    "{second.name}: Quiet, {first.name}. And how is {first.pet_name}, your {first.pet}?",
    "{second.name}: Well enough. The work of {a_job} is never done.",
    "{second.name}: As you see, {first.name}. I was at the {place} on {day}.",
    "{second.name}: Ask me at the {place}, {first.name}; now I want {second.dish}.",
)
FAREWELLS = (
    "{second.name}: Until {day}, {first.name}.",
    "{second.name}: Farewell, {first.name}.",
    "{second.name}: Come to the {place} on {day}, {first.name}.",
)
ASKED_ITEMS = (
    "{buyer}: I need a {thing}. What does it cost?",
    "{buyer}: Do you have a {thing} for me?",
    "{buyer}: My old one broke at the {place}. Will you sell me a {thing}?",
)


def dialogue(world: World, rng: Random) -> str:
    """Return a greeting, two topics and a farewell."""
    first = any_person(world, rng)
    second = world.people[first.friend]
    scene = {
        "first": first,
        "second": second,
        "a_job": with_article(second.job.name),
        "day": rng.choice(DAYS),
        "place": rng.choice(PLACES),
        "hour": rng.choice(["morning", "evening"]),
    }
    lines = [say(rng, GREETINGS, **scene), say(rng, REPLIES, **scene)]
    for topic in rng.sample([_trade, _pet, _food, _way, _weather, _errand], 2):
        lines += topic(rng, first, second)
    return "\n".join([*lines, say(rng, FAREWELLS, **scene)])


def _trade(rng: Random, buyer: Person, seller: Person) -> list[str]:
    """Return a purchase."""
    thing = f"{rng.choice(COLOURS)} {rng.choice(ITEMS)}"
    price, change = rng.randint(2, 9), rng.randint(1, 9)
    return [
        say(rng, ASKED_ITEMS, buyer=buyer.name, thing=thing, place=rng.choice(PLACES)),
        f"{seller.name}: A {thing} costs {count(price, 'coin')}.",
        f"{buyer.name}: Here are {count(price + change, 'coin')}.",
        f"{seller.name}: Then you get {count(change, 'coin')} back, and the {thing} is yours.",
    ]


def _pet(rng: Random, asking: Person, owner: Person) -> list[str]:
    """Return a question about a pet."""
    animal = next(animal for animal in ANIMALS if animal.name == owner.pet)
    kind = with_article(owner.pet)
    return [
        f"{asking.name}: What does {owner.pet_name} eat?",
        f"{owner.name}: {owner.pet_name} is {kind}, and {kind} eats {animal.food}.",
    ]


def _food(rng: Random, eater: Person, asking: Person) -> list[str]:
    """Return a question about food."""
    dish = next(dish for dish in DISHES if dish.name == eater.dish)
    guest = rng.choice(["at the inn", "at your house", "with the neighbours", "after the feast"])
    return [
        f"{asking.name}: What shall we eat {guest}?",
        f"{eater.name}: {dish.name.capitalize()}. It tastes {dish.taste} and takes"
        f" {dish.minutes} minutes.",
    ]


def _way(rng: Random, asking: Person, knowing: Person) -> list[str]:
    """Return a question for the way."""
    village, place = rng.choice(VILLAGES), rng.choice(PLACES)
    return [
        f"{asking.name}: How do I get to {village.name}?",
        f"{knowing.name}: {village.name} lies {village.lies}."
        f" Turn {rng.choice(['left', 'right'])} at the {place}.",
        f"{asking.name}: At the {place}. Then I will see the {village.landmark}.",
    ]


def _weather(rng: Random, planning: Person, warning: Person) -> list[str]:
    """Return a warning about the weather."""
    weather, place = rng.choice(WEATHERS), rng.choice(PLACES)
    return [
        f"{warning.name}: It will be {weather.name} at the {place} on {rng.choice(DAYS)}.",
        f"{planning.name}: If it is {weather.name}, I shall take {weather.wear} to the {place}.",
    ]


def _errand(rng: Random, sender: Person, carrier: Person) -> list[str]:
    """Return a request to carry something."""
    thing = f"{rng.choice(COLOURS)} {rng.choice(ITEMS)}"
    place, day = rng.choice(PLACES), rng.choice(DAYS)
    return [
        f"{sender.name}: Please take this {thing} to the {place} on {day}.",
        f"{carrier.name}: A {thing} to the {place}, and on {day}: I shall not forget.",
    ]
