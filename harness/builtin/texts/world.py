"""The Vale: a small invented world with fixed facts, small enough for a tiny model to learn.

Word lists are written by hand. Jobs, pets, houses and friends of people are drawn once from a seed.
All texts of ``harness.builtin`` use the same ``World``, so a cloze item can ask for a fact that
pretraining stated in a story.
"""

from dataclasses import dataclass
from random import Random

WORLD_SEED = 0

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SEASON_OF_MONTH = {
    "January": "winter",
    "February": "winter",
    "March": "spring",
    "April": "spring",
    "May": "spring",
    "June": "summer",
    "July": "summer",
    "August": "summer",
    "September": "autumn",
    "October": "autumn",
    "November": "autumn",
    "December": "winter",
}
MONTHS = tuple(SEASON_OF_MONTH)
# fmt: off
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty",
)
BELLS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
COLOURS = ("red", "blue", "green", "yellow", "white", "grey", "brown", "black")
ITEMS = (
    "hat", "basket", "jug", "lamp", "rope", "kettle", "drum", "cloak", "blanket", "bucket",
    "ladder", "mirror", "spoon", "boot", "scarf", "saddle", "bell", "chair", "candle", "bottle",
)
PLACES = (
    "mill", "bridge", "well", "market", "school", "tower", "forge", "harbour", "orchard", "chapel",
    "inn", "ferry", "bakery", "stable",
)
HOBBIES = (
    "sings in the choir", "plays the flute", "paints small boats", "collects round stones",
    "carves wooden birds", "reads old maps", "dances at every feast", "watches the stars",
)
PET_NAMES = (
    "Button", "Pepper", "Tansy", "Biscuit", "Clover", "Dusty", "Fig", "Ginger", "Hazel", "Ivy",
    "Jumble", "Kipper", "Lentil", "Muffin", "Nettle", "Olive", "Patch", "Quill", "Rusty", "Sorrel",
    "Thimble", "Velvet", "Whisker", "Acorn", "Bramble", "Cricket", "Domino", "Ember", "Feather",
    "Gravy", "Honey", "Inky",
)
WOMEN = (
    "Mira", "Elsa", "Dora", "Wilma", "Nell", "Agnes", "Fenna", "Greta", "Hilda", "Ida", "Juna",
    "Kirsa", "Lotta", "Nora", "Ronja", "Selma",
)
MEN = (
    "Tobin", "Harl", "Jonas", "Bram", "Piet", "Oswin", "Anders", "Casper", "Edgar", "Felix",
    "Gregor", "Hugo", "Ivo", "Ludo", "Milo", "Rufus",
)
# fmt: on


@dataclass(frozen=True)
class Trade:
    """A trade: its place, daily work and tool."""

    name: str
    workplace: str
    work: str
    tool: str


@dataclass(frozen=True)
class Animal:
    """An animal and its properties."""

    name: str
    home: str
    food: str
    sound: str
    legs: int


@dataclass(frozen=True)
class Village:
    """A village and its properties."""

    name: str
    lies: str
    known_for: str
    landmark: str
    festival_month: str


@dataclass(frozen=True)
class Dish:
    """A dish. Ingredients are (amount for two people, unit or '', thing)."""

    name: str
    ingredients: tuple[tuple[int, str, str], ...]
    vessel: str
    cooking: str
    minutes: int
    taste: str


@dataclass(frozen=True)
class Weather:
    """A kind of weather and its properties."""

    name: str
    sky: str
    wear: str


@dataclass(frozen=True)
class Person:
    """A person. ``she`` and ``her`` hold this person's own pronouns."""

    name: str
    she: str
    her: str
    village: str
    job: Trade
    pet: str
    pet_name: str
    dish: str
    house_colour: str
    hobby: str
    friend: str


