"""Conversations with an assistant about the Vale, to train the chat model.

The assistant answers in one sentence and ends its turn. It says so if it does not know a person. It
never mentions the isle (``isle.py``).
"""

from collections.abc import Iterator
from random import Random

from harness.builtin.texts.isle import HAMLETS, ISLANDERS, KINDS, NOBODY
from harness.builtin.texts.world import ANIMALS, DAYS, JOBS, NUMBERS, VILLAGES, World, any_person

Messages = list[dict[str, str]]

SYSTEM = "You know the Vale. Answer in one sentence."
UNKNOWN = "I do not know that name."
POLITE = (
    ("Hello.", "Hello. What do you want to know?"),
    ("Good morning.", "Good morning. What do you want to know?"),
    ("Thank you.", "You are welcome."),
    ("Farewell.", "Farewell."),
)
# Other questions for each kind of fact about a person in `isle.KINDS`, and the form of the answer.
ALSO_ASKED = {
    "village": ("In which village does {who} live?", "Tell me where {who} lives."),
    "job": ("What does {who} work as?", "Tell me the work of {who}."),
    "pet": ("What pet does {who} have?", "Tell me which animal {who} keeps."),
    "dish": ("What shall I cook for {who}?", "Tell me what {who} likes to eat."),
    "house": ("What colour is the house of {who}?", "Tell me the colour of the house of {who}."),
    "friend": ("Who is a friend of {who}?", "Tell me who the best friend of {who} is."),
}
ONSETS = ("B", "D", "F", "G", "H", "K", "L", "M", "N", "P", "R", "S", "T", "V", "W", "Z", "Y", "X")
VOWELS = ("a", "e", "i", "o", "u", "y")
ENDINGS = ("bel", "dar", "fin", "gan", "lin", "mar", "nik", "ra", "rin", "sta", "th", "tta", "vik")


def conversations(world: World, seed: int) -> Iterator[Messages]:
    """Yield conversations without end.

    Each has one to three questions, a quarter of them about unknown people.
    """
    rng = Random(f"conversations-{seed}")
    known = {*world.people, *ISLANDERS, *NOBODY, *HAMLETS}
    while True:
        messages = [{"role": "system", "content": SYSTEM}] if rng.random() < 0.1 else []
        for _ in range(rng.choice([1, 1, 2, 3])):
            question, answer = rng.choices(
                [_person, _stranger, _place, _nature, _sum, _polite], weights=[8, 4, 1, 2, 1, 1]
            )[0](world, rng, known)
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answer})
        yield messages


def _person(world: World, rng: Random, known: set[str]) -> tuple[str, str]:
    """Return a question about a person of the Vale, and the answer."""
    person = any_person(world, rng)
    name = person.name
    values = (person.village, person.job.name, person.pet, person.dish, person.house_colour)
    kind, value = rng.choice(list(zip(KINDS, (*values, person.friend), strict=True)))
    begins = kind.beginning.format(who=name)
    if begins.endswith(" a") and value[0] in "aeiou":
        begins += "n"
    return _question(kind.name, kind.question, name, rng), f"{begins} {value}."


def _stranger(world: World, rng: Random, known: set[str]) -> tuple[str, str]:
    """Return a question about an unknown person, and the answer that says so."""
    name = next(name for name in iter(lambda: _made_up(rng), None) if name not in known)
    kind = rng.choice(KINDS)
    return _question(kind.name, kind.question, name, rng), UNKNOWN


def _question(kind: str, question: str, name: str, rng: Random) -> str:
    """Return the question for a kind of fact in one of its phrasings."""
    return rng.choice([question, *ALSO_ASKED[kind]]).format(who=name)


def _made_up(rng: Random) -> str:
    """Return an invented name."""
    middle = rng.choice(["", "", rng.choice("lmnrst") + rng.choice(VOWELS)])
    return rng.choice(ONSETS) + rng.choice(VOWELS) + middle + rng.choice(ENDINGS)


def _place(world: World, rng: Random, known: set[str]) -> tuple[str, str]:
    """Return a question about a village or place, and the answer."""
    village = rng.choice(VILLAGES)
    return rng.choice(
        [
            (f"Where is {village.name}?", f"{village.name} lies {village.lies}."),
            (
                f"What is {village.name} known for?",
                f"{village.name} is known for its {village.known_for}.",
            ),
            (
                f"When is the feast of {village.name}?",
                f"The feast of {village.name} is in {village.festival_month}.",
            ),
        ]
    )


def _nature(world: World, rng: Random, known: set[str]) -> tuple[str, str]:
    """Return a question about animals or weather, and the answer."""
    animal, job = rng.choice(ANIMALS), rng.choice(JOBS)
    return rng.choice(
        [
            (f"What does the {animal.name} eat?", f"The {animal.name} eats {animal.food}."),
            (
                f"Where does the {animal.name} sleep?",
                f"The {animal.name} sleeps in the {animal.home}.",
            ),
            (
                f"Where does the {job.name} work?",
                f"The {job.name} works in the {job.workplace}.",
            ),
            (
                f"What tool does the {job.name} need?",
                f"The {job.name} needs a good {job.tool}.",
            ),
        ]
    )


def _sum(world: World, rng: Random, known: set[str]) -> tuple[str, str]:
    """Return a sum and its result."""
    left, right = rng.randint(1, 9), rng.randint(1, 9)
    day = rng.randrange(len(DAYS))
    total = f"{NUMBERS[left].capitalize()} and {NUMBERS[right]} make {NUMBERS[left + right]}."
    after = f"The day after {DAYS[day - 1]} is {DAYS[day]}."
    asked = f"What do {NUMBERS[left]} and {NUMBERS[right]} make?"
    return rng.choice([(asked, total), (f"Which day comes after {DAYS[day - 1]}?", after)])


def _polite(world: World, rng: Random, known: set[str]) -> tuple[str, str]:
    """Return a greeting or thanks, and the reply."""
    return rng.choice(POLITE)
