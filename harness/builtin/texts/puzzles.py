"""Two tasks that need intermediate steps: word problems, and a game with a row of stones.

    Mira has three hats. Mira finds four and loses two. How many are left?
    -> Three and four make seven. Seven without two leaves five. Answer: five

    stones: red blue grey; rule: turn round
    -> grey blue red

The word problems follow GSM8K (Cobbe et al. 2021, arXiv:2110.14168): the answer contains the
working, in words that pretraining knows, and ends with the result. No other text contains the rules
of the game. Every question has one correct answer, so exact match is a fair score.
"""

from collections.abc import Callable
from random import Random

from harness.builtin.texts.world import COLOURS, ITEMS, NUMBERS, World, any_person, count

MOST = 6  # largest operand; pretraining has sums up to nine plus nine
STONES = range(3, 6)

# Name of a rule → its function on a row of stones.
RULES: dict[str, Callable[[list[str]], list[str]]] = {
    "turn round": lambda row: row[::-1],
    "first goes last": lambda row: [*row[1:], row[0]],
    "last goes first": lambda row: [row[-1], *row[:-1]],
    "ends change places": lambda row: [row[-1], *row[1:-1], row[0]],
    "first is doubled": lambda row: [row[0], *row],
    "last is taken": lambda row: row[:-1],
}


def sums(world: World, seed: int, sizes: dict[str, int]) -> dict[str, list[dict]]:
    """Return split → rows ``{prompt, answer}`` of word problems. No prompt occurs twice."""
    rng = Random(f"sums-{seed}")
    return _different(lambda: _sum(world, rng), sizes)


def games(seed: int, sizes: dict[str, int]) -> dict[str, list[dict]]:
    """Return split → rows ``{prompt, answer}`` of the stone game. No prompt occurs twice."""
    rng = Random(f"games-{seed}")
    return _different(lambda: _game(rng), sizes)


def _different(draw: Callable[[], dict], sizes: dict[str, int]) -> dict[str, list[dict]]:
    """Draw distinct rows for each split."""
    rows: dict[str, dict] = {}
    while len(rows) < sum(sizes.values()):
        row = draw()
        rows.setdefault(row["prompt"], row)
    drawn = iter(rows.values())
    return {split: [next(drawn) for _ in range(size)] for split, size in sizes.items()}


def _sum(world: World, rng: Random) -> dict:
    """Return one word problem."""
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
    """Return one row of the stone game."""
    row, rule = rng.sample(list[str](COLOURS), rng.choice(STONES)), rng.choice(list(RULES))
    return {
        "prompt": f"stones: {' '.join(row)}; rule: {rule}",
        "answer": " ".join(RULES[rule](row)),
    }
