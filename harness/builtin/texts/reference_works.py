"""Texts of general knowledge: encyclopedia entries, recipes and school lessons."""

from random import Random

from harness.builtin.texts.world import (
    ANIMALS,
    COLOURS,
    DAYS,
    DISHES,
    ITEMS,
    JOBS,
    MONTHS,
    NUMBERS,
    PLACES,
    SEASON_OF_MONTH,
    VILLAGES,
    World,
    any_person,
    count,
    say,
    with_article,
)

VESSEL_SIZES = ("wide", "deep", "clean", "small", "heavy")
SECOND_STEPS = (
    "Then add the {thing} and stir {how}.",
    "Stir in the {thing} until {minutes} have passed.",
    "Wait for {minutes} before you add the {thing}.",
)
SERVINGS = (
    "{cook.name} of {cook.village} eats it on {day}, and it tastes {dish.taste}.",
    "It tastes {dish.taste} and is the joy of {cook.name} the {cook.job.name}.",
    "Serve it {warm} to {guests} guests at the {place}; it tastes {dish.taste}.",
)


def fact_sheet(world: World, rng: Random) -> str:
    """Return an encyclopedia page with three entries of three facts each, in random order."""
    entries = []
    for entry in rng.choices([_person, _village, _animal, _job], weights=[3, 1, 1, 1], k=3):
        entries += rng.sample(entry(world, rng), 3)
    return " ".join(entries)


def _person(world: World, rng: Random) -> list[str]:
    """Return facts about a person."""
    person = any_person(world, rng)
    return [
        f"{person.name} lives in {person.village}.",
        f"{person.name} works as {with_article(person.job.name)}.",
        f"{person.name} keeps {with_article(person.pet)}.",
        f"The {person.pet} of {person.name} is called {person.pet_name}.",
        f"{person.name} likes to eat {person.dish}.",
        f"The house of {person.name} is {person.house_colour}.",
        f"The best friend of {person.name} is {person.friend}.",
        f"In the evening {person.name} {person.hobby}.",
    ]


def _village(world: World, rng: Random) -> list[str]:
    """Return facts about a village."""
    village = rng.choice(VILLAGES)
    return [
        f"{village.name} lies {village.lies}.",
        f"{village.name} is known for its {village.known_for}.",
        f"In {village.name} stands a {village.landmark}.",
        f"The feast of {village.name} is in {village.festival_month}.",
    ]


def _animal(world: World, rng: Random) -> list[str]:
    """Return facts about an animal."""
    animal = rng.choice(ANIMALS)
    return [
        f"The {animal.name} sleeps in the {animal.home}.",
        f"The {animal.name} eats {animal.food}.",
        f"The {animal.name} {animal.sound}.",
        f"The {animal.name} has {NUMBERS[animal.legs]} legs.",
    ]


def _job(world: World, rng: Random) -> list[str]:
    """Return facts about a job."""
    job = rng.choice(JOBS)
    return [
        f"The {job.name} works in the {job.workplace}.",
        f"Every day the {job.name} {job.work}.",
        f"The {job.name} needs a good {job.tool}.",
    ]


def recipe(world: World, rng: Random) -> str:
    """Return a recipe. Amounts grow with the number of guests, and each ingredient occurs twice."""
    dish = rng.choice(DISHES)
    guests = rng.choice([2, 4, 6, 8])
    needed, things = [], []
    for amount_for_two, unit, thing in dish.ingredients:
        amount = amount_for_two * guests // 2
        needed.append(f"{count(amount, unit)} of {thing}" if unit else count(amount, thing))
        things.append(thing if unit or amount == 1 else f"{thing}s")
    rng.shuffle(things)
    words = {
        "dish": dish,
        "cook": rng.choice([cook for cook in world.people.values() if cook.dish == dish.name]),
        "thing": things[1],
        "guests": NUMBERS[guests],
        "minutes": count(rng.randint(2, 9), "minute"),
        "how": rng.choice(["slowly", "well", "twice"]),
        "warm": rng.choice(["hot", "warm", "cold"]),
        "day": rng.choice(DAYS),
        "place": rng.choice(PLACES),
    }
    return " ".join(
        [
            f"{dish.name.capitalize()} for {NUMBERS[guests]}.",
            f"You need {needed[0]}, {needed[1]} and {needed[2]}.",
            f"First put the {things[0]} into a {rng.choice(VESSEL_SIZES)} {dish.vessel}.",
            say(rng, SECOND_STEPS, **words),
            f"Last comes the {things[2]}.",
            f"{dish.cooking} it for {dish.minutes} minutes.",
            say(rng, SERVINGS, **words),
        ]
    )


def lesson(world: World, rng: Random) -> str:
    """Return a school lesson: sums, the order of days and months, seasons, numbers of legs."""
    teacher = rng.choice([one for one in world.people.values() if one.job.name == "teacher"])
    exercises = rng.choices(
        [_sum, _story_sum, _calendar, _legs, _dictation], weights=[3, 1, 2, 1, 1], k=5
    )
    return " ".join(
        [
            f"Lesson with {teacher.name} in {teacher.village}.",
            *(exercise(world, rng) for exercise in exercises),
        ]
    )


def _sum(world: World, rng: Random) -> str:
    """Return a sum."""
    left, right = rng.randint(1, 9), rng.randint(1, 9)
    if rng.random() < 0.5:
        return f"{NUMBERS[left].capitalize()} and {NUMBERS[right]} make {NUMBERS[left + right]}."
    return f"{NUMBERS[left + right].capitalize()} without {NUMBERS[right]} leaves {NUMBERS[left]}."


def _story_sum(world: World, rng: Random) -> str:
    """Return a sum told as a short story."""
    pupil, item = any_person(world, rng), rng.choice(ITEMS)
    has, more = rng.randint(1, 9), rng.randint(1, 9)
    return (
        f"{pupil.name} has {count(has, item)} and finds {NUMBERS[more]} more:"
        f" now {pupil.she} has {count(has + more, item)}."
    )


def _calendar(world: World, rng: Random) -> str:
    """Return a question about days, months or seasons."""
    day, month = rng.randrange(len(DAYS)), rng.randrange(len(MONTHS))
    return rng.choice(
        [
            f"The day after {DAYS[day - 1]} is {DAYS[day]}.",
            f"The month after {MONTHS[month - 1]} is {MONTHS[month]}.",
            f"{MONTHS[month]} is in {SEASON_OF_MONTH[MONTHS[month]]}.",
        ]
    )


def _legs(world: World, rng: Random) -> str:
    """Return a question about numbers of legs."""
    animal = rng.choice(ANIMALS)
    many = rng.randint(2, 20 // animal.legs)
    animals = {"mouse": "mice", "fox": "foxes"}.get(animal.name, f"{animal.name}s")
    return f"{NUMBERS[many].capitalize()} {animals} have {NUMBERS[many * animal.legs]} legs."


def _dictation(world: World, rng: Random) -> str:
    """Return a dictation."""
    words = [rng.choice(words) for words in (ITEMS, COLOURS, PLACES, DAYS, list(world.people))]
    rng.shuffle(words)
    return f"Write down {words[0]}, {words[1]} and {words[2]}."