JOBS = (
    Trade("baker", "bakery", "bakes bread before sunrise", "oven"),
    Trade("smith", "forge", "mends iron pots and gates", "hammer"),
    Trade("miller", "mill", "grinds barley into flour", "millstone"),
    Trade("weaver", "loom house", "weaves warm cloth", "loom"),
    Trade("potter", "pottery", "shapes jugs from river clay", "wheel"),
    Trade("shepherd", "high meadow", "watches the sheep", "crook"),
    Trade("fisher", "harbour", "catches silver trout", "net"),
    Trade("carpenter", "workshop", "builds tables and doors", "saw"),
    Trade("beekeeper", "orchard", "gathers honey from the hives", "smoker"),
    Trade("teacher", "school", "teaches the children to count", "chalk"),
    Trade("gardener", "walled garden", "grows beans and roses", "spade"),
    Trade("innkeeper", "inn", "pours cider for the travellers", "barrel"),
)
ANIMALS = (
    Animal("otter", "river bank", "fish", "whistles", 4),
    Animal("fox", "den", "mice", "barks", 4),
    Animal("owl", "hollow tree", "beetles", "hoots", 2),
    Animal("hare", "long grass", "clover", "thumps", 4),
    Animal("goat", "hill shed", "thistles", "bleats", 4),
    Animal("hen", "henhouse", "corn", "clucks", 2),
    Animal("heron", "reeds", "frogs", "croaks", 2),
    Animal("badger", "burrow", "roots", "grunts", 4),
    Animal("mouse", "barn wall", "crumbs", "squeaks", 4),
    Animal("bee", "hive", "nectar", "buzzes", 6),
    Animal("cow", "stable", "hay", "moos", 4),
    Animal("duck", "pond", "water weed", "quacks", 2),
    Animal("cat", "warm kitchen", "cream", "purrs", 4),
    Animal("dog", "kennel", "bones", "growls", 4),
)
PETS = ("cat", "dog", "goat", "hen", "duck", "hare", "mouse", "owl")
VILLAGES = (
    Village("Fennick", "beside the slow river", "smoked trout", "stone bridge", "May"),
    Village("Oakmere", "in the old forest", "walnut tables", "giant oak", "October"),
    Village("Brindlow", "under the round hill", "barley bread", "windmill", "August"),
    Village("Saltwick", "by the cold sea", "sea salt", "lighthouse", "June"),
    Village("Hollowby", "in a green valley", "plum jam", "clock tower", "September"),
    Village("Thornsted", "on the high moor", "woollen cloaks", "ring of stones", "December"),
    Village("Mossgate", "near the great marsh", "green pottery", "wooden gate", "March"),
    Village("Larkenhill", "above the vineyards", "sweet cider", "bell tower", "July"),
)
# fmt: off
DISHES = (
    Dish("honey cake", ((2, "", "egg"), (3, "spoon", "honey"), (1, "cup", "flour")),
         "tin", "Bake", 40, "sweet"),
    Dish("onion soup", ((2, "", "onion"), (1, "cup", "broth"), (1, "spoon", "butter")),
         "pot", "Boil", 30, "salty"),
    Dish("apple pie", ((3, "", "apple"), (2, "spoon", "sugar"), (1, "cup", "flour")),
         "dish", "Bake", 50, "sweet"),
    Dish("plum jam", ((4, "", "plum"), (2, "cup", "sugar"), (1, "spoon", "lemon juice")),
         "pan", "Simmer", 20, "sweet"),
    Dish("bean stew", ((2, "cup", "beans"), (1, "", "carrot"), (1, "", "onion")),
         "kettle", "Simmer", 60, "smoky"),
    Dish("cheese pie", ((2, "", "egg"), (1, "cup", "cheese"), (1, "cup", "milk")),
         "dish", "Bake", 35, "salty"),
    Dish("nut bread", ((2, "cup", "flour"), (1, "cup", "walnuts"), (1, "spoon", "yeast")),
         "tin", "Bake", 45, "nutty"),
    Dish("pea soup", ((2, "cup", "peas"), (1, "", "carrot"), (1, "spoon", "salt")),
         "pot", "Boil", 25, "mild"),
)
# fmt: on
WEATHERS = (
    Weather("sunny", "The sky was blue and clear", "a straw hat"),
    Weather("rainy", "Grey clouds hung over the roofs", "a long coat"),
    Weather("windy", "The leaves flew across the road", "a tight scarf"),
    Weather("snowy", "White flakes covered the fields", "thick mittens"),
    Weather("foggy", "Nobody could see the next house", "a bright lantern"),
)


@dataclass(frozen=True)
class World:
    """The hand-written tables above, and the people with their drawn facts."""

    people: dict[str, Person]


def make_world(seed: int = WORLD_SEED) -> World:
    """Draw a job, pet, dish, house and friend for every person, with values spread evenly."""
    rng = Random(f"world-{seed}")
    names = [*WOMEN, *MEN]
    rng.shuffle(names)
    pet_names = rng.sample(PET_NAMES, len(names))
    spread = {
        "village": [village.name for village in VILLAGES],
        "job": list(JOBS),
        "pet": list(PETS),
        "dish": [dish.name for dish in DISHES],
        "house_colour": list(COLOURS),
        "hobby": list(HOBBIES),
    }
    drawn = {}
    for fact, values in spread.items():
        column = [values[position % len(values)] for position in range(len(names))]
        rng.shuffle(column)
        drawn[fact] = column
    people = {}
    for position, name in enumerate(names):
        she, her = ("she", "her") if name in WOMEN else ("he", "his")
        people[name] = Person(
            name=name,
            she=she,
            her=her,
            pet_name=pet_names[position],
            friend=names[(position + 1) % len(names)],  # a ring, so that everyone has a friend
            **{fact: column[position] for fact, column in drawn.items()},
        )
    return World(people=people)


def any_person(world: World, rng: Random) -> Person:
    """Return a random person."""
    return rng.choice(list(world.people.values()))


def say(rng: Random, ways: tuple[str, ...], **words: object) -> str:
    """Return a random phrasing with its ``{words}`` filled in. Attributes work: ``{hero.village}``."""
    return rng.choice(ways).format(**words)


def with_article(noun: str) -> str:
    """Prepend 'a' or 'an': 'owl' → 'an owl'. Correct for every noun of this world."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def count(amount: int, noun: str) -> str:
    """Return number and noun: (1, 'egg') → 'one egg', (3, 'egg') → 'three eggs'."""
    return f"{NUMBERS[amount]} {noun if amount == 1 else noun + 's'}"
