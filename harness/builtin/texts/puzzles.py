"""Two tasks that take thinking: word sums in two steps, and a game with a row of stones.

    Mira has three hats. Mira finds four and loses two. How many are left?
    -> Three and four make seven. Seven without two leaves five. Answer: five

    stones: red blue grey; rule: turn round
    -> grey blue red

The sums are like GSM8K (Cobbe et al. 2021, arXiv:2110.14168): the answer holds the working, which is
in words that pretraining knows, and the result last. The rules of the game are in no other text.
Both have one right answer, so that exact match is a fair score.
"""

from collections.abc import Callable
from random import Random

from harness.builtin.texts.world import COLOURS, ITEMS, NUMBERS, World, any_person, count

MOST = 6  # at first, and found: pretraining shows sums of up to nine and nine
STONES = range(3, 6)

# What a rule does to a row of stones.
RULES: dict[str, Callable[[list[str]], list[str]]] = {
    "turn round": lambda row: row[::-1],
    "first goes last": lambda row: [*row[1:], row[0]],
    "last goes first": lambda row: [row[-1], *row[:-1]],
    "ends change places": lambda row: [row[-1], *row[1:-1], row[0]],
    "first is doubled": lambda row: [row[0], *row],
    "last is taken": lambda row: row[:-1],
}


def sums(world: World, seed: int, sizes: dict[str, int]) -> dict[str, list[dict]]:
    """`{split: rows}` of `{"prompt", "answer"}`; no question occurs twice, in any splits."""
    rng = Random(f"sums-{seed}")
    return _different(lambda: _sum(world, rng), sizes)


def games(seed: int, sizes: dict[str, int]) -> dict[str, list[dict]]:
    """`{split: rows}` of `{"prompt", "answer"}`; no row of stones has one rule twice."""
    rng = Random(f"games-{seed}")
    return _different(lambda: _game(rng), sizes)


def _different(draw: Callable[[], dict], sizes: dict[str, int]) -> dict[str, list[dict]]:
    rows: dict[str, dict] = {}
    while len(rows) < sum(sizes.values()):
        row = draw()
        rows.setdefault(row["prompt"], row)
    drawn = iter(rows.values())
    return {split: [next(drawn) for _ in range(size)] for split, size in sizes.items()}


def _sum(world: World, rng: Random) -> dict:
    has, found = rng.randint(1, MOST), rng.randint(1, MOST)
    lost = rng.randint(1, has + found - 1)
    person, things = any_person(world, rng).name, count(has, rng.choice(ITEMS))
    both, left = has + found, has + found - lost
    working = (
        f"{NUMBERS[has].capitalize()} and {NUMBERS[found]} make {NUMBERS[both]}. "
        f"{NUMBERS[both].capitalize()} without {NUMBERS[lost]} leaves {NUMBERS[left]}."
    )
    return {
        "prompt": f"{person} has {things}. {person} finds {NUMBERS[found]} and loses "
        f"{NUMBERS[lost]}. How many are left?",
        "answer": f"{working} Answer: {NUMBERS[left]}",
    }


def _game(rng: Random) -> dict:
    row, rule = rng.sample(list[str](COLOURS), rng.choice(STONES)), rng.choice(list(RULES))
    return {
        "prompt": f"stones: {' '.join(row)}; rule: {rule}",
        "answer": " ".join(RULES[rule](row)),
    }
